//! The future of an async call.
//!
//! The future is a state machine written by hand, because the body may make calls of its own, whose futures then are part
//! of this one. An async function would hold the future of the body twice, so that the size doubles with every level of
//! nested calls. The body has an allocation of its own, which a replay does not make.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::backend::request::{Caller, Reply};
use crate::bounds::{IntoError, Outcome};
use crate::call::acquire::{Known, Ready};
use crate::call::body::BodyScope;
use crate::call::claim::Claim;
use crate::call::inspect::answer::check_result;
use crate::call::invocation::{Invocation, Lookup};
use crate::call::outcome;
use crate::call::outcome::Recording;
use crate::call::outcome::into_return_type;
use crate::call::prepared::Plan;
use crate::error::Error;
use crate::on_err::ErrPolicy;
use crate::protocol::record::Status;
use crate::waiting::oneshot::Waiting;

/// The future of a call, created by [`Call::run_async`](crate::Call::run_async) and
/// [`Recovered::run_async`](crate::Recovered::run_async).
#[must_use = "futures do nothing unless they are polled"]
pub struct RunAsync<P, M, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    /// The compiler proves `Send` in the order of the fields, to a depth of 128 steps, and keeps what it has proven. So the
    /// outermost call proves the types that all calls share. From each call on, one step leads to the future of its body.
    /// Thus 16 nested calls stay below the limit.
    _shared: PhantomData<Shared>,
    _body: PhantomData<Fut>,
    stage: Stage<P, F, Fut>,
    map_err: M,
}

/// The result of a call, before an [`Error`] is converted into the error type of the function.
pub(crate) type Answer<R> = Result<Result<<R as Outcome>::Ok, <R as Outcome>::Err>, Error>;

/// The types in the future of every call.
type Shared = (Plan, Invocation, Ready, Claim, BodyScope, Acquiring, Waiting<Reply>, Error);

type Acquiring = Pin<Box<dyn Future<Output = (Invocation, Result<Ready, Error>)> + Send>>;

/// The progress of an async call.
pub(crate) enum Stage<P, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    Planned {
        plan: Plan,
        on_err: P,
        body: F,
    },
    Acquiring {
        acquiring: Acquiring,
        on_err: P,
        body: F,
    },
    Acquired {
        invocation: Invocation,
        ready: Ready,
        on_err: P,
        body: F,
    },
    Running(Running<P, Fut>),
    Recording(Written<Fut::Output>),
    Answered(Answer<Fut::Output>),
    /// The call has ended, or the body panicked.
    Ended,
}

/// A running body. The body is dropped before its claim.
pub(crate) struct Running<P, Fut> {
    body: Pin<Box<Fut>>,
    scope: BodyScope,
    claim: Claim,
    invocation: Invocation,
    on_err: P,
}

/// A body that has returned. The task waits for the writer.
pub(crate) struct Written<R: Outcome> {
    reply: Waiting<Reply>,
    recording: Recording<R::Ok, R::Err>,
    invocation: Invocation,
}

impl<P, M, F, Fut> RunAsync<P, M, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    pub(crate) fn new(stage: Stage<P, F, Fut>, map_err: M) -> Self {
        RunAsync { _shared: PhantomData, _body: PhantomData, stage, map_err }
    }
}

/// No field is pinned: the body is behind a pointer.
impl<P, M, F, Fut> Unpin for RunAsync<P, M, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
}

impl<P, M, F, Fut> fmt::Debug for RunAsync<P, M, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunAsync").finish_non_exhaustive()
    }
}

impl<R, P, M, F, Fut> Future for RunAsync<P, M, F, Fut>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
    M: IntoError<R::Err>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
{
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let answer = this.stage.poll(context);
        answer.map(|answer| into_return_type(answer, &this.map_err))
    }
}

impl<R, P, F, Fut> Stage<P, F, Fut>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
{
    /// Continues the call. After its end, the call stays pending.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer<R>> {
        loop {
            // A panic drops the stage while the thread panics, so that the claim knows why it ends.
            let (next, is_pending) = match mem::replace(self, Stage::Ended) {
                Stage::Planned { plan, on_err, body } => (look_up(plan, on_err, body), false),
                Stage::Acquiring { mut acquiring, on_err, body } => match acquiring.as_mut().poll(context) {
                    Poll::Pending => (Stage::Acquiring { acquiring, on_err, body }, true),
                    Poll::Ready((invocation, ready)) => (acquired(invocation, ready, on_err, body), false),
                },
                Stage::Acquired { invocation, ready, on_err, body } => {
                    (start(invocation, ready, on_err, body), false)
                }
                Stage::Running(mut running) => match running.poll(context) {
                    Poll::Pending => (Stage::Running(running), true),
                    Poll::Ready(returned) => (Stage::Recording(running.record(returned)), false),
                },
                Stage::Recording(mut written) => match Pin::new(&mut written.reply).poll(context) {
                    Poll::Pending => (Stage::Recording(written), true),
                    Poll::Ready(reply) => (Stage::Answered(written.answer(reply)), false),
                },
                Stage::Answered(answer) => return Poll::Ready(answer),
                Stage::Ended => (Stage::Ended, true),
            };
            *self = next;
            if is_pending {
                return Poll::Pending;
            }
        }
    }
}

/// Replays the call, or begins to acquire it.
fn look_up<R, P, F, Fut>(plan: Plan, on_err: P, body: F) -> Stage<P, F, Fut>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
    Fut: Future<Output = R>,
{
    let invocation = match Invocation::new(plan, check_result::<R::Ok>) {
        Ok(invocation) => invocation,
        Err(error) => return Stage::Answered(Err(error)),
    };
    match invocation.lookup(&on_err, Status::is_finished) {
        Ok(Lookup::Answer(answer)) => Stage::Answered(Ok(answer)),
        Ok(Lookup::Unanswered(known)) => {
            Stage::Acquiring { acquiring: acquire(invocation, known), on_err, body }
        }
        Err(error) => Stage::Answered(Err(invocation.call.with_identity(error))),
    }
}

fn acquire(invocation: Invocation, known: Known) -> Acquiring {
    Box::pin(async move {
        let ready = invocation.acquire_async(invocation.mode(), known).await;
        (invocation, ready)
    })
}

fn acquired<P, F, Fut>(
    invocation: Invocation,
    ready: Result<Ready, Error>,
    on_err: P,
    body: F,
) -> Stage<P, F, Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    match ready {
        Ok(ready) => Stage::Acquired { invocation, ready, on_err, body },
        Err(error) => Stage::Answered(Err(invocation.call.with_identity(error))),
    }
}

/// Replays the record, or starts the body under the claim.
fn start<R, P, F, Fut>(invocation: Invocation, ready: Ready, on_err: P, body: F) -> Stage<P, F, Fut>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
{
    match ready.claim {
        Ok(claim) => {
            let (claim, scope) = invocation.start(claim, ready.waited);
            Stage::Running(Running { body: boxed(body), scope, claim, invocation, on_err })
        }
        Err(record) => {
            let answer = invocation.replay(&record.borrowed(), ready.waited, &on_err);
            Stage::Answered(answer.map_err(|error| invocation.call.with_identity(error)))
        }
    }
}

/// Creates a future on the heap. Its temporary copies are not on the stack of the polls.
#[inline(never)]
pub(crate) fn boxed<Fut>(make: impl FnOnce() -> Fut) -> Pin<Box<Fut>> {
    Box::pin(make())
}

impl<P, Fut: Future> Running<P, Fut> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Fut::Output> {
        let body = self.body.as_mut();
        self.scope.run(|| body.poll(context))
    }

    /// Drops the body, and hands its outcome to the writer.
    fn record<R>(self, returned: R) -> Written<R>
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
    {
        let Running { body, scope, claim, invocation, on_err } = self;
        drop(body);
        let (call, state, outcome) = (&invocation.call, invocation.state(), returned.into_result());
        let recording =
            outcome::record_outcome(call, state, claim, &scope.call, outcome, &on_err, Caller::Async);
        let reply = recording.reply.wait_async(recording.deadline, &state.watcher);
        Written { reply, recording, invocation }
    }
}

impl<R: Outcome> Written<R> {
    fn answer(self, reply: Option<Reply>) -> Answer<R> {
        let answer = self.invocation.observed(self.recording.outcome(reply));
        answer.map_err(|error| self.invocation.call.with_identity(error))
    }
}
