//! Making a call: acquire the claim, run the body, hand its outcome to the writer, wait for the record.
//!
//! The sync and the async form take the same steps. Only their waits differ.

use std::future::Future;
use std::time::Duration;

use crate::backend::request::Caller;
use crate::bounds::{IntoError, Outcome};
use crate::call::acquire::Ready;
use crate::call::body::BodyScope;
use crate::call::claim::Claim;
use crate::call::invocation::{Invocation, Lookup};
use crate::call::{Call, outcome};
use crate::error::{Error, ErrorKind};
use crate::on_err::ErrPolicy;
use crate::protocol::record::Status;
use crate::scope::context;

impl<P, M> Call<P, M> {
    /// Makes the call: returns the recorded result, or runs `body` and records its result.
    ///
    /// The first caller gets its value as decoded from the stored bytes, which is the value that every later caller
    /// gets. A replay runs on the thread of the caller.
    ///
    /// # Errors
    /// The `Err` of the body. Otherwise an [`Error`] of any [kind](crate::ErrorKind), converted into the error type
    /// of the function.
    ///
    /// # Panics
    /// If `body` panics. The call is then in doubt.
    ///
    /// ```
    /// use idem_runtime::{Error, Store, call};
    ///
    /// let store = Store::temporary()?;
    /// let pay = || -> Result<u32, Error> { call("docs.pay").store(&store).key("A-17").run(|| Ok(42)) };
    /// assert_eq!(pay()?, 42); // Runs the body.
    /// assert_eq!(pay()?, 42); // Replays the result.
    /// # Ok::<(), Error>(())
    /// ```
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let Call { plan, on_err, map_err } = self;
        let answer = Invocation::new(plan.with_body(&body)).and_then(|invocation| {
            let answer = invocation.make(&on_err, body);
            answer.map_err(|error| invocation.call.with_identity(error))
        });
        into_return_type(answer, &map_err)
    }

    /// Makes the call from async code, on any executor.
    ///
    /// `body` is called after the claim is taken. The future of the body is polled in place.
    ///
    /// # Errors
    /// The errors of [`run`](Call::run).
    ///
    /// # Panics
    /// If `body` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// If this future is dropped before the first poll of the body, the claim is released. If it is dropped while the
    /// body runs, the call is in doubt. If it is dropped after the body returned, the outcome is recorded nevertheless.
    ///
    /// ```
    /// # use std::pin::pin;
    /// # use std::task::{Context, Poll, Waker};
    /// use idem_runtime::{Error, Store, call};
    ///
    /// async fn pay(store: &Store, cents: u32) -> Result<u32, Error> {
    ///     call("docs.pay").store(store).key("A-17").arg("cents", &cents).run_async(async || Ok(cents)).await
    /// }
    /// # let store = Store::temporary()?;
    /// # let mut paid = pin!(pay(&store, 42));
    /// # let paid = loop {
    /// #     if let Poll::Ready(paid) = paid.as_mut().poll(&mut Context::from_waker(Waker::noop())) { break paid }
    /// # };
    /// # assert_eq!(paid?, 42);
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn run_async<R, Fut, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        Fut: Future<Output = R>,
        F: FnOnce() -> Fut,
    {
        let Call { plan, on_err, map_err } = self;
        let answer = match Invocation::new(plan.with_body(&body)) {
            Ok(invocation) => {
                let answer = invocation.make_async(on_err, body).await;
                answer.map_err(|error| invocation.call.with_identity(error))
            }
            Err(error) => Err(error),
        };
        into_return_type(answer, &map_err)
    }
}

/// The answer of a call as the return type of the function.
pub(crate) fn into_return_type<R: Outcome, M: IntoError<R::Err>>(
    answer: Result<Result<R::Ok, R::Err>, Error>,
    map_err: &M,
) -> R {
    R::from_result(answer.unwrap_or_else(|mut error| {
        note_inner_failure(&mut error);
        Err(map_err.into_error(error))
    }))
}

/// Notes in the enclosing call that a call inside its body failed with an [`Error`].
fn note_inner_failure(error: &mut Error) {
    let scope = context::scope();
    let is_look = scope.interception.as_ref().is_some_and(|interception| interception.is_look());
    if let (Some(outer), false) = (&scope.call, is_look) {
        if is_certain(error.kind()) {
            outer.note_inner_refusal(error.watch());
        } else {
            outer.note_inner_failure();
        }
    }
}

/// Whether an error of this kind proves that nothing ran.
fn is_certain(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BadKey | ErrorKind::BadArgument | ErrorKind::Mismatch)
}

impl Invocation {
    fn make<R, P>(&self, policy: &P, body: impl FnOnce() -> R) -> Result<Result<R::Ok, R::Err>, Error>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
    {
        match self.lookup(policy, Status::is_finished)? {
            Lookup::Answer(answer) => Ok(answer),
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
            Lookup::Answer(answer) => Ok(answer),
            Lookup::Unanswered(known) => {
                let ready = self.acquire_async(self.mode(), known).await?;
                self.finish_async(ready, policy, body).await
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
        let (claim, scope) = match ready.claim {
            Ok(claim) => self.start(claim, ready.waited),
            Err(record) => return self.replay(&record.borrowed(), ready.waited, policy),
        };
        let outcome = scope.run(body).into_result();
        let (call, state) = (&self.call, self.state());
        let recording =
            outcome::record_outcome(call, state, claim, &scope.call, outcome, policy, Caller::Blocking);
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
        let (claim, scope) = match ready.claim {
            Ok(claim) => self.start(claim, ready.waited),
            Err(record) => return self.replay(&record.borrowed(), ready.waited, &policy),
        };
        let outcome = scope.run_async(body()).await.into_result();
        let (call, state) = (&self.call, self.state());
        let recording =
            outcome::record_outcome(call, state, claim, &scope.call, outcome, &policy, Caller::Async);
        let reply = recording.reply.wait_async(recording.deadline, &state.watcher).await;
        recording.outcome(reply)
    }

    /// Reports and starts the claim. From now on, dropping the claim means that the call is in doubt.
    fn start(&self, mut claim: Claim, waited: Duration) -> (Claim, BodyScope) {
        self.report_executed(&claim, waited);
        let scope = BodyScope::of_claim(self.state(), &claim);
        claim.start();
        (claim, scope)
    }
}
