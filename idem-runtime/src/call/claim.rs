//! The right to run a body, and what its end means.
//!
//! A [`Claim`] that is dropped tells by its phase what happened: not started means nothing happened and the call is
//! given back; started means cut off, and the call is in doubt. Nothing that goes wrong here frees a started call.

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

/// A claim waits for the store as long as the call waits for a duplicate, and at least this long.
pub(crate) const CLAIM_WAIT_MIN: Duration = Duration::from_secs(1);

/// What the end of a body means for the record.
#[derive(Debug)]
pub(crate) enum End {
    /// It is done: `Ok`, or a remembered `Err`; without a result, the reason why there is none.
    Finished(Status, Result<Stored, Reason>),
    /// It counts as not done.
    Released,
    /// Nobody knows.
    InDoubt(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Started,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Claim {
    engine: Arc<Engine>,
    record: Arc<Record>,
    /// What the record was before, where it has to come back if the body is never started.
    before: Option<Box<Record>>,
    phase: Phase,
}

impl Claim {
    /// Takes what the writer gave.
    pub(crate) fn of(grant: Grant, engine: &Arc<Engine>) -> Claim {
        let (record, before) = grant.take();
        Claim { engine: Arc::clone(engine), record, before, phase: Phase::Waiting }
    }

    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Since when the call was in doubt before this claim.
    pub(crate) fn in_doubt_since(&self) -> Option<Mark> {
        self.before.as_ref().and_then(|before| before.doubt_since)
    }

    /// From here on the effect may have happened.
    pub(crate) fn start(&mut self) {
        self.phase = Phase::Started;
    }

    /// Hands the end of the call to the writer, which keeps it until it is written. The reply need not be waited for.
    pub(crate) fn end(mut self, end: End, caller: Caller) -> Arc<OneShot<Reply>> {
        self.phase = Phase::Ended;
        let reply = OneShot::new();
        self.send(end, Some(Arc::clone(&reply)), caller);
        reply
    }

    /// Asks for the claim of the next attempt in the place of this one, which stays as it is until it is given.
    pub(crate) fn next_attempt(&self, wait: Duration, caller: Caller) -> (Arc<OneShot<Reply>>, Instant) {
        let attempt = self.record.attempt.saturating_add(1);
        // What the new attempt sends can be late as well: a doubt about it begins anew.
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

    /// Another claim of the same call has taken its place.
    pub(crate) fn end_without_write(mut self) {
        self.phase = Phase::Ended;
    }

    fn send(&self, end: End, reply: Option<Arc<OneShot<Reply>>>, caller: Caller) {
        let new = match end {
            End::Finished(status, result) => Some(self.record.finished(status, result)),
            End::Released => None,
            End::InDoubt(reason) => Some(self.record.in_doubt(reason)),
        };
        let new = new.map(|record| self.engine.state.stamped(record));
        let expect = Expect::Unfinished { claim: self.record.claim, owner: self.record.owner };
        let change = Change { slot: self.record.slot, expect, new };
        context::submit(&*self.engine, Request::new(change, OnFailure::RetryForever, reply), caller);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.phase {
            Phase::Ended => {}
            Phase::Waiting => {
                let back = request::give_back(&self.record, self.before.take().map(|before| *before));
                context::submit(
                    &*self.engine,
                    Request::new(back, OnFailure::RetryForever, None),
                    Caller::Async,
                );
            }
            Phase::Started => {
                let reason = if std::thread::panicking() { Reason::Panicked } else { Reason::Dropped };
                self.send(End::InDoubt(reason), None, Caller::Async);
            }
        }
    }
}

/// Asks the writer for a claim. The reply holds a [`Grant`]; if nobody takes it, its drop gives it back.
pub(crate) fn ask(engine: &Arc<Engine>, mut request: Request, caller: Caller) -> Arc<OneShot<Reply>> {
    let reply = OneShot::new();
    request.reply = Some(Arc::clone(&reply));
    request.back = Some(Arc::clone(engine) as _);
    request.inside = context::is_in_call();
    context::submit(&**engine, request, caller);
    reply
}
