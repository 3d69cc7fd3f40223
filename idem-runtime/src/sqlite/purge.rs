//! The changes that purge expired records and results, or postpone their purge.
//!
//! The purge time in the index is an estimate that can be too early. The age of each record decides.

use rusqlite::Connection;

use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Expired;
use crate::protocol::record::{Mark, Record};
use crate::sqlite::records;
use crate::sqlite::store_clock::StoreClock;

/// How long an expired record stays, for waiters in other processes that have not polled yet.
const GRACE_MS: i64 = 60_000;
/// How long the purge of a record is postponed if its purge time came too early.
const POSTPONE_MS: i64 = 3_600_000;

/// Returns the age of a mark in milliseconds; `None` if the clocks give no lower bound.
pub(crate) type AgeMs<'a> = &'a dyn Fn(Mark) -> Option<i64>;

/// Returns the changes of up to `limit` records whose purge time has come, the oldest first.
pub(crate) fn slice(clock: &StoreClock, age_ms: AgeMs<'_>, conn: &Connection, limit: usize) -> Vec<Change> {
    let before_ms = clock.horizon_ms().saturating_sub(GRACE_MS);
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let found = records::purgeable(conn, before_ms, limit).unwrap_or_default();
    found.into_iter().map(|record| change(clock, age_ms, record)).collect()
}

/// Returns the changes of the records in `found` that have expired or whose result has expired.
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
    let (slot, expect) = (record.slot, Expect::Exactly(record.claim, record.status));
    let new = match Expired::of(&record.borrowed(), age_ms(record.at)) {
        Expired::Record => None,
        Expired::Result if record.result.is_some() => Some(clock.with_purge_time(record.without_result())),
        Expired::Result | Expired::No => {
            let later = clock.horizon_ms().saturating_add(POSTPONE_MS);
            let record = clock.with_purge_time(record);
            Some(Record { purge_ms: record.purge_ms.map(|purge_ms| purge_ms.max(later)), ..record })
        }
    };
    Change { slot, expect, new }
}
