//! What is asked of the writer, and what it answers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Record, Status};
use crate::waiting::in_flight::Handoff;
use crate::waiting::oneshot::OneShot;

/// What becomes of a request that cannot be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It fails: its caller has not started anything yet.
    FailAfter(Instant),
    /// It is kept and tried again while the process lives: a body has run.
    RetryForever,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) change: Change,
    /// For a claim: the record to restore if the body is never started.
    pub(crate) before: Option<Record>,
    /// For a claim: those who wait behind its caller.
    pub(crate) handoff: Option<Handoff>,
    pub(crate) on_failure: OnFailure,
    /// For a claim: the call may run again anyway if a power cut takes this away.
    pub(crate) repeatable: bool,
    /// For a claim: where it is given back if nobody takes it.
    pub(crate) back: Option<Arc<dyn Submit>>,
    /// It is part of a call that runs, which a closing store waits for.
    pub(crate) inside: bool,
    pub(crate) reply: Option<Arc<OneShot<Reply>>>,
}

impl Request {
    pub(crate) fn new(change: Change, on_failure: OnFailure, reply: Option<Arc<OneShot<Reply>>>) -> Request {
        let inside = on_failure == OnFailure::RetryForever;
        Request {
            change,
            before: None,
            handoff: None,
            on_failure,
            repeatable: false,
            back: None,
            inside,
            reply,
        }
    }

    /// Whether it starts a call, and so needs a claim number and gives a claim.
    pub(crate) fn is_claim(&self) -> bool {
        self.change.new.as_ref().is_some_and(|new| new.status == Status::Running)
    }

    /// Nobody waits for it any more, and nothing is lost without it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.on_failure != OnFailure::RetryForever
            && self.reply.as_ref().is_some_and(|reply| Arc::strong_count(reply) == 1)
    }

    pub(crate) fn answer(self, reply: Reply) {
        if let Some(signal) = self.reply {
            signal.send(reply);
        }
    }
}

/// Who sends a request, and so who may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A thread that waits for the reply: it writes by itself if it is alone.
    Blocking,
    /// A task, whose executor must not wait for a disk; or somebody who waits for nothing.
    Async,
}

/// What the writer answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The call is this caller's to run.
    Granted(Grant),
    Written,
    /// Not written: this record stands instead, or none.
    Stands(Option<Box<Record>>),
    Failed(Error),
}

/// Takes requests for one open store.
pub(crate) trait Submit: Send + Sync + Debug {
    fn submit(&self, request: Request, caller: Caller);
}

/// A claim that is on disk and that nobody has taken yet. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Grant(Option<Terms>);

#[derive(Debug)]
struct Terms {
    record: Arc<Record>,
    before: Option<Box<Record>>,
    back: Arc<dyn Submit>,
}

impl Grant {
    pub(crate) fn new(record: Record, before: Option<Record>, back: Arc<dyn Submit>) -> Grant {
        Grant(Some(Terms { record: Arc::new(record), before: before.map(Box::new), back }))
    }

    /// The record that runs, and what it was before where it has to come back if the body is never started.
    pub(crate) fn take(mut self) -> Option<(Arc<Record>, Option<Box<Record>>)> {
        self.0.take().map(|Terms { record, before, .. }| (record, before))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(Terms { record, before, back }) = self.0.take() {
            back.submit(
                Request::new(give_back(&record, before.map(|before| *before)), OnFailure::RetryForever, None),
                Caller::Async,
            );
        }
    }
}

/// The change that takes back a claim whose body was not started.
pub(crate) fn give_back(record: &Record, before: Option<Record>) -> Change {
    let expect = Expect::Unfinished { claim: record.claim, owner: record.owner };
    let new = before.map(|before| Record { claim: record.claim, ..before });
    Change { slot: record.slot, expect, new }
}
