//! What waits to be written, and whose turn it is to write.
//!
//! It is bounded by its senders: each call has one request in it at a time and waits for the reply; requests whose
//! caller has gone are skipped.
//!
//! One at a time writes: the writer's thread, or a lone caller in its place (see [`crate::engine`]). What comes meanwhile
//! waits here, so that it shares the next commit; a caller that leaves calls the thread if there is anything to do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::request::{Reply, Request};
use crate::error::Error;
use crate::sync::lock;

/// How many requests share a commit at most.
const BATCH_MAX: usize = 1_000;
/// So many commits in a row must have been of one request, with nobody behind it, before a caller writes alone again:
/// one of many that do would be a commit for itself, and keep the others from sharing theirs.
pub(crate) const INLINE_AFTER_COMMITS: u32 = 16;

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    writing: Writing,
    /// How many requests the writer's thread took last.
    batch_len: usize,
    /// How many lone commits it still takes until a caller may write alone.
    commits_until_inline: u32,
    /// The writer's thread has something to do that is no request.
    other_work: bool,
    /// The writer's thread sleeps, and nobody has called it yet.
    asleep: bool,
    phase: Phase,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Nobody,
    Thread,
    Caller,
}

impl State {
    /// Nothing follows the end: a store that broke down can still be closed.
    fn set_phase(&mut self, phase: Phase) {
        if self.phase != Phase::Ended {
            self.phase = phase;
        }
    }

    /// Whether a request comes too late.
    fn refuses(&self, request: &Request) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Closing | Phase::Draining => !request.inside,
            Phase::Ended => true,
        }
    }

    /// So many requests were written together.
    fn count_commit(&mut self, count: usize) {
        let was_alone = count == 1 && self.requests.is_empty();
        self.commits_until_inline =
            if was_alone { self.commits_until_inline.saturating_sub(1) } else { INLINE_AFTER_COMMITS };
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Only what belongs to running calls is batch_len.
    Closing,
    /// Nothing more is to come: the writer ends when the queue is empty.
    Draining,
    /// The writer has ended, and nobody writes any more.
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

/// What the writer finds when it asks for work.
#[derive(Debug)]
pub(crate) enum Work {
    Batch(Vec<Request>),
    /// Nothing came within the time given.
    Idle,
    /// The store is closing and everything is written.
    Closed,
}

impl Queue {
    pub(crate) fn push(&self, request: Request) {
        let mut state = lock(&self.state);
        if state.refuses(&request) {
            drop(state);
            request.answer(Reply::Failed(Error::closed()));
            return;
        }
        state.requests.push_back(request);
        // A call is a system call whether or not anybody sleeps: the first to come makes it, and nobody else has to. A
        // caller that writes makes it when it has written.
        let sleeps = state.writing != Writing::Caller && std::mem::take(&mut state.asleep);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
    }

    /// Waits for requests, at most `timeout` if given. The turn is the thread's until it asks again.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Work {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = lock(&self.state);
        if state.writing == Writing::Thread {
            state.writing = Writing::Nobody;
            match std::mem::take(&mut state.batch_len) {
                0 => {}
                count => state.count_commit(count),
            }
        }
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state.other_work |= left.is_some_and(|left| left.is_zero());
            if state.writing == Writing::Nobody {
                if !state.requests.is_empty() || state.other_work {
                    break;
                }
                if left.is_none() && matches!(state.phase, Phase::Draining | Phase::Ended) {
                    return Work::Closed;
                }
            }
            state.asleep = true;
            state = match left.filter(|left| !left.is_zero()) {
                Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        (state.asleep, state.other_work, state.writing) = (false, false, Writing::Thread);
        let count = state.requests.len().min(BATCH_MAX);
        state.batch_len = count;
        if count == 0 { Work::Idle } else { Work::Batch(state.requests.drain(..count).collect()) }
    }

    /// Gives a caller the turn if it is alone: nobody writes, nothing waits, and it was so for some commits.
    pub(crate) fn try_begin_inline(&self) -> bool {
        let mut state = lock(&self.state);
        let is_free = state.writing == Writing::Nobody && state.requests.is_empty() && !state.other_work;
        let is_alone = is_free && state.commits_until_inline == 0 && state.phase == Phase::Open;
        if is_alone {
            state.writing = Writing::Caller;
        }
        is_alone
    }

    /// Ends the turn of a caller. With `call` it leaves something to do for the writer's thread.
    pub(crate) fn end_inline(&self, other_work: bool) {
        let mut state = lock(&self.state);
        state.writing = Writing::Nobody;
        state.count_commit(1);
        state.other_work |= other_work;
        let is_wanted = state.other_work || !state.requests.is_empty() || state.phase != Phase::Open;
        let sleeps = is_wanted && std::mem::take(&mut state.asleep);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).requests.len()
    }

    /// No new calls; what belongs to running ones is still batch_len.
    pub(crate) fn begin_close(&self) {
        let refused: Vec<Request> = {
            let mut state = lock(&self.state);
            state.set_phase(Phase::Closing);
            let (kept, refused): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.requests).into_iter().partition(|request| request.inside);
            state.requests = kept.into();
            refused
        };
        for request in refused {
            request.answer(Reply::Failed(Error::closed()));
        }
    }

    /// New calls again.
    pub(crate) fn reopen(&self) {
        lock(&self.state).set_phase(Phase::Open);
    }

    /// Nothing is queued and nothing is being written: every claim that was granted is known in memory.
    pub(crate) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.requests.is_empty() && !state.other_work && state.writing == Writing::Nobody
    }

    /// Lets the writer end once everything is written.
    pub(crate) fn close(&self) {
        lock(&self.state).set_phase(Phase::Draining);
        // Without this, the writer thread never ends. (negative control)
        self.filled.notify_all();
    }

    /// The writer is gone: everything left is answered, and so is whatever comes.
    pub(crate) fn end(&self, why: &Error) {
        let rest = {
            let mut state = lock(&self.state);
            state.phase = Phase::Ended;
            std::mem::take(&mut state.requests)
        };
        for request in rest {
            request.answer(Reply::Failed(why.clone()));
        }
    }
}
