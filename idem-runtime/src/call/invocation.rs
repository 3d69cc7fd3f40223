//! A prepared call bound to its store: the first read of its record, and the waits of its acquisition.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::request::Caller;
use crate::bounds::Value;
use crate::call::acquire::{Acquisition, Known, Ready, Step};
use crate::call::claim::Claim;
use crate::call::inspect::answer;
use crate::call::prepared::{Plan, Prepared};
use crate::call::{acquire, outcome, refusal};
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

/// A call that one caller makes on one store.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) call: Prepared,
    store: Store,
    /// The `observe` around the call.
    observer: Option<Arc<Interception>>,
}

/// The result of the first read of a record.
pub(crate) enum Lookup<T, E> {
    /// The record answers the call.
    Answer(Result<T, E>),
    Unanswered(Known),
}

impl Invocation {
    /// Prepares a call and finds its store.
    ///
    /// Fails also if the call is only inspected, or if the `tx` body around the call holds the write lock of the store.
    pub(crate) fn new(plan: Plan) -> Result<Invocation, Error> {
        let (plan, observer) = intercept(plan)?;
        let (call, store) = prepare(plan)?;
        let scope = context::scope();
        let store_id = &store.inner.engine.state.settings.store_id;
        if scope.call.as_ref().is_some_and(|outer| outer.holds_transaction(store_id)) {
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
        Mode::Interrupt(self.call.options.on_interrupt)
    }

    /// Reads the record and decodes its answer in place, if `may_answer` accepts its status.
    ///
    /// Nearly all replays end here.
    pub(crate) fn lookup<T, E, P>(
        &self,
        policy: &P,
        may_answer: fn(Status) -> bool,
    ) -> Result<Lookup<T, E>, Error>
    where
        T: Value,
        P: ErrPolicy<E>,
    {
        self.state().check_not_closed()?;
        let mut answer = None;
        let mut replay = |record: &RecordRef<'_>, age_ms| {
            let answers =
                may_answer(record.status) && acquire::answers(&self.call, self.mode(), record, age_ms);
            if answers {
                answer = Some(self.replay_aged(record, age_ms, Duration::ZERO, policy));
            }
            answers
        };
        let visited = self.state().backend.visit(self.call.slots(), &mut replay).transpose()?;
        Ok(match (answer, visited) {
            (Some(answer), _) => Lookup::Answer(answer?),
            (None, Some(record)) => Lookup::Unanswered(Known::of(record)),
            (None, None) => Lookup::Unanswered(Known::Nothing),
        })
    }

    /// Gets a claim or an answer, and blocks the thread while waiting.
    pub(crate) fn acquire(&self, mode: Mode, known: Known) -> Result<Ready, Error> {
        let mut acquisition = Acquisition::new(&self.call, self.engine(), mode, known, Caller::Blocking);
        loop {
            match acquisition.step()? {
                Step::Ready(ready) => return Ok(ready),
                Step::Find(reply, deadline) => acquisition.on_found(reply.wait(deadline))?,
                Step::Claim(reply, deadline) => acquisition.on_reply(reply.wait(deadline))?,
                Step::Wait(waiter, deadline) => acquisition.on_completion(waiter.signal.wait(deadline))?,
            }
        }
    }

    /// Gets a claim or an answer, and suspends the task while waiting.
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
                    acquisition.on_reply(reply.wait_async(deadline, watcher).await)?;
                }
                Step::Wait(waiter, deadline) => {
                    acquisition.on_completion(waiter.signal.wait_async(deadline, watcher).await)?;
                }
            }
        }
    }

    pub(crate) fn replay<T, E, P>(
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
        self.report(Seen { replayed: Some(age), attempt: record.attempt, waited, recovered: false });
        outcome::replay(record, policy)
    }

    pub(crate) fn report_executed(&self, claim: &Claim, waited: Duration) {
        self.report(Seen { replayed: None, attempt: claim.record().attempt, waited, recovered: false });
    }

    pub(crate) fn report_recovered(&self, claim: &Claim, waited: Duration) {
        self.report(Seen { replayed: None, attempt: claim.record().attempt, waited, recovered: true });
    }

    /// Reports to the observer how the call got its answer.
    fn report(&self, seen: Seen) {
        if let Some(observer) = &self.observer {
            observer.report(seen);
        }
    }
}

/// Takes the interception in scope, and gives it back if it observes the call.
///
/// If the interception inspects the call instead, answers the interception and gives the error `not_made`.
pub(crate) fn intercept(mut plan: Plan) -> Result<(Plan, Option<Arc<Interception>>), Error> {
    let interception = context::scope().consume_interception()?;
    if let Some(look) = interception.as_ref().filter(|interception| interception.is_look()) {
        plan.function.is_inspected = true;
        answer::answer(look, prepare(plan));
        return Err(interception::not_made());
    }
    Ok((plan, interception))
}

/// Prepares the call and finds its store: the one in the plan, the one in scope, or the one of the program.
fn prepare(mut plan: Plan) -> Result<(Prepared, Store), Error> {
    let named = plan.store.take();
    let call = plan.prepare()?;
    let store = named.map_or_else(default_store::store, Ok).map_err(|error| call.with_identity(error))?;
    context::check_usable(&store.inner.engine.state).map_err(|error| call.with_identity(error))?;
    Ok((call, store))
}
