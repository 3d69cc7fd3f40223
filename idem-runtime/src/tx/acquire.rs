//! The acquisition of a `tx` call on the user's connection: find the record, decide, then answer or claim.

use rusqlite::Connection;

use crate::call::prepared::Prepared;
use crate::call::refusal;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::decide::{Decision, Expired, Holder, Mode, View, decide};
use crate::protocol::record::{NO_OWNER, Reason, Record};
use crate::scope::context;
use crate::sqlite::records;
use crate::sqlite::timeline::Timeline;
use crate::tx::claim::TxClaim;
use crate::tx::connection::{check_durable, check_journal, timeline, unreadable};
use crate::tx::savepoint::Savepoint;

/// The end of an acquisition without an error.
pub(super) enum Acquired<'conn> {
    /// The record answers the call.
    Answer(Box<Record>),
    /// The body runs under this claim.
    Claimed(Box<TxClaim<'conn>>),
}

/// Answers from the record, or claims the call.
pub(super) fn acquire<'conn>(
    conn: &'conn Connection,
    call: &Prepared,
    store_id: &[u8; 16],
    mode: Mode,
) -> Result<Acquired<'conn>, Error> {
    check_connection(conn, store_id)?;
    if conn.is_autocommit() {
        // A replay needs no write lock.
        let timeline = timeline(conn)?.0;
        if let Found::Answer(record) = find(conn, call, store_id, &timeline, mode)? {
            return Ok(Acquired::Answer(record));
        }
    }
    let savepoint = Savepoint::begin(conn)?;
    let (over, expired, attempt) = match find(conn, call, store_id, &savepoint.timeline, mode)? {
        Found::Answer(record) => return Ok(Acquired::Answer(record)),
        Found::Absent => (None, Vec::new(), 1),
        Found::Expired(record, expired) => (Some(record), expired, 1),
        Found::Interrupted(record) => {
            let attempt = record.attempt.saturating_add(1);
            (Some(record), Vec::new(), attempt)
        }
    };
    let claim = TxClaim::take(savepoint, call, over, expired, attempt)?;
    Ok(Acquired::Claimed(Box::new(claim)))
}

/// Checks that the connection may write the record of a call, and that a commit of its own is on disk.
pub(super) fn check_connection(conn: &Connection, store_id: &[u8; 16]) -> Result<(), Error> {
    check_journal(conn)?;
    if !conn.is_autocommit() {
        return Ok(());
    }
    if context::scope().call.as_ref().is_some_and(|outer| outer.holds_transaction(store_id)) {
        return Err(refusal::transaction_not_passed());
    }
    check_durable(conn)
}

enum Found {
    Absent,
    Answer(Box<Record>),
    /// All records of the call have expired: the first of them, and the claims of all.
    Expired(Record, Vec<u64>),
    Interrupted(Record),
}

fn find(
    conn: &Connection,
    call: &Prepared,
    store_id: &[u8; 16],
    timeline: &Timeline,
    mode: Mode,
) -> Result<Found, Error> {
    let Some((record, expired)) = record(conn, call, timeline)? else { return Ok(Found::Absent) };
    let difference = call.difference(&record.borrowed())?;
    let reentrant = call.is_reentrant(store_id);
    let holder = holder(&record, reentrant);
    let age_ms = timeline.age_ms(record.at);
    let view = View { reentrant, ..View::of(&record, holder, age_ms, difference.is_some()) };
    match decide(view, mode) {
        Decision::Claim => Ok(Found::Expired(record, expired)),
        Decision::Replay => Ok(Found::Answer(Box::new(record))),
        Decision::Rerun | Decision::Recover => Ok(Found::Interrupted(record)),
        Decision::Wait => Err(running_outside()),
        Decision::RefuseMismatch => Err(refusal::mismatch(&record, difference)),
        Decision::RefuseReentrant => Err(refusal::reentrant()),
        Decision::RefuseResultGone => Err(refusal::result_gone(&record)),
        refusal @ (Decision::RefuseInDoubt | Decision::RefuseExhausted) => {
            let ended = (holder == Holder::Nobody).then_some(Reason::TransactionEnded);
            let doubt = refusal::in_doubt(&record, record.reason.or(ended), refusal);
            Err(doubt.advise(Advice::SettleTx))
        }
    }
}

/// The first record of the call that has not expired, or else the first one, with the claims of all expired records.
///
/// Reads the slots of the name and of the earlier names.
pub(super) fn record(
    conn: &Connection,
    call: &Prepared,
    timeline: &Timeline,
) -> Result<Option<(Record, Vec<u64>)>, Error> {
    let found =
        call.slots().iter().filter_map(|slot| records::get(conn, slot).map_err(unreadable).transpose());
    let mut records = found.collect::<Result<Vec<Record>, Error>>()?;
    let is_expired =
        |record: &Record| Expired::of(&record.borrowed(), timeline.age_ms(record.at)) == Expired::Record;
    let expired = records.iter().filter(|record| is_expired(record)).map(|record| record.claim).collect();
    records.sort_by_key(is_expired);
    Ok(records.into_iter().next().map(|record| (record, expired)))
}

/// The holder of a record, as far as the connection shows.
///
/// A running record of a `tx` call is visible outside of its transaction only if the body ended the transaction.
pub(super) fn holder(record: &Record, reentrant: bool) -> Holder {
    if record.owner == NO_OWNER && !reentrant { Holder::Nobody } else { Holder::Alive }
}

pub(super) fn running_outside() -> Error {
    let message = "the same call is running, or was cut off, outside of this transaction";
    Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::OneMode)
}
