//! A queue in front of `SQLite`'s write lock.
//!
//! `SQLite` lets waiters sleep and retry, and whoever has just written wins again: others wait for seconds.
//! Here a writer takes `next`, then `main`, then frees `next`. Whoever has just written must queue at `next`
//! behind the one that already waits for `main`, so nobody overtakes twice.
//!
//! Architecture Invariant: the gate is advice. `SQLite`'s own lock is what protects the data, so a gate that is
//! broken, missing or held by a stopped process costs fairness and a bounded wait, never safety.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::host::platform;
use crate::host::sidecar::Sidecar;

/// Pauses do not grow at first: whoever has waited longer would then look less often than a newcomer.
const PAUSE: Duration = Duration::from_micros(100);
/// After this the holder is stuck or stopped, and looking often is of no use.
const EXPECTED_WAIT_MAX: Duration = Duration::from_millis(100);
const LONG_PAUSE: Duration = Duration::from_millis(1);

/// The two files of the gate, opened for one writer at a time.
#[derive(Debug)]
pub(crate) struct Gate {
    next: File,
    main: File,
}

/// The turn of one writer; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct GateGuard<'gate> {
    main: Option<&'gate File>,
}

impl Gate {
    /// Opens the files, or makes them.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub(crate) fn open(sidecar: &Sidecar) -> io::Result<Self> {
        let open = |name| {
            let mut options = platform::private_file();
            options.read(true).write(true).create(true).truncate(false).open(sidecar.file(name))
        };
        Ok(Self { next: open("gate-next")?, main: open("gate-main")? })
    }

    /// Waits for a turn, for at most `limit`, and goes on without one after that.
    pub(crate) fn enter(&mut self, limit: Duration) -> GateGuard<'_> {
        let deadline = Instant::now() + limit;
        if !lock_until(&self.next, deadline) {
            return GateGuard { main: None };
        }
        let held = lock_until(&self.main, deadline);
        // A failure leaves it locked until this thread comes by again; the others then wait their limit.
        let _ = self.next.unlock();
        GateGuard { main: held.then_some(&self.main) }
    }
}

#[cfg(test)]
impl GateGuard<'_> {
    /// False if the wait was over first, or the files cannot be locked.
    pub(crate) fn is_held(&self) -> bool {
        self.main.is_some()
    }
}

impl Drop for GateGuard<'_> {
    fn drop(&mut self) {
        if let Some(main) = self.main {
            // Closing would not do: a forked child may share the descriptor.
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
    fn one_writer_is_inside_at_a_time_and_all_get_their_turns() {
        let (_folder, sidecar) = sidecar::alone();
        let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut gate = Gate::open(&sidecar).unwrap();
                    for _ in 0..50 {
                        let turn = gate.enter(Duration::from_secs(20));
                        assert!(turn.is_held());
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
    fn a_turn_that_never_ends_costs_the_limit_and_no_more() {
        let (_folder, sidecar) = sidecar::alone();
        let (mut first, mut second) = (Gate::open(&sidecar).unwrap(), Gate::open(&sidecar).unwrap());
        let turn = first.enter(Duration::ZERO);
        assert!(turn.is_held());
        let started = Instant::now();
        assert!(!second.enter(Duration::from_millis(30)).is_held());
        assert!((30..300).contains(&started.elapsed().as_millis()));
        drop(turn);
        assert!(second.enter(Duration::ZERO).is_held());
    }

    #[test]
    fn a_turn_ends_though_the_descriptor_is_shared() {
        let (_folder, sidecar) = sidecar::alone();
        let (mut first, mut second) = (Gate::open(&sidecar).unwrap(), Gate::open(&sidecar).unwrap());
        // What a fork does to the descriptor.
        let _shared = first.main.try_clone().unwrap();
        drop(first.enter(Duration::ZERO));
        drop(first);
        assert!(second.enter(Duration::ZERO).is_held());
    }
}
