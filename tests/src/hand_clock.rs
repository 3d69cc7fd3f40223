//! A clock that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::{Clock, Store};

use crate::deadline;

/// 2026-06-01: a plausible time.
pub const SUMMER_MS: i64 = 1_780_272_000_000;

/// A clock that does not move by itself.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    wall_ms: AtomicI64,
    boot_ms: AtomicI64,
    boot: AtomicU64,
    /// The step of every reading.
    step_ms: AtomicI64,
}

impl HandClock {
    /// An hour after the machine started, in the summer of 2026.
    pub fn summer() -> HandClock {
        HandClock::at(SUMMER_MS)
    }

    /// An hour after the machine started, at this wall time.
    pub fn at(wall_ms: i64) -> HandClock {
        HandClock(Arc::new(Hands {
            wall_ms: AtomicI64::new(wall_ms),
            boot_ms: AtomicI64::new(3_600_000),
            boot: AtomicU64::new(1),
            step_ms: AtomicI64::new(0),
        }))
    }

    /// Moves both clocks forward.
    pub fn pass(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.0.boot_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock.
    pub fn set_wall(&self, wall_ms: i64) {
        self.0.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Sets the boot time within the same boot id.
    pub fn set_boot(&self, boot_ms: i64) {
        self.0.boot_ms.store(boot_ms, Ordering::SeqCst);
    }

    /// Restarts the machine with this wall time.
    pub fn reboot(&self, wall_ms: i64) {
        self.0.boot.fetch_add(1, Ordering::SeqCst);
        self.0.boot_ms.store(5_000, Ordering::SeqCst);
        self.set_wall(wall_ms);
    }

    /// From now on every reading moves the clock forward.
    pub fn step(&self, time: Duration) {
        self.0.step_ms.store(i64::try_from(time.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// A temporary store with this clock, and the folder it lives in.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn store(&self) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = self.open(folder.path());
        (folder, store)
    }

    /// Opens the store in `folder` with this clock.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn open(&self, folder: &std::path::Path) -> Store {
        deadline::start();
        Store::builder().clock(self.clone()).open(folder.join("idem.db")).expect("a store")
    }
}

impl Clock for HandClock {
    fn wall_ms(&self) -> i64 {
        self.0.wall_ms.fetch_add(self.0.step_ms.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.0.boot_ms.fetch_add(self.0.step_ms.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.0.boot.load(Ordering::SeqCst))
    }
}
