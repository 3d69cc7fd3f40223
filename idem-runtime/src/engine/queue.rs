//! The requests that wait for a commit, and the turn to write.
//!
//! Each call has one queued request at a time and waits for its reply, so the number of callers bounds the queue. The
//! writer drops a request whose caller has gone.
//!
//! One thread at a time has the turn: the writer thread, or a caller that writes inline (see [`crate::engine`]).
//! Meanwhile other requests wait in the queue, so that they share the next commit. A caller that ends its inline write
//! wakes the writer thread if work is left.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::request::{Reply, Request};
use crate::error::Error;
use crate::sync::lock;

/// The largest number of requests in one commit.
const BATCH_MAX: usize = 1_000;
/// The number of consecutive commits of one request, with an empty queue behind each, before a caller may write inline.
///
/// Without this limit, each of many callers would make a commit of its own instead of sharing one.
pub(crate) const INLINE_AFTER_COMMITS: u32 = 16;

/// The queue of one open store.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

/// The answer of [`Queue::next`].
#[derive(Debug)]
pub(crate) enum Work {
    Batch(Vec<Request>),
    /// The timeout passed without a request, or the writer thread has other work.
    Idle,
    /// The store closes and every request is written.
    Closed,
}

impl Queue {
    /// Adds a request, or fails it at once if the store closes.
    pub(crate) fn push(&self, request: Request) {
        if let Some(refused) = self.offer(request) {
            refused.answer(Reply::Failed(Error::closed()));
        }
    }

    /// Adds a request, or returns the request if the store closes or has ended.
    pub(crate) fn offer(&self, request: Request) -> Option<Request> {
        let mut state = lock(&self.state);
        if state.refuses(&request) {
            return Some(request);
        }
        state.requests.push_back(request);
        // A wake-up is a system call even if no thread sleeps, so only the first sender makes one. While a caller
        // writes inline, `end_inline` makes it.
        let sleeps = state.writing != Writing::Caller && std::mem::take(&mut state.asleep);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
        None
    }

    /// Waits for requests, without a limit if `timeout` is `None`. The writer thread has the turn until it calls `next`
    /// again.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Work {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = lock(&self.state);
        state.end_thread_turn();
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
        state.begin_thread_turn()
    }

    /// Gives the turn to a caller and returns true, if the caller may write inline.
    ///
    /// The queue must be empty, no thread may be writing, and the last commits must have been of one request each.
    pub(crate) fn try_begin_inline(&self) -> bool {
        let mut state = lock(&self.state);
        let is_free = state.writing == Writing::Nobody && state.requests.is_empty() && !state.other_work;
        let is_alone = is_free && state.commits_until_inline == 0 && state.phase == Phase::Open;
        if is_alone {
            state.writing = Writing::Caller;
        }
        is_alone
    }

    /// Ends the turn of a caller. `other_work` says that the writer thread has work to do that is not a request.
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

    /// The number of requests that wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).requests.len()
    }

    /// Refuses requests of new calls, also queued ones. Requests of running calls stay.
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

    /// Accepts new calls again.
    pub(crate) fn reopen(&self) {
        lock(&self.state).set_phase(Phase::Open);
    }

    /// Whether no request is queued and no thread writes. Then every granted claim is an in-flight call.
    pub(crate) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.requests.is_empty() && !state.other_work && state.writing == Writing::Nobody
    }

    /// Lets the writer thread end after the last commit.
    pub(crate) fn close(&self) {
        lock(&self.state).set_phase(Phase::Draining);
        // Without this, the writer thread never ends. (negative control)
        self.filled.notify_all();
    }

    /// Fails every queued request with `error`, and refuses every later one.
    pub(crate) fn end(&self, error: &Error) {
        for request in self.take_all() {
            request.answer(Reply::Failed(error.clone()));
        }
    }

    /// Takes every queued request, and refuses every later one.
    pub(crate) fn take_all(&self) -> VecDeque<Request> {
        let mut state = lock(&self.state);
        state.phase = Phase::Ended;
        std::mem::take(&mut state.requests)
    }
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    writing: Writing,
    /// The number of requests in the last batch of the writer thread, until their commit is counted.
    batch_len: usize,
    /// The number of commits of one request that are still needed before a caller may write inline.
    commits_until_inline: u32,
    /// Whether the writer thread has work to do that is not a request, such as a retry or a purge.
    other_work: bool,
    /// Whether the writer thread sleeps and has not been woken.
    asleep: bool,
    phase: Phase,
}

/// The thread that has the turn to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Nobody,
    Thread,
    Caller,
}

/// The stages of closing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The queue accepts only requests of running calls.
    Closing,
    /// The writer thread ends as soon as the queue is empty.
    Draining,
    /// The writer has ended. The queue refuses every request.
    Ended,
}

impl State {
    /// Moves to a phase. The phase `Ended` is final, because an aborted store can still be closed.
    fn set_phase(&mut self, phase: Phase) {
        if self.phase != Phase::Ended {
            self.phase = phase;
        }
    }

    /// Whether the current phase refuses a request.
    fn refuses(&self, request: &Request) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Closing | Phase::Draining => !request.inside,
            Phase::Ended => true,
        }
    }

    /// Ends the turn of the writer thread, if it has the turn, and counts its commit.
    fn end_thread_turn(&mut self) {
        if self.writing == Writing::Thread {
            self.writing = Writing::Nobody;
            match std::mem::take(&mut self.batch_len) {
                0 => {}
                count => self.count_commit(count),
            }
        }
    }

    /// Gives the turn and the next batch to the writer thread.
    fn begin_thread_turn(&mut self) -> Work {
        (self.asleep, self.other_work, self.writing) = (false, false, Writing::Thread);
        let count = self.requests.len().min(BATCH_MAX);
        self.batch_len = count;
        if count == 0 { Work::Idle } else { Work::Batch(self.requests.drain(..count).collect()) }
    }

    /// Counts a commit of `count` requests.
    fn count_commit(&mut self, count: usize) {
        let was_alone = count == 1 && self.requests.is_empty();
        self.commits_until_inline =
            if was_alone { self.commits_until_inline.saturating_sub(1) } else { INLINE_AFTER_COMMITS };
    }
}

#[cfg(test)]
pub(crate) mod tests;
