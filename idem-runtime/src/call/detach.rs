//! `detach`: a call whose body runs to its end although its caller is gone.
//!
//! Only this module names tokio. The caller takes the claim itself. If the caller goes away before that, nothing
//! happened. The body then runs in its own task, and a retry waits for the body like any duplicate.

use std::future::Future;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::bounds::{IntoError, Outcome, Value};
use crate::call::Call;
use crate::call::acquire::Ready;
use crate::call::invocation::{Invocation, Lookup};
use crate::call::prepared::Plan;
use crate::call::recover::{IntoVerdict, Recovered, State};
use crate::call::run::into_return_type;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::on_err::ErrPolicy;
use crate::protocol::record::Status;
use crate::scope::context;
use crate::sync::lock;

/// A detached call, created by [`Call::detach`] and made by [`run_async`](Detached::run_async).
#[derive(Debug)]
#[must_use = "a call is made by `run_async`"]
pub struct Detached<P, M>(Call<P, M>);

/// A detached call after its recovery, created by [`Detached::recover_async`].
#[derive(Debug)]
#[must_use = "a call is made by `run_async`"]
pub struct DetachedRecovered<T, P, M>(Recovered<T, P, M>);

impl<P, M> Call<P, M> {
    /// Detaches the body from its caller: the body runs to its end in its own tokio task.
    ///
    /// If the future of the call is dropped, the body continues and a retry waits for its result. The task keeps the
    /// scope and the tracing span of the caller.
    ///
    /// Without a tokio runtime, the call fails before it takes a claim. If the runtime shuts down while the body runs,
    /// the call is in doubt: call [`drain`] first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use idem_runtime::{Error, Store, call};
    ///
    /// let store = Store::temporary()?;
    /// let pay = call("docs.pay").store(&store).key("A-17").detach();
    /// let paid: Result<u32, Error> = pay.run_async(async || Ok(42)).await;
    /// assert_eq!(paid?, 42);
    /// # Ok::<(), Error>(())
    /// # })?;
    /// # Ok::<(), idem_runtime::Error>(())
    /// ```
    pub fn detach(self) -> Detached<P, M> {
        Detached(self)
    }
}

impl<P, M> Detached<P, M> {
    /// Acquires the call, and asks the async `hook` first if an earlier attempt was cut off.
    ///
    /// The rules for the hook are those of [`Call::recover`]. The hook itself is not detached.
    ///
    /// # Panics
    /// If `hook` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// If this future is dropped while the hook runs, the call is in doubt again and no attempt was made.
    pub async fn recover_async<T, V, Fut>(self, hook: impl FnOnce() -> Fut) -> DetachedRecovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
        Fut: Future<Output = V>,
    {
        DetachedRecovered(self.0.recover_async(hook).await)
    }

    /// Makes the call, and runs `body` in its own task if the call is not done.
    ///
    /// The body must own everything that it uses.
    ///
    /// # Errors
    /// The errors of [`Call::run`]. [`ErrorKind::NotInitialised`] outside of a tokio runtime.
    ///
    /// # Panics
    /// If `body` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// If this future is dropped before the task is spawned, nothing happened. If it is dropped later, the body
    /// continues and its outcome is recorded.
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
        into_return_type(make(plan, on_err, body).await, &map_err)
    }
}

impl<T: Value, P, M> DetachedRecovered<T, P, M> {
    /// Returns the answer of the call, and runs `body` in its own task if the call is not done.
    ///
    /// # Errors
    /// The errors of [`Detached::run_async`].
    ///
    /// # Panics
    /// If `body` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// The effects of a drop are those of [`Detached::run_async`].
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
        let (state, on_err, map_err) = self.0.with_body(&body);
        let answer = match state {
            State::Ended(result) => result.map(Ok),
            State::Ready(ready) => match (runtime(), *ready) {
                (Ok(runtime), (invocation, ready)) => spawn(&runtime, invocation, ready, on_err, body).await,
                (Err(error), (invocation, _)) => Err(invocation.call.with_identity(error)),
            },
        };
        into_return_type(answer, &map_err)
    }
}

async fn make<R, P, Fut, F>(plan: Plan, on_err: P, body: F) -> Result<Result<R::Ok, R::Err>, Error>
where
    R: Outcome + Send + 'static,
    R::Ok: Send,
    R::Err: Send,
    P: ErrPolicy<R::Err> + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
{
    let runtime = runtime()?;
    let invocation = Invocation::new(plan.with_body(&body))?;
    let known = match invocation.lookup(&on_err, Status::is_finished) {
        Ok(Lookup::Answer(answer)) => return Ok(answer),
        Ok(Lookup::Unanswered(known)) => known,
        Err(error) => return Err(invocation.call.with_identity(error)),
    };
    match invocation.acquire_async(invocation.mode(), known).await {
        Ok(ready) => spawn(&runtime, invocation, ready, on_err, body).await,
        Err(error) => Err(invocation.call.with_identity(error)),
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
    let (name, key) = (invocation.call.options.name.clone(), invocation.call.key.clone());
    let counted = Running::enter();
    let call = async move {
        let _counted = counted;
        let answer = invocation.finish_async(ready, on_err, body).await;
        answer.map_err(|error| invocation.call.with_identity(error))
    };
    let task = runtime.spawn(event::in_current_span(context::within(context::scope(), call)));
    match task.await {
        Ok(answer) => answer,
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

/// The number of detached calls that run in this process.
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

/// Waits until no detached call runs in this process, for at most `timeout`. Returns the number that still run.
///
/// For an orderly end of a program: stop taking requests, call `drain`, close the store, then shut down the runtime.
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Cancellation
/// If this future is dropped, the detached calls continue.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(idem_runtime::drain(std::time::Duration::from_secs(5)).await, 0);
/// # });
/// ```
pub async fn drain(timeout: Duration) -> usize {
    let waited = tokio::task::spawn_blocking(move || wait_for_none(timeout)).await;
    // The wait is cancelled only if the runtime shuts down.
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
