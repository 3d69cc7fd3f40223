//! A fair lock between processes in front of `SQLite`'s write lock.
//!
//! `SQLite`'s busy handler sleeps and retries, so a process that has just written wins again and others wait for
//! seconds. Here a writer locks the file `gate-next`, then `gate-main`, and then unlocks `gate-next`. A process that has
//! just written queues at `gate-next` behind the one that waits for `gate-main`: no process overtakes another twice.
//!
//! Architecture Invariant: the fair lock is advisory. `SQLite`'s own lock protects the data. If the fair lock is broken,
//! missing or held by a stopped process, it costs fairness and a bounded wait, never safety.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::host::platform;
use crate::host::sidecar::Sidecar;

/// The pause between two attempts. The pause does not grow at first: otherwise a writer that waits longer would try
/// less often than a new one.
const PAUSE: Duration = Duration::from_micros(100);
/// A holder that keeps the lock for longer is stuck or stopped: frequent attempts are of no use.
const EXPECTED_WAIT_MAX: Duration = Duration::from_millis(100);
const LONG_PAUSE: Duration = Duration::from_millis(1);

/// The two lock files, opened for one writer at a time.
#[derive(Debug)]
pub(crate) struct FairLock {
    next: File,
    main: File,
}

/// The lock of one writer; dropping the guard unlocks it.
#[derive(Debug)]
pub(crate) struct FairLockGuard<'lock> {
    main: Option<&'lock File>,
}

impl FairLock {
    /// Opens or creates the files.
    ///
    /// # Errors
    /// An I/O error if a file cannot be opened.
    pub(crate) fn open(sidecar: &Sidecar) -> io::Result<Self> {
        let open = |name| -> io::Result<File> {
            let mut options = platform::private_file();
            let file =
                options.read(true).write(true).create(true).truncate(false).open(sidecar.file(name))?;
            sidecar.give_to_owner_of_database(&file);
            Ok(file)
        };
        Ok(Self { next: open("gate-next")?, main: open("gate-main")? })
    }

    /// Waits for the lock for at most `limit`. After that the guard holds nothing, and the writer continues without the
    /// lock.
    pub(crate) fn lock(&mut self, limit: Duration) -> FairLockGuard<'_> {
        let deadline = Instant::now() + limit;
        if !lock_until(&self.next, deadline) {
            return FairLockGuard { main: None };
        }
        let held = lock_until(&self.main, deadline);
        // If this fails, `next` stays locked until this writer unlocks it the next time: others wait for their limit.
        let _ = self.next.unlock();
        FairLockGuard { main: held.then_some(&self.main) }
    }
}

impl FairLockGuard<'_> {
    /// False if the wait timed out or the files cannot be locked.
    pub(crate) fn is_held(&self) -> bool {
        self.main.is_some()
    }
}

impl Drop for FairLockGuard<'_> {
    fn drop(&mut self) {
        if let Some(main) = self.main {
            // Closing alone is not enough: a forked child may share the descriptor.
            let _ = main.unlock();
        }
    }
}

fn lock_until(file: &File, deadline: Instant) -> bool {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::Error(_)) => return false,
            Err(TryLockError::WouldBlock) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let pause = if begun.elapsed() < EXPECTED_WAIT_MAX { PAUSE } else { LONG_PAUSE };
        wait(pause.min(left));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process holds the lock; there is no condition to wait on"
)]
fn wait(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::host::sidecar;

    #[test]
    fn one_writer_holds_the_lock_at_a_time_and_all_get_it() {
        let (_folder, sidecar) = sidecar::alone();
        let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut lock = FairLock::open(&sidecar).unwrap();
                    for _ in 0..50 {
                        let guard = lock.lock(Duration::from_secs(20));
                        assert!(guard.is_held());
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        wait(Duration::from_micros(20));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turns.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(turns.into_inner(), 200);
    }

    #[test]
    fn a_lock_that_is_never_released_costs_the_limit() {
        let (_folder, sidecar) = sidecar::alone();
        let (mut first, mut second) = (FairLock::open(&sidecar).unwrap(), FairLock::open(&sidecar).unwrap());
        let guard = first.lock(Duration::ZERO);
        assert!(guard.is_held());
        let started = Instant::now();
        assert!(!second.lock(Duration::from_millis(30)).is_held());
        assert!((30..300).contains(&started.elapsed().as_millis()));
        drop(guard);
        assert!(second.lock(Duration::ZERO).is_held());
    }

    #[test]
    fn dropping_the_guard_unlocks_a_shared_descriptor() {
        let (_folder, sidecar) = sidecar::alone();
        let (mut first, mut second) = (FairLock::open(&sidecar).unwrap(), FairLock::open(&sidecar).unwrap());
        // A fork shares the descriptor like this.
        let _shared = first.main.try_clone().unwrap();
        drop(first.lock(Duration::ZERO));
        drop(first);
        assert!(second.lock(Duration::ZERO).is_held());
    }
}
