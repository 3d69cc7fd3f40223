//! When the writer thread purges, and how many records at a time.
//!
//! The writer thread purges a slice of records after an ordinary batch, without a timer.

use std::time::{Duration, Instant};

/// The time between two searches for expired records while there are none left.
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(1);
/// The smallest slice, in records.
const SLICE_MIN: usize = 16;

/// The time of the next purge.
#[derive(Debug)]
pub(crate) struct PurgeSchedule {
    next: Instant,
}

impl PurgeSchedule {
    /// A schedule whose first purge is due now.
    pub(crate) fn new() -> PurgeSchedule {
        PurgeSchedule { next: Instant::now() }
    }

    /// A schedule without a purge, for tests that count writes.
    #[cfg(test)]
    pub(crate) fn never() -> PurgeSchedule {
        PurgeSchedule { next: crate::sync::deadline(Duration::MAX) }
    }

    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Puts the next purge off if a search for `limit` records found fewer.
    pub(crate) fn on_found(&mut self, found: usize, limit: usize) {
        if found < limit {
            self.postpone();
        }
    }

    /// Puts the next purge off by [`PURGE_INTERVAL`].
    pub(crate) fn postpone(&mut self) {
        self.next = Instant::now() + PURGE_INTERVAL;
    }
}

/// The size of a slice after a batch of `written` requests: at least as many records as the batch added.
pub(crate) fn limit(written: usize) -> usize {
    written.max(SLICE_MIN)
}
