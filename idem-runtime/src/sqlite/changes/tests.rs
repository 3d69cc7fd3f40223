//! Every condition of a change against every row that it may meet, through the statements themselves.

use super::*;
use crate::encoding::codec::Stored;
use crate::encoding::digest::ResultDigest;
use crate::policy::Lifetime;
use crate::protocol::record::{Mark, Reason, Status};
use crate::sqlite::schema;
use crate::sqlite::schema::Tenancy;

const SLOT: Slot = [7; 12];
const OTHER_SLOT: Slot = [8; 12];
const STATUSES: [Status; 4] = [Status::Running, Status::InDoubt, Status::Done, Status::Failed];
/// The claim and the owner of a condition. Rows also have others.
const CLAIM: u64 = 7;
const OWNER: i64 = 1;

/// The facts of a row that a condition may name.
type Row = (u64, Status, i64);

/// A store with a record in another slot, whose row has the number 1.
fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    schema::migrate(&conn, Tenancy::Shared).unwrap();
    put(&conn, record(OTHER_SLOT, (99, Status::Done, 99)));
    conn
}

fn record(slot: Slot, (claim, status, owner): Row) -> Record {
    let finished = status.is_finished();
    let digest = ResultDigest::from_bytes([3; 8]);
    Record {
        slot,
        name: "shop.charge".into(),
        key: "A-17".into(),
        status,
        claim,
        owner,
        attempt: 1,
        returned: 0,
        fingerprint: vec![1, 2],
        at: Mark { clock: 1, at_ms: 1 },
        reason: (status == Status::InDoubt).then_some(Reason::Panicked),
        doubt_since: (status == Status::InDoubt).then_some(Mark { clock: 1, at_ms: 1 }),
        ttl: Lifetime::FOREVER,
        keep_result: Lifetime::FOREVER,
        result: finished.then(|| Stored { codec_id: 1, digest, bytes: vec![42] }),
        purge_ms: None,
        row: None,
    }
}

fn put(conn: &Connection, new: Record) {
    let expect = Expect::Free { over: None, nor_in: Vec::new(), expired: Vec::new() };
    let mut change = Change { slot: new.slot, expect, new: Some(new) };
    assert!(matches!(apply(conn, &mut change, None).unwrap(), Applied::Yes));
}

fn free(over: Option<u64>) -> Expect {
    Expect::Free { over, nor_in: Vec::new(), expired: Vec::new() }
}

fn expectations() -> Vec<Expect> {
    let exactly = STATUSES.map(|status| Expect::Exactly(CLAIM, status));
    let others =
        [free(None), free(Some(CLAIM)), Expect::Unfinished { claim: CLAIM, owner: OWNER }, Expect::Any];
    exactly.into_iter().chain(others).collect()
}

fn rows() -> Vec<Option<Row>> {
    let mut rows = vec![None];
    for status in STATUSES {
        for claim in [CLAIM - 1, CLAIM, CLAIM + 1] {
            rows.extend([OWNER, OWNER + 1].map(|owner| Some((claim, status, owner))));
        }
    }
    rows
}

/// The contract: whether a change under this condition may change what stands.
#[expect(clippy::match_same_arms, reason = "a table: one line for each condition")]
fn admits(expect: &Expect, standing: Option<Row>) -> bool {
    let finished = [Status::Done, Status::Failed];
    match (expect, standing) {
        (Expect::Free { .. } | Expect::Any, None) => true,
        (Expect::Unfinished { .. } | Expect::Exactly(..), None) => false,
        (Expect::Free { over, .. }, Some((claim, status, _))) => {
            *over == Some(claim) && finished.contains(&status)
        }
        (Expect::Unfinished { .. }, Some((claim, status, owner))) => {
            (claim, owner) == (CLAIM, OWNER) && !finished.contains(&status)
        }
        (Expect::Exactly(_, expected), Some((claim, status, _))) => (claim, status) == (CLAIM, *expected),
        (Expect::Any, Some(_)) => true,
    }
}

/// The number of the row in the slot.
fn row_number(conn: &Connection, slot: Slot) -> Option<i64> {
    let query = "SELECT id FROM idem_record WHERE slot = ?1";
    conn.prepare(query)
        .unwrap()
        .query_map([slot.as_slice()], |row| row.get(0))
        .unwrap()
        .next()
        .transpose()
        .unwrap()
}

/// Applies one change to a fresh store and checks every row after it.
fn check(expect: &Expect, standing: Option<Row>, new: Option<Record>) {
    let conn = database();
    if let Some(standing) = standing {
        put(&conn, record(SLOT, standing));
    }
    let case = format!("{expect:?} on {standing:?} with {new:?}");
    let before = get(&conn, &SLOT).unwrap();
    let mut change = Change { slot: SLOT, expect: expect.clone(), new: new.clone() };
    let applied = apply(&conn, &mut change, None).unwrap();
    let after = get(&conn, &SLOT).unwrap();
    let expected = if admits(expect, standing) { new } else { before.clone() };
    let same = match (&after, &expected) {
        (Some(after), Some(expected)) => after.same_as(expected),
        (after, expected) => after.is_none() && expected.is_none(),
    };
    assert!(same, "{case}: {after:?}");
    // A deletion of a record that is gone counts as applied: an earlier try may have deleted it.
    let is_repeated = change.new.is_none() && standing.is_none();
    match applied {
        Applied::Yes => assert!(admits(expect, standing) || is_repeated, "{case}"),
        Applied::No(found) => {
            assert!(!admits(expect, standing), "{case}");
            assert_eq!(found.map(|found| *found), before, "{case}");
        }
        Applied::Damaged(what) => panic!("{case}: {what}"),
    }
    let other = get(&conn, &OTHER_SLOT).unwrap().unwrap();
    assert!(other.same_as(&record(OTHER_SLOT, (99, Status::Done, 99))), "{case}: {other:?}");
    assert_eq!(counters::lost_records(&conn).unwrap(), None, "{case}");
}

#[test]
fn every_condition_changes_exactly_the_rows_that_it_names() {
    for expect in expectations() {
        for standing in rows() {
            check(&expect, standing, None);
            if expect == Expect::Any {
                continue;
            }
            for status in STATUSES {
                let new = record(SLOT, (CLAIM + 5, status, OWNER + 5));
                // The number of the row itself, of no row, and of the row of another record.
                for row in [None, Some(2), Some(1), Some(3)] {
                    check(&expect, standing, Some(Record { row, ..new.clone() }));
                }
            }
        }
    }
}

#[test]
fn the_row_of_a_record_is_replaced_by_its_number() {
    let conn = database();
    put(&conn, record(SLOT, (CLAIM, Status::Running, OWNER)));
    assert_eq!(row_number(&conn, SLOT), Some(2), "the table above replaces rows by this number");
}

#[test]
fn a_free_slot_needs_free_slots_of_earlier_names() {
    let conn = database();
    let new = || record(SLOT, (CLAIM, Status::Running, OWNER));
    let claim = |expired| {
        let expect = Expect::Free { over: None, nor_in: vec![OTHER_SLOT], expired };
        apply(&conn, &mut Change { slot: SLOT, expect, new: Some(new()) }, None).unwrap()
    };
    assert!(matches!(claim(vec![98]), Applied::No(Some(found)) if found.claim == 99));
    assert!(get(&conn, &SLOT).unwrap().is_none());
    assert!(matches!(claim(vec![99]), Applied::Yes));
}
