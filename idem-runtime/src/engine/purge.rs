//! When the writer thread purges, and how much: in slices after ordinary batches, without a timer.

use std::time::{Duration, Instant};

/// How often to look while there is nothing to purge.
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(1);
/// The least number of records a slice takes.
const SLICE_MIN: usize = 16;

/// When to purge next.
#[derive(Debug)]
pub(crate) struct PurgeSchedule {
    next: Instant,
}

impl PurgeSchedule {
    pub(crate) fn new() -> PurgeSchedule {
        PurgeSchedule { next: Instant::now() }
    }

    /// For tests that count on nothing else to do.
    #[cfg(test)]
    pub(crate) fn never() -> PurgeSchedule {
        PurgeSchedule { next: crate::sync::deadline(Duration::MAX) }
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
        self.next = Instant::now() + PURGE_INTERVAL;
    }
}

/// The size of a slice: at least as much as was written, so that purging keeps up with the traffic.
pub(crate) fn limit(written: usize) -> usize {
    written.max(SLICE_MIN)
}
