//! The scope of a piece of code: its store, its running call, its interception.
//!
//! Scopes live in a thread-local. The scope of a task is entered at every poll and left after it, so it follows the task
//! to any thread and executor. A spawned task does not inherit the scope of the body that spawns it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::backend::request::{Caller, Request, Submit};
use crate::engine::state::StoreState;
use crate::error::Error;
use crate::scope::active_call::{ActiveCall, CurrentCall};
use crate::scope::interception;
use crate::scope::interception::Interception;
use crate::store::Store;

/// The innermost call whose body or recovery hook is running here. `None` outside of a call.
///
/// A service that takes an idempotency key gets the [`token`](CurrentCall::token) of the call:
///
/// ```
/// # use idem_runtime::{Error, OnInterrupt, Store, call, current};
/// # let store = Store::temporary()?;
/// let token: Result<String, Error> = call("docs.charge").store(&store).key("A-17").run(|| {
///     // gateway.charge(…, idempotency_key = token)
///     Ok(current().map(|call| call.token()).unwrap_or_default())
/// });
/// assert_eq!(token?.len(), 36);
/// # Ok::<(), Error>(())
/// ```
pub fn current() -> Option<CurrentCall> {
    scope().call.clone().map(CurrentCall::new)
}

/// Runs `body` with `store` as the default store of its calls.
///
/// The store serves every call that names no store, on this thread, until `body` returns. Use this function in tests,
/// and in programs with several stores. For tasks see [`with_store_async`].
///
/// ```
/// use idem_runtime::Store;
///
/// let store = Store::temporary()?;
/// let answer: Result<u32, idem_runtime::Error> =
///     idem_runtime::with_store(&store, || idem_runtime::call("docs.scoped").key("A-17").run(|| Ok(42)));
/// assert_eq!(answer?, 42);
/// # Ok::<(), idem_runtime::Error>(())
/// ```
pub fn with_store<R>(store: &Store, body: impl FnOnce() -> R) -> R {
    let _entered = enter(scope_with(store));
    body()
}

/// Runs `future` with `store` as the default store of its calls.
///
/// The store serves every call in `future` that names no store, on any thread that polls the future. A task that the
/// future spawns does not inherit the store.
///
/// # Cancellation
/// Dropping the returned future drops `future`.
///
/// ```
/// use idem_runtime::{Error, Store, call, with_store_async};
///
/// async fn answer(store: &Store) -> Result<u32, Error> {
///     with_store_async(store, call("docs.scoped").key("A-17").run_async(async || Ok(42))).await
/// }
/// ```
pub fn with_store_async<F: Future>(store: &Store, future: F) -> impl Future<Output = F::Output> {
    within(|| scope_with(store), future, |output| output)
}

/// The store, the running call and the interception of a piece of code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) store: Option<Store>,
    pub(crate) call: Option<Arc<ActiveCall>>,
    pub(crate) interception: Option<Arc<Interception>>,
    /// Of a detached call: exists while its caller awaits it. `None` if the caller of the code always waits for it.
    pub(crate) awaited: Option<Weak<()>>,
}

impl Scope {
    /// The interception of the scope, for its first call. `None` for a later call.
    ///
    /// An error if the interception replaces the call and an earlier call has consumed it.
    pub(crate) fn consume_interception(&self) -> Result<Option<Arc<Interception>>, Error> {
        let Some(interception) = &self.interception else { return Ok(None) };
        match interception.consumed.swap(true, Ordering::AcqRel) {
            false => Ok(Some(Arc::clone(interception))),
            true if interception.is_look() => Err(interception::one_call_only()),
            true => Ok(None),
        }
    }
}

thread_local! {
    static SCOPE: RefCell<Arc<Scope>> = RefCell::default();
}

/// The innermost scope. Empty while the thread destroys its thread-locals.
pub(crate) fn scope() -> Arc<Scope> {
    SCOPE.try_with(|scope| Arc::clone(&scope.borrow())).unwrap_or_default()
}

/// Whether this code runs inside a call.
pub(crate) fn is_in_call() -> bool {
    scope().call.is_some()
}

/// An error if the store accepts no calls. A closing store still accepts nested calls, because it waits for their outer
/// calls.
pub(crate) fn check_usable(state: &StoreState) -> Result<(), Error> {
    state.check_usable()?;
    if state.is_closing() && !is_in_call() { Err(Error::closed()) } else { Ok(()) }
}

/// Submits a request, outside of the scope of the current call.
///
/// A blocked caller may write inline. Wakers and `tracing` subscribers that then run on its thread see an empty scope.
pub(crate) fn submit(to: &dyn Submit, request: Request, caller: Caller) {
    let _outside = (caller == Caller::Blocking).then(|| enter(Arc::default()));
    to.submit(request, caller);
}

/// Enters a scope until the guard is dropped.
pub(crate) fn enter(scope: Arc<Scope>) -> ScopeGuard {
    ScopeGuard { outer: SCOPE.try_with(|current| current.replace(scope)).ok() }
}

/// An entered scope. Dropping the guard returns to the outer scope.
#[must_use]
pub(crate) struct ScopeGuard {
    outer: Option<Arc<Scope>>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            // Fails only while the thread destroys its thread-locals. No code reads the scope then.
            let _ = SCOPE.try_with(|current| current.replace(outer));
        }
    }
}

pin_project! {
    /// A future with every poll inside a scope. Holds the future once, and makes the scope at the first poll.
    #[must_use]
    pub(crate) struct Within<S, F, E> {
        make: S,
        scope: Option<Arc<Scope>>,
        #[pin]
        future: F,
        end: E,
    }
}

/// Runs a future inside the scope that `make` gives. `end` makes the output, outside of the scope.
pub(crate) fn within<S, F, E, T>(make: S, future: F, end: E) -> Within<S, F, E>
where
    S: FnMut() -> Arc<Scope>,
    F: Future,
    E: FnMut(F::Output) -> T,
{
    Within { make, scope: None, future, end }
}

impl<S, F, E, T> Future for Within<S, F, E>
where
    S: FnMut() -> Arc<Scope>,
    F: Future,
    E: FnMut(F::Output) -> T,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        let scope = Arc::clone(this.scope.get_or_insert_with(this.make));
        let polled = {
            let _entered = enter(scope);
            this.future.poll(context)
        };
        polled.map(this.end)
    }
}

fn scope_with(store: &Store) -> Arc<Scope> {
    let outer = scope();
    Arc::new(Scope {
        store: Some(store.clone()),
        call: outer.call.clone(),
        interception: outer.interception.clone(),
        awaited: outer.awaited.clone(),
    })
}
