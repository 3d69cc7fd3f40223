//! Making a call: acquire, run the body, hand its outcome to the writer, wait for the record.
//!
//! The sync and the async form take the same steps; only the waits differ.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::request::Caller;
use crate::bounds::{IntoError, Outcome, Value};
use crate::call::acquire::{Acquisition, Known, Ready, Step};
use crate::call::claim::Claim;
use crate::call::inspect::answer;
use crate::call::{Call, Plan, Prepared, acquire, outcome, refusal};
use crate::engine::Engine;
use crate::engine::state::StoreState;
use crate::error::Error;
use crate::event;
use crate::on_err::ErrPolicy;
use crate::protocol::decide::Mode;
use crate::protocol::record::{RecordRef, Status};
use crate::scope::interception::{Interception, Seen};
use crate::scope::{context, default_store, interception};
use crate::store::Store;

impl<P, M> Call<P, M> {
    /// Makes the call: runs `body` once, or answers with the result of the one run.
    ///
    /// The first caller gets the result as it reads back from the store, which is what later callers get. A replay
    /// runs on the caller's own thread.
    ///
    /// # Errors
    /// What the body returned, or one of the [kinds](crate::ErrorKind) as the function's error.
    ///
    /// # Panics
    /// Only if the body does: the call is in doubt then.
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let Call { plan, on_err, map_err } = self;
        let made = Invocation::new(plan).and_then(|invocation| {
            invocation.make(&on_err, body).map_err(|error| invocation.call.with_identity(error))
        });
        answer(made, &map_err)
    }

    /// Makes the call from async code, on any executor: no runtime is needed.
    ///
    /// `body` is called once the call is claimed, and its future is polled in place.
    ///
    /// # Errors
    /// As [`run`](Call::run).
    ///
    /// # Cancellation
    /// Dropped before the body's first poll, nothing happened and the call is released. Dropped while the body runs,
    /// the call is in doubt. Dropped after the body returned, its outcome is recorded all the same.
    pub async fn run_async<R, Fut, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        Fut: Future<Output = R>,
        F: FnOnce() -> Fut,
    {
        let Call { plan, on_err, map_err } = self;
        let made = match Invocation::new(plan) {
            Ok(invocation) => invocation
                .make_async(on_err, body)
                .await
                .map_err(|error| invocation.call.with_identity(error)),
            Err(error) => Err(error),
        };
        answer(made, &map_err)
    }
}

/// What came of a call, as the function's own type.
pub(crate) fn answer<R: Outcome, M: IntoError<R::Err>>(
    made: Result<Result<R::Ok, R::Err>, Error>,
    map_err: &M,
) -> R {
    R::from_result(made.unwrap_or_else(|error| {
        note_failure();
        Err(map_err.into_error(error))
    }))
}

/// The call this one stands in must not remember what it makes of our error.
fn note_failure() {
    let scope = context::scope();
    let is_look = scope.interception.as_ref().is_some_and(|interception| interception.is_look());
    if let (Some(outer), false) = (&scope.call, is_look) {
        outer.note_inner_failure();
    }
}

/// A call that is really to be made.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) call: Prepared,
    store: Store,
    /// Who wants to know how it went.
    observer: Option<Arc<Interception>>,
}

/// What a first look gave.
pub(crate) enum Lookup<T, E> {
    Answer(Result<Result<T, E>, Error>),
    /// What is known of the record, which is not done or does not answer this call.
    Unanswered(Known),
}

impl Invocation {
    /// Prepares the call, unless it is only to be looked at.
    pub(crate) fn new(plan: Plan) -> Result<Invocation, Error> {
        let scope = context::scope();
        let observer = scope.consume_interception()?;
        let prepared = prepare(plan);
        if let Some(look) = observer.as_ref().filter(|interception| interception.is_look()) {
            answer::answer(look, prepared);
            return Err(interception::not_made());
        }
        let (call, store) = prepared?;
        if scope
            .call
            .as_ref()
            .is_some_and(|outer| outer.holds_transaction(&store.inner.engine.state.settings.store_id))
        {
            return Err(call.with_identity(refusal::transaction_not_passed()));
        }
        Ok(Invocation { call, store, observer })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.store.inner.engine
    }

    pub(crate) fn state(&self) -> &StoreState {
        &self.engine().state
    }

    pub(crate) fn mode(&self) -> Mode {
        Mode::Interrupt(self.call.on_interrupt)
    }

    fn make<R, P>(&self, policy: &P, body: impl FnOnce() -> R) -> Result<Result<R::Ok, R::Err>, Error>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
    {
        match self.lookup(policy, Status::is_finished)? {
            Lookup::Answer(answer) => answer,
            Lookup::Unanswered(known) => {
                let ready = self.acquire(self.mode(), known)?;
                self.finish(ready, policy, body)
            }
        }
    }

    async fn make_async<R, P, Fut>(
        &self,
        policy: P,
        body: impl FnOnce() -> Fut,
    ) -> Result<Result<R::Ok, R::Err>, Error>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        Fut: Future<Output = R>,
    {
        match self.lookup(&policy, Status::is_finished)? {
            Lookup::Answer(answer) => answer,
            Lookup::Unanswered(known) => {
                let ready = self.acquire_async(self.mode(), known).await?;
                self.finish_async(ready, policy, body).await
            }
        }
    }

    /// The first look at the record. Nearly all later calls end here: what has ended so is decoded in its row.
    pub(crate) fn lookup<T, E, P>(
        &self,
        policy: &P,
        has_ended: fn(Status) -> bool,
    ) -> Result<Lookup<T, E>, Error>
    where
        T: Value,
        P: ErrPolicy<E>,
    {
        self.state().check_not_closed()?;
        let mut answer = None;
        let mut replay = |record: &RecordRef<'_>, age_ms| {
            let answers =
                has_ended(record.status) && acquire::answers(&self.call, self.mode(), record, age_ms);
            if answers {
                answer = Some(self.replay_aged(record, age_ms, Duration::ZERO, policy));
            }
            answers
        };
        let visited = self.state().backend.visit(&self.call.slots, &mut replay).transpose()?;
        Ok(match (answer, visited) {
            (Some(answer), _) => Lookup::Answer(answer),
            (None, Some(record)) => Lookup::Unanswered(Known::of(record)),
            (None, None) => Lookup::Unanswered(Known::Nothing),
        })
    }

    pub(crate) fn acquire(&self, mode: Mode, known: Known) -> Result<Ready, Error> {
        let mut acquisition = Acquisition::new(&self.call, self.engine(), mode, known, Caller::Blocking);
        loop {
            match acquisition.step()? {
                Step::Ready(ready) => return Ok(ready),
                Step::Find(reply, deadline) => acquisition.on_found(reply.wait(deadline))?,
                Step::Claim(reply, deadline) => {
                    if let Some(ready) = acquisition.on_reply(reply.wait(deadline))? {
                        return Ok(ready);
                    }
                }
                Step::Wait(waiter, deadline) => acquisition.on_completion(waiter.signal.wait(deadline))?,
            }
        }
    }

    pub(crate) async fn acquire_async(&self, mode: Mode, known: Known) -> Result<Ready, Error> {
        let mut acquisition = Acquisition::new(&self.call, self.engine(), mode, known, Caller::Async);
        let watcher = &self.state().watcher;
        loop {
            match acquisition.step()? {
                Step::Ready(ready) => return Ok(ready),
                Step::Find(reply, deadline) => {
                    acquisition.on_found(reply.wait_async(deadline, watcher).await)?;
                }
                Step::Claim(reply, deadline) => {
                    if let Some(ready) = acquisition.on_reply(reply.wait_async(deadline, watcher).await)? {
                        return Ok(ready);
                    }
                }
                Step::Wait(waiter, deadline) => {
                    acquisition.on_completion(waiter.signal.wait_async(deadline, watcher).await)?;
                }
            }
        }
    }

    /// Replays, or runs the body under the claim.
    pub(crate) fn finish<R, P>(
        &self,
        ready: Ready,
        policy: &P,
        body: impl FnOnce() -> R,
    ) -> Result<Result<R::Ok, R::Err>, Error>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
    {
        let Ready { waited, .. } = ready;
        let mut claim = match ready.claim {
            Ok(claim) => claim,
            Err(record) => return self.replay(&record.borrowed(), waited, policy),
        };
        self.report_seen(claim.record().attempt, None, waited);
        let (scope, active) = outcome::scope(self.state(), &claim);
        claim.start();
        let outcome = {
            let _entered = context::enter(scope);
            body().into_result()
        };
        let recording = outcome::record_outcome(
            &self.call,
            self.state(),
            claim,
            &active,
            outcome,
            policy,
            Caller::Blocking,
        );
        let reply = recording.reply.wait(recording.deadline);
        recording.outcome(reply)
    }

    pub(crate) async fn finish_async<R, P, Fut>(
        &self,
        ready: Ready,
        policy: P,
        body: impl FnOnce() -> Fut,
    ) -> Result<Result<R::Ok, R::Err>, Error>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        Fut: Future<Output = R>,
    {
        let Ready { waited, .. } = ready;
        let mut claim = match ready.claim {
            Ok(claim) => claim,
            Err(record) => return self.replay(&record.borrowed(), waited, &policy),
        };
        self.report_seen(claim.record().attempt, None, waited);
        let (scope, active) = outcome::scope(self.state(), &claim);
        claim.start();
        let outcome = context::within(scope, body()).await.into_result();
        let recording = outcome::record_outcome(
            &self.call,
            self.state(),
            claim,
            &active,
            outcome,
            &policy,
            Caller::Async,
        );
        let reply = recording.reply.wait_async(recording.deadline, &self.state().watcher).await;
        recording.outcome(reply)
    }

    fn replay<T, E, P>(
        &self,
        record: &RecordRef<'_>,
        waited: Duration,
        policy: &P,
    ) -> Result<Result<T, E>, Error>
    where
        T: Value,
        P: ErrPolicy<E>,
    {
        self.replay_aged(record, self.state().age_ms(record), waited, policy)
    }

    fn replay_aged<T, E, P>(
        &self,
        record: &RecordRef<'_>,
        age_ms: Option<i64>,
        waited: Duration,
        policy: &P,
    ) -> Result<Result<T, E>, Error>
    where
        T: Value,
        P: ErrPolicy<E>,
    {
        event::replayed(record, age_ms);
        let age = Duration::from_millis(age_ms.unwrap_or_default().unsigned_abs());
        self.report_seen(record.attempt, Some(age), waited);
        outcome::replay(record, policy)
    }

    /// Tells an observer how the call got its answer.
    fn report_seen(&self, attempt: u32, replayed: Option<Duration>, waited: Duration) {
        if let Some(observer) = &self.observer {
            observer.report(Seen { replayed, attempt, waited, recovered: false });
        }
    }

    pub(crate) fn report_recovered(&self, claim: &Claim, waited: Duration) {
        if let Some(observer) = &self.observer {
            let attempt = claim.record().attempt;
            observer.report(Seen { replayed: None, attempt, waited, recovered: true });
        }
    }
}

/// The call and its store: the one it names, the one in scope, or the program's.
pub(crate) fn prepare(mut plan: Plan) -> Result<(Prepared, Store), Error> {
    let named = plan.store.take();
    let call = plan.prepare()?;
    let store = named.map_or_else(default_store::store, Ok).map_err(|error| call.with_identity(error))?;
    context::check_usable(&store.inner.engine.state).map_err(|error| call.with_identity(error))?;
    Ok((call, store))
}
