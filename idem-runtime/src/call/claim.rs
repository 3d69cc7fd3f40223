//! The claim of a call, from its grant to the end of the body.
//!
//! A dropped [`Claim`] acts by its phase. Before the start of the body, the claim is given back. After the start, the
//! call is in doubt. No error here frees the key of a started call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request;
use crate::backend::request::{Caller, Grant, OnFailure, Reply, Request};
use crate::encoding::codec::Stored;
use crate::engine::Engine;
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Mark, Reason, Record, Status};
use crate::scope::context;
use crate::sync::deadline;
use crate::waiting::oneshot::OneShot;

/// The shortest wait for the store to write a claim. A longer `wait` of the call extends it.
pub(crate) const CLAIM_WAIT_MIN: Duration = Duration::from_secs(1);

/// The new state of the record of a running call that ends.
#[derive(Debug)]
pub(crate) enum End {
    /// Done or failed, with the result or the reason for its absence.
    Finished(Status, Result<Stored, Reason>),
    /// Absent: the call counts as not done.
    Released,
    InDoubt(Reason),
}

impl End {
    /// The record that replaces the running one.
    pub(crate) fn applied_to(self, running: &Record) -> Option<Record> {
        match self {
            End::Finished(status, result) => Some(running.finished(status, result)),
            End::Released => None,
            End::InDoubt(reason) => Some(running.in_doubt(reason)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Granted,
    Started,
    Ended,
}

/// The right to run the body of a call.
#[derive(Debug)]
pub(crate) struct Claim {
    engine: Arc<Engine>,
    record: Arc<Record>,
    /// The record to restore if the body is never started.
    before: Option<Box<Record>>,
    phase: Phase,
    /// Whether the body runs in a task of its own. Only the end of the runtime drops that task.
    is_detached: bool,
}

impl Claim {
    /// Takes the claim that the writer granted.
    pub(crate) fn of(grant: Grant, engine: &Arc<Engine>) -> Claim {
        let (record, before) = grant.take();
        Claim { engine: Arc::clone(engine), record, before, phase: Phase::Granted, is_detached: false }
    }

    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The time of the first detection of a doubt before this claim.
    pub(crate) fn in_doubt_since(&self) -> Option<Mark> {
        self.before.as_ref().map_or(self.record.doubt_since, |before| before.doubt_since)
    }

    /// Whether the call had a record before this claim.
    pub(crate) fn had_record(&self) -> bool {
        self.before.is_some()
    }

    /// Marks the start of the body or the hook. From now on, the effect may have happened.
    pub(crate) fn start(&mut self) {
        self.phase = Phase::Started;
    }

    /// Marks that the body runs in a task of its own.
    #[cfg(feature = "tokio")]
    pub(crate) fn detach(&mut self) {
        self.is_detached = true;
    }

    /// Hands the end of the call to the writer, which retries until it is written. Waiting for the reply is optional.
    pub(crate) fn end(mut self, end: End, caller: Caller) -> Arc<OneShot<Reply>> {
        self.phase = Phase::Ended;
        let reply = OneShot::new();
        self.send(end, Some(Arc::clone(&reply)), caller);
        reply
    }

    /// Requests the claim of the next attempt. The present claim stays valid until the next claim is granted.
    pub(crate) fn next_attempt(&self, wait: Duration, caller: Caller) -> (Arc<OneShot<Reply>>, Instant) {
        let attempt = self.record.attempt.saturating_add(1);
        // A network request of the new attempt can be late too, so a doubt about this attempt has its own settle
        // window.
        let new = Record { claim: 0, attempt, doubt_since: None, ..Record::clone(&self.record) };
        let new = self.engine.state.stamped(new);
        let before = self.before.as_deref().cloned();
        let expect = Expect::Exactly(self.record.claim, Status::Running);
        let deadline = deadline(wait.max(CLAIM_WAIT_MIN));
        let change = Change { slot: self.record.slot, expect, new: Some(new) };
        let mut request = Request::new(change, OnFailure::FailAfter(deadline), None);
        request.before = before;
        (ask(&self.engine, request, caller), deadline)
    }

    /// Ends the claim without a write, because the claim of the next attempt has replaced it.
    pub(crate) fn end_without_write(mut self) {
        self.phase = Phase::Ended;
    }

    fn reason_if_dropped(&self) -> Reason {
        match self.is_detached {
            _ if std::thread::panicking() => Reason::Panicked,
            true => Reason::RuntimeEnded,
            false => Reason::Dropped,
        }
    }

    fn send(&self, end: End, reply: Option<Arc<OneShot<Reply>>>, caller: Caller) {
        let new = end.applied_to(&self.record).map(|record| self.engine.state.stamped(record));
        let expect = Expect::Unfinished { claim: self.record.claim, owner: self.record.owner };
        let change = Change { slot: self.record.slot, expect, new };
        context::submit(&*self.engine, Request::new(change, OnFailure::RetryForever, reply), caller);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.phase {
            Phase::Ended => {}
            Phase::Granted => {
                let change = request::give_back(&self.record, self.before.take().map(|before| *before));
                let request = Request::new(change, OnFailure::RetryForever, None);
                context::submit(&*self.engine, request, Caller::Async);
            }
            Phase::Started => {
                self.send(End::InDoubt(self.reason_if_dropped()), None, Caller::Async);
            }
        }
    }
}

/// Requests a claim from the writer. The reply holds a [`Grant`]. If no caller takes the grant, its drop gives it back.
pub(crate) fn ask(engine: &Arc<Engine>, mut request: Request, caller: Caller) -> Arc<OneShot<Reply>> {
    let reply = OneShot::new();
    request.reply = Some(Arc::clone(&reply));
    request.back = Some(Arc::clone(engine) as _);
    request.inside = context::is_in_call();
    context::submit(&**engine, request, caller);
    reply
}
