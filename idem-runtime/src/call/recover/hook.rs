//! The recovery of an interrupted call: the hook runs, and its verdict decides what follows.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Caller, Reply};
use crate::bounds::Value;
use crate::call::acquire::Ready;
use crate::call::body::BodyScope;
use crate::call::claim::{Claim, End};
use crate::call::invocation::{Invocation, Lookup};
use crate::call::outcome::Recording;
use crate::call::recover::IntoVerdict;
use crate::call::run_async::boxed;
use crate::call::{outcome, refusal};
use crate::engine::state::StoreState;
use crate::error::{Error, ErrorKind, Ran};
use crate::event;
use crate::on_err::Release;
use crate::protocol::decide::Mode;
use crate::protocol::record::{Reason, Record, Status};
use crate::scope::interception::Verdict;
use crate::sync::deadline;
use crate::waiting::oneshot::OneShot;

/// The result of a recovery.
pub(super) enum Recovery<T> {
    /// The call is done, and this is its result.
    Known(T),
    /// The record answers the call, or the body must run.
    Ready(Ready),
}

/// The write that follows from a verdict.
enum Write<T> {
    /// The result that the hook found.
    Result(Recording<T, Infallible>),
    /// The claim of the next attempt, which replaces the claim of the hook.
    ///
    /// The reply is dropped first: a request without a waiter is not written.
    NextAttempt { reply: Arc<OneShot<Reply>>, deadline: Instant, hooks: Claim },
    /// The end of the call without a result, and the error of the caller.
    End { reply: Arc<OneShot<Reply>>, deadline: Instant, record: Arc<Record>, error: Error },
}

impl<T> Write<T> {
    fn reply(&self) -> (Arc<OneShot<Reply>>, Instant) {
        match self {
            Write::Result(recording) => (Arc::clone(&recording.reply), recording.deadline),
            Write::NextAttempt { reply, deadline, .. } | Write::End { reply, deadline, .. } => {
                (Arc::clone(reply), *deadline)
            }
        }
    }

    fn end(state: &StoreState, claim: Claim, end: End, error: Error, caller: Caller) -> Write<T> {
        let record = Arc::clone(claim.record());
        let deadline = deadline(state.settings.record_within);
        Write::End { reply: claim.end(end, caller), deadline, record, error }
    }

    /// The error of a hook whose claim was taken or settled before its verdict.
    fn fenced(self) -> Error {
        match self {
            Write::Result(recording) => event::fenced(recording.record()),
            Write::End { record, .. } => event::fenced(&record),
            Write::NextAttempt { hooks, .. } => {
                event::fenced(hooks.record());
                // If the call was stolen, this keeps the reason of its doubt. If it was settled, nothing is written.
                hooks.end(End::InDoubt(Reason::Stolen), Caller::Async);
            }
        }
        fenced()
    }
}

impl Invocation {
    pub(super) fn recover<T, V>(&self, hook: impl FnOnce() -> V) -> Result<Recovery<T>, Error>
    where
        T: Value,
        V: IntoVerdict<T>,
    {
        let known = match self.lookup_done()? {
            Lookup::Answer(Ok(value)) => return Ok(Recovery::Known(value)),
            Lookup::Unanswered(known) => known,
        };
        let (mut claim, waited) = match hooks_claim(self.acquire(Mode::Recover, known)?) {
            Ok(interrupted) => interrupted,
            Err(ready) => return Ok(Recovery::Ready(ready)),
        };
        let scope = BodyScope::of_claim(self.state(), &claim);
        claim.start();
        let verdict = scope.run(hook).into_verdict();
        let write = self.judge(claim, verdict, Caller::Blocking);
        let (reply, deadline) = write.reply();
        self.conclude(write, reply.wait(deadline), waited)
    }

    pub(super) async fn recover_async<T, V, Fut>(
        &self,
        hook: impl FnOnce() -> Fut,
    ) -> Result<Recovery<T>, Error>
    where
        T: Value,
        V: IntoVerdict<T>,
        Fut: Future<Output = V>,
    {
        let known = match self.lookup_done()? {
            Lookup::Answer(Ok(value)) => return Ok(Recovery::Known(value)),
            Lookup::Unanswered(known) => known,
        };
        let (mut claim, waited) = match hooks_claim(self.acquire_async(Mode::Recover, known).await?) {
            Ok(interrupted) => interrupted,
            Err(ready) => return Ok(Recovery::Ready(ready)),
        };
        let scope = BodyScope::of_claim(self.state(), &claim);
        claim.start();
        let mut hook = boxed(hook);
        let verdict = poll_fn(|context| scope.run(|| hook.as_mut().poll(context))).await.into_verdict();
        drop(hook);
        let write = self.judge(claim, verdict, Caller::Async);
        let (reply, deadline) = write.reply();
        let reply = reply.wait_async(deadline, &self.state().watcher).await;
        self.conclude(write, reply, waited)
    }

    /// Reads the record. Only a done record answers here: a remembered `Err` needs the error type of the body.
    fn lookup_done<T: Value>(&self) -> Result<Lookup<T, Infallible>, Error> {
        self.lookup(&Release, |status| status == Status::Done)
    }

    fn judge<T: Value>(&self, claim: Claim, verdict: Result<Verdict<T>, String>, caller: Caller) -> Write<T> {
        match verdict.map(Verdict::with_known_result) {
            Ok(Verdict::Done(value)) => {
                let recording = outcome::record_recovered(&self.call, self.state(), claim, value, caller);
                Write::Result(recording)
            }
            Ok(Verdict::DoneWithoutResult) => {
                let message = "the recovery hook found the call done and its result lost";
                let error = Error::new(ErrorKind::ResultGone, Ran::No, message);
                Write::end(
                    self.state(),
                    claim,
                    End::Finished(Status::Done, Err(Reason::Settled)),
                    error,
                    caller,
                )
            }
            Ok(Verdict::NotDone) => self.not_done(claim, caller),
            Ok(Verdict::Unknown) => self.stays_in_doubt(
                claim,
                "the recovery hook could not find out whether the call is done",
                None,
                caller,
            ),
            Err(text) => {
                self.stays_in_doubt(claim, &format!("the recovery hook failed ({text})"), None, caller)
            }
        }
    }

    /// Requests the next attempt, unless the settle window is still open.
    fn not_done<T>(&self, claim: Claim, caller: Caller) -> Write<T> {
        // A call whose record is lost ended before a person accepted the loss: its window is over.
        let since = claim.record().doubt_since.filter(|_| claim.had_record());
        let left = since.map_or(Duration::ZERO, |since| self.state().settles_in(since));
        if left > Duration::ZERO {
            let why = format!("the recovery hook answered `NotDone` {left:?} before the settle window ends");
            return self.stays_in_doubt(claim, &why, Some(left), caller);
        }
        let (reply, deadline) = claim.next_attempt(self.call.options.wait, caller);
        Write::NextAttempt { reply, deadline, hooks: claim }
    }

    /// Takes the reply of the writer, or `None` after the deadline.
    fn conclude<T>(
        &self,
        write: Write<T>,
        reply: Option<Reply>,
        waited: Duration,
    ) -> Result<Recovery<T>, Error> {
        if let Some(Reply::Stands(_)) = reply {
            return Err(write.fenced());
        }
        let hooks = match write {
            Write::NextAttempt { hooks, .. } => hooks,
            Write::Result(recording) => {
                // The body of this call did not run, although an earlier attempt may have.
                let attempt = recording.record().attempt;
                let Ok(value) = recording.outcome(reply).map_err(|error| error.with_ran(Ran::Unknown))?;
                self.report_recovered(attempt, waited);
                return Ok(Recovery::Known(value));
            }
            Write::End { error, .. } => return Err(error),
        };
        match reply {
            Some(Reply::Granted(grant)) => {
                let claim = Claim::of(grant, self.engine());
                hooks.end_without_write();
                Ok(Recovery::Ready(Ready { claim: Ok(claim), recover: false, waited }))
            }
            Some(Reply::Failed(error)) => Err(error.with_ran(Ran::Unknown)),
            _ => Err(self.state().backend.not_in_time("the next attempt")),
        }
    }

    fn stays_in_doubt<T>(
        &self,
        claim: Claim,
        why: &str,
        retry_after: Option<Duration>,
        caller: Caller,
    ) -> Write<T> {
        let record = Arc::clone(claim.record());
        self.state().in_flight.note_answer(record.claim);
        let message = format!("attempt {} is in doubt: {why}", record.attempt);
        let error = Error::new(ErrorKind::InDoubt, Ran::Unknown, message);
        let error = refusal::ask_again(error, self.state(), &record);
        let error = match retry_after {
            Some(left) => error.after(left),
            None => error,
        };
        Write::end(self.state(), claim, End::InDoubt(Reason::Unknown), error, caller)
    }
}

/// The claim for the hook and the time waited, if an earlier attempt was cut off.
fn hooks_claim(ready: Ready) -> Result<(Claim, Duration), Ready> {
    match ready {
        Ready { claim: Ok(claim), recover: true, waited } => Ok((claim, waited)),
        ready => Err(ready),
    }
}

/// The error of a hook whose verdict comes after another one.
fn fenced() -> Error {
    let message =
        "an operator took or settled the call while the recovery hook ran, and its verdict is not recorded";
    Error::new(ErrorKind::Fenced, Ran::Unknown, message)
}
