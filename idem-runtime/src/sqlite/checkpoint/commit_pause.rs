//! A short pause of the writer, in which a checkpoint begins.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::sync::lock;

/// Upper limit of a pause. The checkpoint that begins in a pause takes a part of it.
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// How long the checkpoint thread waits for a commit to pause. Without a commit no pause is needed.
const COMMIT_WAIT: Duration = Duration::from_millis(20);

/// Coordinates the checkpoint thread with the writer.
///
/// Neither side depends on the pause. If one side is late, the writer's own checkpoint takes longer.
#[derive(Debug, Default)]
pub(super) struct CommitPause {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Committing,
    /// The checkpoint thread has requested a pause.
    Requested,
    Paused,
    /// The writer waits for the end of the checkpoint thread and commits nothing before that.
    Joining,
}

impl CommitPause {
    /// Runs `work` on the checkpoint thread. If the writer commits, `work` begins while the writer pauses.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        if *state == State::Committing {
            *state = State::Requested;
        }
        drop(self.changed.wait_timeout_while(state, COMMIT_WAIT, |state| *state == State::Requested));
        let done = work();
        let mut state = lock(&self.state);
        if *state != State::Joining {
            *state = State::Committing;
        }
        drop(state);
        self.changed.notify_all();
        done
    }

    /// Pauses the writer before a commit, if the checkpoint thread has requested a pause.
    pub(super) fn pause_if_requested(&self) {
        let mut state = lock(&self.state);
        if *state != State::Requested {
            return;
        }
        *state = State::Paused;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, PAUSE_MAX, |state| *state == State::Paused);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = State::Committing;
    }

    /// Tells the checkpoint thread that the writer commits nothing until the thread has ended.
    pub(super) fn begin_join(&self) {
        *lock(&self.state) = State::Joining;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// The state in which the work of the checkpoint thread begins.
    fn state_at_work() -> State {
        let pause = CommitPause::default();
        let state = thread::scope(|scope| {
            let work = scope.spawn(|| pause.during(|| *lock(&pause.state)));
            while !work.is_finished() {
                pause.pause_if_requested();
                thread::yield_now();
            }
            work.join().unwrap()
        });
        assert_eq!(*lock(&pause.state), State::Committing);
        state
    }

    // A pause is short. On a busy machine the thread may begin its work after the pause.
    #[test]
    fn work_begins_while_the_writer_pauses() {
        let mut states = (0..100).map(|_| state_at_work());
        assert!(states.any(|state| state == State::Paused));
    }

    #[test]
    fn a_pause_ends_before_slow_work_ends() {
        let pause = CommitPause::default();
        let begun = Instant::now();
        pause.pause_if_requested();
        assert!(begun.elapsed() < PAUSE_MAX, "no pause was requested");
        thread::scope(|scope| {
            let (end_work, work_ends) = std::sync::mpsc::channel::<()>();
            let work = scope.spawn(|| pause.during(move || work_ends.recv()));
            while *lock(&pause.state) != State::Requested {
                thread::yield_now();
            }
            pause.pause_if_requested();
            assert!(!work.is_finished());
            drop(end_work);
        });
    }

    #[test]
    fn work_begins_at_once_if_the_writer_joins_the_thread() {
        let pause = CommitPause::default();
        pause.begin_join();
        assert_eq!(pause.during(|| *lock(&pause.state)), State::Joining);
        assert_eq!(*lock(&pause.state), State::Joining);
    }
}
