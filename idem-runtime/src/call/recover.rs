//! `on_interrupt = recover(…)`: a recovery hook is asked about an interrupted call before anything runs again.
//!
//! The hook runs under the claim. If the hook is cut off, the call is in doubt again and no attempt was made. The hook
//! returns before the body begins, because the hook borrows arguments that the body may move.

use std::borrow::Cow;
use std::fmt::Display;

use crate::bounds::{IntoError, Outcome, Value};
use crate::call::Call;
use crate::call::acquire::Ready;
use crate::call::inspect::answer::check_result;
use crate::call::invocation::Invocation;
use crate::call::names::Function;
use crate::call::outcome::into_return_type;
use crate::call::recover::hook::Recovery;
use crate::call::run_async::{RunAsync, Stage};
use crate::error::Error;
use crate::on_err::ErrPolicy;
use crate::scope::interception::Verdict;

mod hook;

/// The return value of a recovery hook: a [`Verdict`], or a `Result` of one.
///
/// An `Err` of the hook leaves the call in doubt.
#[diagnostic::on_unimplemented(
    message = "a recovery hook gives a `Verdict<{T}>` or a `Result<Verdict<{T}>, _>`, not `{Self}`",
    label = "this must say whether the call was done"
)]
pub trait IntoVerdict<T> {
    /// Returns the verdict, or the text of the error.
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

/// A call after its recovery, created by [`Call::recover`] and made by [`run`](Recovered::run) or
/// [`run_async`](Recovered::run_async).
#[derive(Debug)]
#[must_use = "a call is made by `run` or `run_async`"]
pub struct Recovered<T, P, M> {
    state: State<T>,
    name: Cow<'static, str>,
    function: Function,
    on_err: P,
    map_err: M,
}

#[derive(Debug)]
pub(crate) enum State<T> {
    /// The call has ended: its result is known, or an error refuses it.
    Ended(Result<T, Error>),
    /// The record answers the call, or the body must run.
    Ready(Box<(Invocation, Ready)>),
}

impl<T> State<T> {
    fn of(invocation: Invocation, recovery: Result<Recovery<T>, Error>) -> State<T> {
        match recovery {
            Ok(Recovery::Known(value)) => State::Ended(Ok(value)),
            Ok(Recovery::Ready(ready)) => State::Ready(Box::new((invocation, ready))),
            Err(error) => State::Ended(Err(invocation.call.with_identity(error))),
        }
    }
}

impl<P, M> Call<P, M> {
    /// Acquires the call, and asks `hook` first if an earlier attempt was cut off.
    ///
    /// The hook says whether the earlier attempt was done. [`current`](crate::current) works in the hook. If the call
    /// was not interrupted, the hook does not run.
    ///
    /// [`NotDone`](Verdict::NotDone) is believed only after the
    /// [settle window](crate::StoreBuilder::settle_window). A request that the kernel holds for a killed process can
    /// arrive after the question about it.
    ///
    /// # Panics
    /// If `hook` panics. The call is then in doubt.
    ///
    /// ```
    /// use idem_runtime::{Error, Store, Verdict, call};
    ///
    /// let store = Store::temporary()?;
    /// let ask_provider = || -> Verdict<u32> { Verdict::NotDone };
    /// let paid: Result<u32, Error> =
    ///     call("docs.pay").store(&store).key("A-17").recover(ask_provider).run(|| Ok(42));
    /// assert_eq!(paid?, 42);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn recover<T, V>(self, hook: impl FnOnce() -> V) -> Recovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
    {
        let Call { mut plan, on_err, map_err } = self;
        let (name, function) = (plan.options.name.clone(), plan.function);
        plan.function.set_hook(&hook);
        let state = match Invocation::new(plan, check_result::<T>) {
            Ok(invocation) => {
                let recovery = invocation.recover(hook);
                State::of(invocation, recovery)
            }
            Err(error) => State::Ended(Err(error)),
        };
        Recovered { state, name, function, on_err, map_err }
    }

    /// Acquires the call, and asks the async `hook` first if an earlier attempt was cut off.
    ///
    /// The rules for the hook are those of [`recover`](Call::recover).
    ///
    /// # Panics
    /// If `hook` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// If this future is dropped while the hook runs, the call is in doubt again and no attempt was made.
    pub async fn recover_async<T, V, Fut>(self, hook: impl FnOnce() -> Fut) -> Recovered<T, P, M>
    where
        T: Value,
        V: IntoVerdict<T>,
        Fut: Future<Output = V>,
    {
        let Call { mut plan, on_err, map_err } = self;
        let (name, function) = (plan.options.name.clone(), plan.function);
        plan.function.set_hook(&hook);
        let state = match Invocation::new(plan, check_result::<T>) {
            Ok(invocation) => {
                let recovery = invocation.recover_async(hook).await;
                State::of(invocation, recovery)
            }
            Err(error) => State::Ended(Err(error)),
        };
        Recovered { state, name, function, on_err, map_err }
    }
}

impl<T, P, M> Recovered<T, P, M> {
    /// The parts of the call. Its function is compared again, because the hook alone does not identify the body.
    pub(crate) fn with_body<F>(mut self, body: &F) -> (State<T>, P, M) {
        self.function.set_body(body);
        let state = match self.state {
            State::Ended(Err(error)) => State::Ended(Err(error)),
            state => {
                self.function.check(&self.name).map_or_else(|error| State::Ended(Err(error)), |()| state)
            }
        };
        (state, self.on_err, self.map_err)
    }
}

impl<T: Value, P, M> Recovered<T, P, M> {
    /// Returns the answer of the call, and runs `body` if the call is not done.
    ///
    /// # Errors
    /// The errors of [`Call::run`].
    ///
    /// # Panics
    /// If `body` panics. The call is then in doubt.
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome<Ok = T>,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let (state, on_err, map_err) = self.with_body(&body);
        let answer = match state {
            State::Ended(result) => result.map(Ok),
            State::Ready(ready) => {
                let (invocation, ready) = *ready;
                let answer = invocation.finish(ready, &on_err, body);
                answer.map_err(|error| invocation.call.with_identity(error))
            }
        };
        into_return_type(answer, &map_err)
    }

    /// Returns the answer of the call, and runs the async `body` if the call is not done.
    ///
    /// # Errors
    /// The errors of [`Call::run`].
    ///
    /// # Panics
    /// If `body` or its future panics. The call is then in doubt.
    ///
    /// # Cancellation
    /// The effects of a drop are those of [`Call::run_async`].
    pub fn run_async<R, Fut, F>(self, body: F) -> RunAsync<P, M, F, Fut>
    where
        R: Outcome<Ok = T>,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        Fut: Future<Output = R>,
        F: FnOnce() -> Fut,
    {
        let (state, on_err, map_err) = self.with_body(&body);
        let first = match state {
            State::Ended(result) => Stage::Answered(result.map(Ok)),
            State::Ready(ready) => {
                let (invocation, ready) = *ready;
                Stage::Acquired { invocation, ready, on_err, body }
            }
        };
        RunAsync::new(first, map_err)
    }
}
