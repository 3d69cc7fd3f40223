//! Making a call: negotiate, run the body, hand its outcome to the writer, wait for the record.
//!
//! The sync and the async form take the same steps; only the waits differ.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::{IntoError, Outcome, Value};
use crate::call::{Call, Plan, Prepared};
use crate::decide::Mode;
use crate::error::Error;
use crate::intent::{self, Intent};
use crate::negotiate::{Claimed, Negotiation, Ready, Step};
use crate::on_err::ErrPolicy;
use crate::record::Record;
use crate::{context, event, finish, look};

impl<P, M> Call<P, M> {
    /// Makes the call: runs `body` once, or answers with the result of the one run.
    ///
    /// The body gets the result as it reads back from the store, which is what later callers get. A replay runs on
    /// the caller's own thread.
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
        let made = begin(plan).and_then(|begun| {
            let made = make(&begun, &on_err, || body().into_result());
            made.map_err(|error| begun.call.about(error))
        });
        R::from_result(made.unwrap_or_else(|error| Err(map_err.into_error(report(error)))))
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
        let made = match begin(plan) {
            Ok(begun) => {
                let made = make_async(&begun, &on_err, body).await;
                made.map_err(|error| begun.call.about(error))
            }
            Err(error) => Err(error),
        };
        R::from_result(made.unwrap_or_else(|error| Err(map_err.into_error(report(error)))))
    }
}

/// A call that is really to be made.
#[derive(Debug)]
struct Begun {
    call: Prepared,
    /// Who wants to know how it went.
    observer: Option<Arc<Intent>>,
}

/// Prepares the call, unless it is only to be looked at.
fn begin(plan: Plan) -> Result<Begun, Error> {
    let scope = context::current();
    let intent = match &scope.intent {
        Some(intent) if intent.take() => Some(intent),
        Some(intent) if intent.is_look() => return Err(intent::one_call_only()),
        _ => None,
    };
    let prepared = plan.prepare();
    match intent {
        Some(intent) if intent.is_look() => {
            look::answer(intent, prepared);
            Err(intent::not_made())
        }
        observer => Ok(Begun { call: prepared?, observer: observer.cloned() }),
    }
}

fn make<T, E, P>(begun: &Begun, policy: &P, body: impl FnOnce() -> Result<T, E>) -> Result<Result<T, E>, Error>
where
    T: Value,
    P: ErrPolicy<E>,
{
    let mut negotiation = Negotiation::new(&begun.call, Mode::Interrupt(begun.call.on_interrupt));
    let ready = negotiate(&mut negotiation)?;
    let waited = negotiation.waited();
    match ready {
        Ready::Answer(record) => begun.replay(*record, waited, policy),
        Ready::Run(Claimed { mut claim, .. }) => {
            begun.tell(claim.record(), None, waited);
            let (scope, ongoing) = finish::scope(&begun.call, &claim);
            claim.start();
            let outcome = {
                let _entered = context::enter(scope);
                body()
            };
            let ended = finish::end(&begun.call, claim, &ongoing, outcome, policy);
            let reply = ended.reply.wait(ended.deadline);
            ended.outcome(reply)
        }
    }
}

async fn make_async<R, P, Fut, F>(begun: &Begun, policy: &P, body: F) -> Result<Result<R::Ok, R::Err>, Error>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
    Fut: Future<Output = R>,
    F: FnOnce() -> Fut,
{
    let mut negotiation = Negotiation::new(&begun.call, Mode::Interrupt(begun.call.on_interrupt));
    let ready = negotiate_async(&mut negotiation, &begun.call).await?;
    let waited = negotiation.waited();
    drop(negotiation);
    match ready {
        Ready::Answer(record) => begun.replay(*record, waited, policy),
        Ready::Run(Claimed { mut claim, .. }) => {
            begun.tell(claim.record(), None, waited);
            let (scope, ongoing) = finish::scope(&begun.call, &claim);
            claim.start();
            let outcome = context::within(scope, body()).await.into_result();
            let ended = finish::end(&begun.call, claim, &ongoing, outcome, policy);
            let watch = &begun.call.store.inner.core.watch;
            let reply = ended.reply.wait_async(ended.deadline, watch).await;
            ended.outcome(reply)
        }
    }
}

fn negotiate(negotiation: &mut Negotiation<'_>) -> Result<Ready, Error> {
    loop {
        match negotiation.step()? {
            Step::Answer(record) => return Ok(Ready::Answer(record)),
            Step::Claim(reply, deadline) => {
                let reply = reply.wait(deadline);
                if let Some(claimed) = negotiation.answered(reply)? {
                    return Ok(Ready::Run(claimed));
                }
            }
            Step::Wait(waiter, deadline) => {
                let landing = waiter.signal.wait(deadline);
                negotiation.landed(landing)?;
            }
        }
    }
}

async fn negotiate_async(negotiation: &mut Negotiation<'_>, call: &Prepared) -> Result<Ready, Error> {
    let watch = &call.store.inner.core.watch;
    loop {
        match negotiation.step()? {
            Step::Answer(record) => return Ok(Ready::Answer(record)),
            Step::Claim(reply, deadline) => {
                let reply = reply.wait_async(deadline, watch).await;
                if let Some(claimed) = negotiation.answered(reply)? {
                    return Ok(Ready::Run(claimed));
                }
            }
            Step::Wait(waiter, deadline) => {
                let landing = waiter.signal.wait_async(deadline, watch).await;
                negotiation.landed(landing)?;
            }
        }
    }
}

impl Begun {
    fn replay<T, E, P>(&self, record: Record, waited: Duration, policy: &P) -> Result<Result<T, E>, Error>
    where
        T: Value,
        P: ErrPolicy<E>,
    {
        let age_ms = self.call.store.inner.core.age_ms(record.at);
        event::replayed(&record, age_ms);
        let age = Duration::from_millis(age_ms.unwrap_or_default().unsigned_abs());
        self.tell(&record, Some(age), waited);
        finish::replay(record, policy)
    }

    fn tell(&self, record: &Record, replayed: Option<Duration>, waited: Duration) {
        finish::observe(self.observer.as_deref(), finish::seen(record, replayed, waited));
    }
}

/// The call this one stands in must not remember what it makes of our error.
fn report(error: Error) -> Error {
    let scope = context::current();
    let is_look = scope.intent.as_ref().is_some_and(|intent| intent.is_look());
    if let (Some(outer), false) = (&scope.call, is_look) {
        outer.note_inner_failure();
    }
    error
}
