//! What waits to be written.
//!
//! It is bounded by its senders: each call has one request in it at a time and waits for the reply; requests whose
//! caller has gone are skipped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::context;
use crate::core::closed;
use crate::error::Error;
use crate::flight::Baton;
use crate::queries::Change;
use crate::record::{Record, Status};
use crate::signal::{Signal, lock};
use crate::writer::Reply;

/// How many requests share a commit at most.
const BATCH_MAX: usize = 1_000;

/// What becomes of a request that cannot be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It fails: its caller has not started anything yet.
    Until(Instant),
    /// It is kept and tried again while the process lives: a body has run.
    Persist,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) change: Change,
    /// For a claim: the record to restore if the body is never started.
    pub(crate) before: Option<Record>,
    /// For a claim: those who wait behind its sender.
    pub(crate) baton: Option<Baton>,
    pub(crate) urgency: Urgency,
    /// For a claim: the call may run again anyway if a power cut takes this away.
    pub(crate) repeatable: bool,
    /// It is part of a call that runs, which a closing store waits for.
    inside: bool,
    pub(crate) reply: Option<Arc<Signal<Reply>>>,
}

impl Request {
    pub(crate) fn new(change: Change, urgency: Urgency, reply: Option<Arc<Signal<Reply>>>) -> Request {
        let inside = urgency == Urgency::Persist || context::scope().call.is_some();
        Request { change, before: None, baton: None, urgency, repeatable: false, inside, reply }
    }

    /// Whether it starts a call, and so needs a claim number and gives a claim.
    pub(crate) fn is_claim(&self) -> bool {
        self.change.new.as_ref().is_some_and(|new| new.status == Status::Running)
    }

    /// Nobody waits for it any more, and nothing is lost without it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.urgency != Urgency::Persist
            && self.reply.as_ref().is_some_and(|reply| Arc::strong_count(reply) == 1)
    }

    pub(crate) fn answer(self, reply: Reply) {
        if let Some(signal) = self.reply {
            signal.send(reply);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    /// The writer has a batch in hand.
    in_hand: bool,
    /// The writer sleeps, and nobody has called it yet.
    asleep: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Only what belongs to running calls is taken.
    Closing,
    /// Nothing more is to come: the writer ends when the queue is empty.
    Last,
    /// The writer has ended.
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
    Over,
}

impl Queue {
    pub(crate) fn push(&self, request: Request) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Ended || state.phase != Phase::Open && !request.inside {
            drop(state);
            request.answer(Reply::Failed(closed()));
            return;
        }
        state.requests.push_back(request);
        // A call is a system call whether or not anybody sleeps: the first to come makes it, and nobody else has to.
        let sleeps = std::mem::take(&mut state.asleep);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
    }

    /// Waits for requests, at most `patience` if given.
    pub(crate) fn next(&self, patience: Option<Duration>) -> Work {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = lock(&self.state);
        state.in_hand = false;
        while state.requests.is_empty() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state.asleep = true;
            state = match left {
                Some(left) if left.is_zero() => return Work::Idle,
                Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None if state.phase == Phase::Last => return Work::Over,
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.asleep = false;
        state.in_hand = true;
        let count = state.requests.len().min(BATCH_MAX);
        Work::Batch(state.requests.drain(..count).collect())
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).requests.len()
    }

    /// No new calls; what belongs to running ones is still taken.
    pub(crate) fn begin_close(&self) {
        let refused: Vec<Request> = {
            let mut state = lock(&self.state);
            state.phase = Phase::Closing;
            let (kept, refused): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.requests).into_iter().partition(|request| request.inside);
            state.requests = kept.into();
            refused
        };
        for request in refused {
            request.answer(Reply::Failed(closed()));
        }
    }

    /// New calls again.
    pub(crate) fn reopen(&self) {
        lock(&self.state).phase = Phase::Open;
    }

    /// Nothing is queued and no batch is being written: every claim that was granted is known in memory.
    pub(crate) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.requests.is_empty() && !state.in_hand
    }

    /// Lets the writer end once everything is written.
    pub(crate) fn close(&self) {
        lock(&self.state).phase = Phase::Last;
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
