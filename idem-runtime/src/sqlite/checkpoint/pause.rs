//! A moment in which the writer commits nothing.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::sync::lock;

/// How long the writer stands still at most. What is then folded in takes a part of that.
const STILL_MAX: Duration = Duration::from_millis(2);
/// If nobody commits for so long, nobody has to stand still.
const COMMIT_WAIT: Duration = Duration::from_millis(20);

/// Between the thread that folds the log in and whoever commits. Neither relies on it: who comes too late costs the
/// writer a longer checkpoint.
#[derive(Debug, Default)]
pub(super) struct Pause {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Writing,
    Asked,
    Still,
    /// The writer waits for the end of the thread, and commits nothing before.
    Waiting,
}

impl Pause {
    /// Does something that begins while the writer stands still.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        if *state == State::Writing {
            *state = State::Asked;
        }
        drop(self.changed.wait_timeout_while(state, COMMIT_WAIT, |state| *state == State::Asked));
        let done = work();
        let mut state = lock(&self.state);
        if *state != State::Waiting {
            *state = State::Writing;
        }
        drop(state);
        self.changed.notify_all();
        done
    }

    /// The writer is about to commit: it stands still first, if it was asked to.
    pub(super) fn stand_still(&self) {
        let mut state = lock(&self.state);
        if *state != State::Asked {
            return;
        }
        *state = State::Still;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, STILL_MAX, |state| *state == State::Still);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = State::Writing;
    }

    /// The writer commits nothing until the thread has ended.
    pub(super) fn until_the_end(&self) {
        *lock(&self.state) = State::Waiting;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_work_begins_while_the_writer_stands_still() {
        let pause = Pause::default();
        thread::scope(|scope| {
            let work = scope.spawn(|| pause.during(|| *lock(&pause.state)));
            let mut stood = 0;
            while !work.is_finished() {
                pause.stand_still();
                stood += 1;
                thread::yield_now();
            }
            assert_eq!(work.join().unwrap(), State::Still, "after {stood} commits");
        });
        assert_eq!(*lock(&pause.state), State::Writing);
    }

    #[test]
    fn nobody_stands_still_for_longer_than_a_moment() {
        let pause = Pause::default();
        let begun = Instant::now();
        pause.stand_still();
        assert!(begun.elapsed() < STILL_MAX, "nobody asked");
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel::<()>();
            let work = scope.spawn(|| pause.during(move || told.recv()));
            while *lock(&pause.state) != State::Asked {
                thread::yield_now();
            }
            pause.stand_still();
            assert!(!work.is_finished());
            drop(tell);
        });
    }

    #[test]
    fn the_work_does_not_wait_for_a_writer_that_waits_for_it() {
        let pause = Pause::default();
        pause.until_the_end();
        assert_eq!(pause.during(|| *lock(&pause.state)), State::Waiting);
        assert_eq!(*lock(&pause.state), State::Waiting);
    }
}
