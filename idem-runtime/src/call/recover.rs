//! `on_interrupt = recover(…)`: an interrupted call is asked about before anything is run again.
//!
//! The hook runs under the claim; if it is cut off itself, the call is in doubt again and no attempt was made. It is
//! done before the body begins, since it borrows arguments that the body may move.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Caller, Reply};
use crate::bounds::{IntoError, Outcome, Value};
use crate::call::acquire::{Known, Ready};
use crate::call::claim::{Claim, End};
use crate::call::outcome::Recording;
use crate::call::run::{Invocation, Lookup, answer};
use crate::call::{Call, outcome};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::on_err::{ErrPolicy, Release};
use crate::protocol::decide::Mode;
use crate::protocol::record::{Reason, Status};
use crate::scope::context;
use crate::scope::interception::Verdict;
use crate::waiting::oneshot::OneShot;

/// What a recovery hook gives: a [`Verdict`], or a `Result` of one whose `Err` leaves the call in doubt.
#[diagnostic::on_unimplemented(
    message = "a recovery hook gives a `Verdict<{T}>` or a `Result<Verdict<{T}>, _>`, not `{Self}`",
    label = "this must say whether the call was done"
)]
pub trait IntoVerdict<T> {
    /// The verdict, or the text of the error.
    ///
    /// # Errors
    /// The text of the hook's error.
    fn into_verdict(self) -> Result<Verdict<T>, String>;
}

impl<T> IntoVerdict<T> for Verdict<T> {
    fn into_verdict(self) -> Result<Verdict<T>, String> {
        Ok(self)
    }
}

impl<T, X: Display> IntoVerdict<T> for Result<Verdict<T>, X> {
    fn into_verdict(self) -> Result<Verdict<T>, String> {
        self.map_err(|error| error.to_string())
    }
}

/// A call whose recovery is over: [`run`](Recovered::run) or [`run_async`](Recovered::run_async) gives its answer.
#[derive(Debug)]
#[must_use = "a call is made by `run` or `run_async`"]
pub struct Recovered<T, P, M> {
    pub(crate) state: State<T>,
    pub(crate) on_err: P,
    pub(crate) map_err: M,
}

#[derive(Debug)]
pub(crate) enum State<T> {
    /// The call is over: the hook knew its result, or there is an error.
    Over(Result<T, Error>),
    /// The record answers, or the body is to run.
    Ready(Box<(Invocation, Ready)>),
}

/// What follows from a verdict that settles something.
enum Next<T> {
    /// It was done; its result is with the writer.
    Recorded(Recording<T, Infallible>),
    /// It was not done: the body is to run, as the next attempt, which takes the hook's claim over.
    Attempt { hooks: Claim, reply: Arc<OneShot<Reply>>, deadline: Instant },
}

impl<P, M> Call<P, M> {
    /// Negotiates the call. If an earlier attempt was cut off, `hook` is asked first whether it was done.
    ///
    /// Its [`NotDone`](Verdict::NotDone) is not believed before the store's
    /// [settle window](crate::StoreBuilder::settle_window) is over: a request that the kernel holds for a killed process
    /// can arrive after the question about it. [`current`](crate::current) works in the hook.
    pub fn recover<T, V>(self, hook: impl FnOnce() -> V) -> Recovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
    {
        let Call { plan, on_err, map_err } = self;
        let state = match Invocation::new(plan) {
            Ok(invocation) => recover(invocation, hook),
            Err(error) => State::Over(Err(error)),
        };
        Recovered { state, on_err, map_err }
    }

    /// The same with an async hook.
    ///
    /// # Cancellation
    /// Dropped while the hook runs, the call is in doubt again and no attempt was made.
    pub async fn recover_async<T, V, Fut>(self, hook: impl FnOnce() -> Fut) -> Recovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
        Fut: Future<Output = V>,
    {
        let Call { plan, on_err, map_err } = self;
        let state = match Invocation::new(plan) {
            Ok(invocation) => recover_async(invocation, hook).await,
            Err(error) => State::Over(Err(error)),
        };
        Recovered { state, on_err, map_err }
    }
}

impl<T: Value, P, M> Recovered<T, P, M> {
    /// Gives the answer, running `body` if the call has to be made.
    ///
    /// # Errors
    /// As [`Call::run`].
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome<Ok = T>,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let Recovered { state, on_err, map_err } = self;
        let made = match state {
            State::Over(over) => over.map(Ok),
            State::Ready(made) => {
                let (invocation, ready) = *made;
                invocation.finish(ready, &on_err, body).map_err(|error| invocation.call.with_identity(error))
            }
        };
        answer(made, &map_err)
    }

    /// The same for an async body.
    ///
    /// # Errors
    /// As [`Call::run`].
    ///
    /// # Cancellation
    /// As [`Call::run_async`].
    pub async fn run_async<R, Fut, F>(self, body: F) -> R
    where
        R: Outcome<Ok = T>,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        Fut: Future<Output = R>,
        F: FnOnce() -> Fut,
    {
        let Recovered { state, on_err, map_err } = self;
        let made = match state {
            State::Over(over) => over.map(Ok),
            State::Ready(made) => {
                let (invocation, ready) = *made;
                let made = invocation.finish_async(ready, on_err, body).await;
                made.map_err(|error| invocation.call.with_identity(error))
            }
        };
        answer(made, &map_err)
    }
}

fn recover<T: Value, V: IntoVerdict<T>>(invocation: Invocation, hook: impl FnOnce() -> V) -> State<T> {
    let known = match invocation.known() {
        Ok(known) => known,
        Err(over) => return over,
    };
    let ready = match invocation.acquire(Mode::Recover, known) {
        Ok(ready) => ready,
        Err(error) => return invocation.over(Err(error)),
    };
    let (mut claim, waited) = match ready.interrupted() {
        Ok(interrupted) => interrupted,
        Err(ready) => return State::Ready(Box::new((invocation, ready))),
    };
    let (scope, _) = outcome::scope(invocation.state(), &claim);
    claim.start();
    let verdict = {
        let _entered = context::enter(scope);
        hook().into_verdict()
    };
    match invocation.judge(claim, verdict, waited, Caller::Blocking) {
        Err(error) => invocation.over(Err(error)),
        Ok(Next::Recorded(recording)) => {
            let reply = recording.reply.wait(recording.deadline);
            invocation.over(recorded(recording, reply))
        }
        Ok(Next::Attempt { hooks, reply, deadline }) => {
            invocation.attempt(hooks, reply.wait(deadline), waited)
        }
    }
}

async fn recover_async<T, V, Fut>(invocation: Invocation, hook: impl FnOnce() -> Fut) -> State<T>
where
    T: Value,
    V: IntoVerdict<T>,
    Fut: Future<Output = V>,
{
    let known = match invocation.known() {
        Ok(known) => known,
        Err(over) => return over,
    };
    let ready = match invocation.acquire_async(Mode::Recover, known).await {
        Ok(ready) => ready,
        Err(error) => return invocation.over(Err(error)),
    };
    let (mut claim, waited) = match ready.interrupted() {
        Ok(interrupted) => interrupted,
        Err(ready) => return State::Ready(Box::new((invocation, ready))),
    };
    let (scope, _) = outcome::scope(invocation.state(), &claim);
    claim.start();
    let verdict = context::within(scope, hook()).await.into_verdict();
    let watcher = Arc::clone(&invocation.state().watcher);
    match invocation.judge(claim, verdict, waited, Caller::Async) {
        Err(error) => invocation.over(Err(error)),
        Ok(Next::Recorded(recording)) => {
            let reply = recording.reply.wait_async(recording.deadline, &watcher).await;
            invocation.over(recorded(recording, reply))
        }
        Ok(Next::Attempt { hooks, reply, deadline }) => {
            let reply = reply.wait_async(deadline, &watcher).await;
            invocation.attempt(hooks, reply, waited)
        }
    }
}

fn recorded<T>(recording: Recording<T, Infallible>, reply: Option<Reply>) -> Result<T, Error> {
    // The body of this call did not run: the hook found its result.
    let Ok(value) = recording.outcome(reply).map_err(|error| error.with_ran(Ran::Unknown))?;
    Ok(value)
}

impl Ready {
    /// The claim the hook runs under, if the call was interrupted.
    fn interrupted(self) -> Result<(Claim, Duration), Ready> {
        match self {
            Ready { claim: Ok(claim), recover: true, waited } => Ok((claim, waited)),
            ready => Err(ready),
        }
    }
}

impl Invocation {
    /// The record, for a acquisition. A call that is done is over; a remembered `Err` is for whoever knows its type.
    fn known<T: Value>(&self) -> Result<Known, State<T>> {
        match self.lookup::<T, Infallible, _>(&Release, |status| status == Status::Done) {
            Ok(Lookup::Answer(answer)) => Err(self.over(answer.map(|Ok(value)| value))),
            Ok(Lookup::Unanswered(known)) => Ok(known),
            Err(error) => Err(self.over(Err(error))),
        }
    }

    fn over<T>(&self, result: Result<T, Error>) -> State<T> {
        State::Over(result.map_err(|error| self.call.with_identity(error)))
    }

    fn judge<T: Value>(
        &self,
        claim: Claim,
        verdict: Result<Verdict<T>, String>,
        waited: Duration,
        caller: Caller,
    ) -> Result<Next<T>, Error> {
        match verdict {
            Ok(Verdict::Done(value)) => {
                self.report_recovered(&claim, waited);
                Ok(Next::Recorded(outcome::record_recovered(&self.call, self.state(), claim, value, caller)))
            }
            Ok(Verdict::DoneWithoutResult) => {
                claim.end(End::Finished(Status::Done, Err(Reason::Settled)), Caller::Async);
                Err(Error::new(
                    ErrorKind::ResultGone,
                    Ran::No,
                    "the recovery hook found the call done and its result lost",
                ))
            }
            Ok(Verdict::NotDone) => self.not_done(claim, caller),
            Ok(Verdict::Unknown) => {
                Err(stays_in_doubt(claim, "the recovery hook could not find out whether the call is done"))
            }
            Err(text) => Err(stays_in_doubt(claim, &format!("the recovery hook failed ({text})"))),
        }
    }

    /// Believed only after the settle window.
    fn not_done<T>(&self, claim: Claim, caller: Caller) -> Result<Next<T>, Error> {
        let state = self.state();
        let left = claim
            .record()
            .doubt_since
            .map_or(Duration::ZERO, |since| state.backend.settles_in(since, state.settings.settle_window));
        if left > Duration::ZERO {
            let why = format!("the recovery hook answered `NotDone` {left:?} before the settle window ends");
            return Err(stays_in_doubt(claim, &why).advise(Advice::AskAgain).after(left));
        }
        let (reply, deadline) = claim.next_attempt(self.call.wait, caller);
        Ok(Next::Attempt { hooks: claim, reply, deadline })
    }

    fn attempt<T>(self, hooks: Claim, reply: Option<Reply>, waited: Duration) -> State<T> {
        match reply {
            Some(Reply::Granted(grant)) => {
                let claim = Claim::of(grant, self.engine());
                hooks.end_without_write();
                State::Ready(Box::new((self, Ready { claim: Ok(claim), recover: false, waited })))
            }
            Some(Reply::Failed(error)) => self.over(Err(error.with_ran(Ran::Unknown))),
            _ => self.over(Err(Error::not_in_time("the next attempt"))),
        }
    }
}

fn stays_in_doubt(claim: Claim, why: &str) -> Error {
    let attempt = claim.record().attempt;
    claim.end(End::InDoubt(Reason::Unknown), Caller::Async);
    let message = format!("attempt {attempt} is in doubt: {why}");
    Error::new(ErrorKind::InDoubt, Ran::Unknown, message)
}
