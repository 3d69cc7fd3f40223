//! `detach`: a call that runs to its end though its caller is gone.
//!
//! The only place that names tokio. The call is claimed by its caller, so that one that goes away before has done
//! nothing; the body then runs in a task of its own, and a retry joins it like any duplicate.

use std::future::Future;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::bounds::{IntoError, Outcome, Value};
use crate::call::Call;
use crate::call::acquire::Ready;
use crate::call::recover::{IntoVerdict, Recovered, State};
use crate::call::run::{Invocation, Lookup, answer};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::on_err::ErrPolicy;
use crate::protocol::record::Status;
use crate::scope::context;
use crate::sync::lock;

/// A call that does not end with its caller; see [`Call::detach`].
#[derive(Debug)]
#[must_use = "a call is made by `run_async`"]
pub struct Detached<P, M>(Call<P, M>);

/// A detached call whose recovery is over; see [`Detached::recover_async`].
#[derive(Debug)]
#[must_use = "a call is made by `run_async`"]
pub struct DetachedRecovered<T, P, M>(Recovered<T, P, M>);

impl<P, M> Call<P, M> {
    /// Lets the body run to its end though the future of the call is dropped, in a tokio task of its own.
    ///
    /// A retry joins it. Tracing spans and the call's surroundings travel along. Without a tokio runtime the call
    /// fails before anything is claimed; when the runtime shuts down while the body runs, the call is in doubt, so
    /// [`drain`] before.
    pub fn detach(self) -> Detached<P, M> {
        Detached(self)
    }
}

impl<P, M> Detached<P, M> {
    /// See [`Call::recover_async`]; the hook itself is not detached.
    ///
    /// # Cancellation
    /// Dropped while the hook runs, the call is in doubt again and no attempt was made.
    pub async fn recover_async<T, V, Fut>(self, hook: impl FnOnce() -> Fut) -> DetachedRecovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
        Fut: Future<Output = V>,
    {
        DetachedRecovered(self.0.recover_async(hook).await)
    }

    /// Makes the call: as [`Call::run_async`], with a body that owns what it uses.
    ///
    /// # Errors
    /// As [`Call::run`]; [`ErrorKind::NotInitialised`] outside of a tokio runtime.
    ///
    /// # Panics
    /// Only if the body does: the call is in doubt then.
    ///
    /// # Cancellation
    /// Dropped before the body's first poll, nothing happened. Dropped after, the body runs on and its outcome is
    /// recorded.
    pub async fn run_async<R, Fut, F>(self, body: F) -> R
    where
        R: Outcome + Send + 'static,
        R::Ok: Send,
        R::Err: Send,
        P: ErrPolicy<R::Err> + Send + 'static,
        M: IntoError<R::Err>,
        Fut: Future<Output = R> + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
    {
        let Call { plan, on_err, map_err } = self.0;
        let made = match runtime().and_then(|runtime| Ok((runtime, Invocation::new(plan)?))) {
            Ok((runtime, invocation)) => match invocation.lookup(&on_err, Status::is_finished) {
                Ok(Lookup::Answer(answer)) => answer.map_err(|error| invocation.call.with_identity(error)),
                Ok(Lookup::Unanswered(known)) => {
                    match invocation.acquire_async(invocation.mode(), known).await {
                        Ok(ready) => spawn(&runtime, invocation, ready, on_err, body).await,
                        Err(error) => Err(invocation.call.with_identity(error)),
                    }
                }
                Err(error) => Err(invocation.call.with_identity(error)),
            },
            Err(error) => Err(error),
        };
        answer(made, &map_err)
    }
}

impl<T: Value, P, M> DetachedRecovered<T, P, M> {
    /// See [`Detached::run_async`].
    ///
    /// # Errors
    /// As [`Detached::run_async`].
    ///
    /// # Panics
    /// Only if the body does: the call is in doubt then.
    ///
    /// # Cancellation
    /// As [`Detached::run_async`].
    pub async fn run_async<R, Fut, F>(self, body: F) -> R
    where
        R: Outcome<Ok = T> + Send + 'static,
        T: Send,
        R::Err: Send,
        P: ErrPolicy<R::Err> + Send + 'static,
        M: IntoError<R::Err>,
        Fut: Future<Output = R> + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
    {
        let Recovered { state, on_err, map_err } = self.0;
        let made = match state {
            State::Over(over) => over.map(Ok),
            State::Ready(made) => match (runtime(), *made) {
                (Ok(runtime), (invocation, ready)) => spawn(&runtime, invocation, ready, on_err, body).await,
                (Err(error), (invocation, _)) => Err(invocation.call.with_identity(error)),
            },
        };
        answer(made, &map_err)
    }
}

fn runtime() -> Result<Handle, Error> {
    Handle::try_current().map_err(|error| {
        let message = "a detached call needs a tokio runtime";
        Error::new(ErrorKind::NotInitialised, Ran::No, message).advise(Advice::NeedsTokio).because(error)
    })
}

async fn spawn<R, P, Fut, F>(
    runtime: &Handle,
    invocation: Invocation,
    ready: Ready,
    on_err: P,
    body: F,
) -> Result<Result<R::Ok, R::Err>, Error>
where
    R: Outcome + Send + 'static,
    R::Ok: Send,
    R::Err: Send,
    P: ErrPolicy<R::Err> + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
{
    let (name, key) = (invocation.call.name.clone(), invocation.call.key.clone());
    let counted = Running::enter();
    let call = async move {
        let _counted = counted;
        let made = invocation.finish_async(ready, on_err, body).await;
        made.map_err(|error| invocation.call.with_identity(error))
    };
    let task = runtime.spawn(event::in_current_span(context::within(context::scope(), call)));
    match task.await {
        Ok(made) => made,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(shut_down().about(&name, key.as_str())),
        },
    }
}

fn shut_down() -> Error {
    let message = "the call is in doubt: the tokio runtime shut down while the body ran";
    Error::new(ErrorKind::InDoubt, Ran::Unknown, message).advise(Advice::Drain)
}

/// How many detached calls run in this process.
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

#[derive(Debug)]
struct Running;

impl Running {
    fn enter() -> Running {
        *lock(&RUNNING) += 1;
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&RUNNING) -= 1;
        ENDED.notify_all();
    }
}

/// Waits until no detached call runs in this process, at most `timeout`. Gives how many still run.
///
/// For an orderly end: stop taking requests, `drain`, close the store, let the runtime go.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(idem_runtime::drain(std::time::Duration::from_secs(5)).await, 0);
/// # });
/// ```
///
/// # Cancellation
/// Nothing is changed at any point.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn drain(timeout: Duration) -> usize {
    let waited = tokio::task::spawn_blocking(move || wait_for_none(timeout)).await;
    // Only a runtime that shuts down cancels the wait.
    waited.unwrap_or_else(|_| *lock(&RUNNING))
}

fn wait_for_none(timeout: Duration) -> usize {
    let started = Instant::now();
    let mut running = lock(&RUNNING);
    while *running > 0 {
        let Some(left) = timeout.checked_sub(started.elapsed()) else { break };
        running = ENDED.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    *running
}
