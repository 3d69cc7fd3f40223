//! The requests to the writer, and its replies.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Record, Status};
use crate::waiting::in_flight::Handoff;
use crate::waiting::oneshot::OneShot;

/// The rule for a request whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Fails the request at this time. The body has not started.
    FailAfter(Instant),
    /// Tries again while the process lives. The body has run.
    RetryForever,
}

/// One change to write, with its rule for failures and its reply.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) change: Change,
    /// For a claim: the record to restore if the body never starts.
    pub(crate) before: Option<Record>,
    /// For a claim: the callers that wait behind its caller.
    pub(crate) handoff: Option<Handoff>,
    pub(crate) on_failure: OnFailure,
    /// For a claim: whether the call may run again if a power failure loses the claim.
    pub(crate) repeatable: bool,
    /// For a claim: takes the claim back if its caller is gone.
    pub(crate) back: Option<Arc<dyn Submit>>,
    /// Whether the request is part of a running call. A closing store waits for running calls.
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

    /// Whether the request claims a call. A claim gets a claim number.
    pub(crate) fn is_claim(&self) -> bool {
        self.change.new.as_ref().is_some_and(|new| new.status == Status::Running)
    }

    /// Whether the request can be dropped: no caller waits for it, and no body has run.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.on_failure != OnFailure::RetryForever
            && self.reply.as_ref().is_some_and(|reply| Arc::strong_count(reply) == 1)
    }

    /// Sends the reply to the caller, if one waits.
    pub(crate) fn answer(self, reply: Reply) {
        if let Some(signal) = self.reply {
            signal.send(reply);
        }
    }
}

/// The kind of caller that submits a request, which decides who may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A thread that waits for the reply. A lone caller writes its own request.
    Blocking,
    /// A task, whose executor must not wait for a disk, or a caller that does not wait.
    Async,
}

/// The answer of the writer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The caller runs the call.
    Granted(Grant),
    Written,
    /// Not written. The slot holds this record, or none.
    Stands(Option<Box<Record>>),
    Failed(Error),
}

/// Submits requests to one open store.
pub(crate) trait Submit: Send + Sync + Debug {
    fn submit(&self, request: Request, caller: Caller);
}

/// A claim on disk that no caller has taken yet. Dropping the grant gives the claim back.
#[derive(Debug)]
pub(crate) struct Grant {
    record: Arc<Record>,
    before: Option<Box<Record>>,
    /// Where a drop gives the claim back; `None` once a caller has taken the claim.
    back: Option<Arc<dyn Submit>>,
}

impl Grant {
    pub(crate) fn new(record: Record, before: Option<Record>, back: Arc<dyn Submit>) -> Grant {
        Grant { record: Arc::new(record), before: before.map(Box::new), back: Some(back) }
    }

    /// Takes the running record, and the record to restore if the body never starts.
    pub(crate) fn take(mut self) -> (Arc<Record>, Option<Box<Record>>) {
        self.back = None;
        (Arc::clone(&self.record), self.before.take())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let change = give_back(&self.record, self.before.take().map(|before| *before));
            back.submit(Request::new(change, OnFailure::RetryForever, None), Caller::Async);
        }
    }
}

/// The change that gives back a claim whose body has not started.
pub(crate) fn give_back(record: &Record, before: Option<Record>) -> Change {
    let expect = Expect::Unfinished { claim: record.claim, owner: record.owner };
    let new = before.map(|before| Record { claim: record.claim, ..before });
    Change { slot: record.slot, expect, new }
}
