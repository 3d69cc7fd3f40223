//! Records that are over leave the file, in slices after ordinary batches: no timer, and no pause for live traffic.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::engine::request::{OnFailure, Request};
use crate::engine::shared::Core;
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Expired;
use crate::protocol::record::Record;
use crate::sqlite::records;

/// How often to look while there is nothing to purge.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The least number of records a slice takes.
const SLICE_MIN: usize = 16;
/// How long past its end a record stays, for waiters in other processes that have not looked yet.
const GRACE_MS: i64 = 60_000;
/// When to look again at a record that the index named too early.
const PUT_OFF_MS: i64 = 3_600_000;

/// When to purge next, and how much.
#[derive(Debug)]
pub(crate) struct Rhythm {
    next: Instant,
}

impl Rhythm {
    pub(crate) fn new() -> Rhythm {
        Rhythm { next: Instant::now() }
    }

    /// For tests that count on nothing else to do.
    #[cfg(test)]
    pub(crate) fn never() -> Rhythm {
        Rhythm { next: crate::sync::deadline(Duration::MAX) }
    }

    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    pub(crate) fn found(&mut self, found: usize, limit: usize) {
        if found < limit {
            self.pause();
        }
    }

    pub(crate) fn pause(&mut self) {
        self.next = Instant::now() + LOOK_EVERY;
    }
}

/// How much a slice takes: at least as much as was written, so that purging keeps up with the traffic.
pub(crate) fn limit(written: usize) -> usize {
    written.max(SLICE_MIN)
}

/// The writes that purge the oldest records that are over.
pub(crate) fn slice(core: &Core, conn: &Connection, limit: usize) -> Vec<Request> {
    let before_ms = core.clock.horizon_ms().saturating_sub(GRACE_MS);
    let found = records::purgeable(conn, before_ms, u32::try_from(limit).unwrap_or(u32::MAX));
    let changes = found.unwrap_or_default().into_iter().map(|record| change(core, record));
    let on_failure = OnFailure::FailAfter(Instant::now() + LOOK_EVERY);
    changes.map(|change| Request::new(change, on_failure, None)).collect()
}

/// The write that purges what is over of a record, or puts it off: the time in the index is an estimate.
pub(crate) fn change(core: &Core, record: Record) -> Change {
    let (slot, expect) = (record.slot, Expect::Exactly(record.claim, record.status));
    let new = match core.expired(&record) {
        Expired::Record => None,
        Expired::Result if record.result.is_some() => Some(core.with_purge_time(record.without_result())),
        Expired::Result | Expired::No => {
            let later = core.clock.horizon_ms().saturating_add(PUT_OFF_MS);
            let record = core.with_purge_time(record);
            Some(Record { purge_ms: record.purge_ms.map(|purge_ms| purge_ms.max(later)), ..record })
        }
    };
    Change { slot, expect, new }
}
