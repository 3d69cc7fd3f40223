//! The changes that purge expired records and results, or postpone their purge.
//!
//! The purge time in the index is an estimate that can be too early. The age of each record decides.

use rusqlite::Connection;

use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Expired;
use crate::protocol::record::{Mark, Record};
use crate::sqlite::changes::Changes;
use crate::sqlite::records;
use crate::sqlite::records::ReadError;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::timeline::Timeline;

/// How long a purge leaves an expired record, for waiters in other processes that have not polled yet.
const GRACE_MS: i64 = 60_000;
/// How long the purge of a record is postponed if its purge time came too early.
const POSTPONE_MS: i64 = 3_600_000;

/// Returns the age of a mark in milliseconds; `None` if the clocks give no lower bound.
pub(crate) type AgeMs<'a> = &'a dyn Fn(Mark) -> Option<i64>;

/// Returns the changes of up to `limit` records whose purge time has come, the oldest first.
pub(crate) fn slice(clock: &StoreClock, age_ms: AgeMs<'_>, conn: &Connection, limit: usize) -> Vec<Change> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let found = records::purgeable(conn, due_before_ms(clock), limit).unwrap_or_default();
    found.into_iter().map(|record| change(clock, age_ms, record)).collect()
}

/// The purge time up to which a record may be purged.
pub(crate) fn due_before_ms(clock: &StoreClock) -> i64 {
    clock.horizon_ms().saturating_sub(GRACE_MS)
}

/// Purges up to `limit` records in a transaction of the user: a database that is used through `tx` alone has no writer.
#[cfg(feature = "tx")]
pub(crate) fn in_transaction(conn: &Connection, timeline: &Timeline, limit: u32) -> Result<(), ReadError> {
    let before_ms = timeline.horizon_ms().saturating_sub(GRACE_MS);
    let mut changes = Changes::new(conn);
    for record in records::purgeable(conn, before_ms, limit)? {
        let with_purge_time = |mut record: Record| {
            timeline.set_purge_time(&mut record);
            record
        };
        let age_ms = timeline.age_ms(record.at);
        changes.apply(&mut change_of(record, age_ms, timeline.horizon_ms(), with_purge_time))?;
    }
    Ok(changes.finish(None)?)
}

/// Changes the records in `found` that have expired or whose result has expired.
pub(crate) fn expired(clock: &StoreClock, age_ms: AgeMs<'_>, found: Vec<Record>) -> Vec<Change> {
    let changes = found.into_iter().map(|record| (record.result.is_some(), change(clock, age_ms, record)));
    changes
        .filter(|(had_result, change)| {
            change.new.as_ref().is_none_or(|new| *had_result && new.result.is_none())
        })
        .map(|(_, change)| change)
        .collect()
}

fn change(clock: &StoreClock, age_ms: AgeMs<'_>, record: Record) -> Change {
    let age_ms = age_ms(record.at);
    change_of(record, age_ms, clock.horizon_ms(), |record| clock.with_purge_time(record))
}

fn change_of(
    record: Record,
    age_ms: Option<i64>,
    horizon_ms: i64,
    with_purge_time: impl Fn(Record) -> Record,
) -> Change {
    let (slot, expect) = (record.slot, Expect::Exactly(record.claim, record.status));
    let past_grace_ms = age_ms.map(|age_ms| age_ms.saturating_sub(GRACE_MS));
    let new = match Expired::of(&record.borrowed(), past_grace_ms) {
        Expired::Record => None,
        Expired::Result if record.result.is_some() => Some(with_purge_time(record.without_result())),
        Expired::Result | Expired::No => {
            let is_in_grace =
                Expired::of(&record.borrowed(), age_ms) != Expired::of(&record.borrowed(), past_grace_ms);
            let later = horizon_ms.saturating_add(if is_in_grace { 0 } else { POSTPONE_MS });
            let record = with_purge_time(record);
            Some(Record { purge_ms: record.purge_ms.map(|purge_ms| purge_ms.max(later)), ..record })
        }
    };
    Change { slot, expect, new }
}
