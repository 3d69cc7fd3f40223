//! What surrounds a piece of code: the store in scope, the call whose body it is, what an operator asked for.
//!
//! Scopes live in a thread-local. A task's scope is entered at every poll and left after it, so that it follows the
//! task to whatever thread and executor. Code that a body hands elsewhere (a spawned task) is out of our sight.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::backend::request::{Caller, Request, Submit};
use crate::encoding::digest;
use crate::encoding::digest::{Namespace, Slot};
use crate::encoding::key::Key;
use crate::engine::state::StoreState;
use crate::error::Error;
use crate::scope::interception;
use crate::scope::interception::Interception;
use crate::store::Store;

#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) store: Option<Store>,
    pub(crate) call: Option<Arc<ActiveCall>>,
    pub(crate) interception: Option<Arc<Interception>>,
}

impl Scope {
    /// The interception of a scope, for the first call that asks; a further call goes its own way, but for one that is not to be
    /// made at all.
    pub(crate) fn consume_interception(&self) -> Result<Option<Arc<Interception>>, Error> {
        let Some(interception) = &self.interception else { return Ok(None) };
        match interception.consumed.swap(true, Ordering::AcqRel) {
            false => Ok(Some(Arc::clone(interception))),
            true if interception.is_look() => Err(interception::one_call_only()),
            true => Ok(None),
        }
    }
}

/// A call whose body is on the stack, or in the chain of awaits.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) store_id: [u8; 16],
    pub(crate) token_namespace: Option<Arc<str>>,
    pub(crate) slot: Slot,
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) in_doubt_since: Option<SystemTime>,
    /// Its record is written in a transaction of the user's.
    pub(crate) in_transaction: bool,
    /// The call that made this one.
    pub(crate) outer: Option<Arc<ActiveCall>>,
    /// An idempotent call inside it failed with an error of ours.
    pub(crate) inner_failed: AtomicBool,
}

impl ActiveCall {
    /// Whether this call, or one it stands in, is the one of a slot.
    pub(crate) fn is_nested_in(&self, store_id: &[u8; 16], slots: &[Slot]) -> bool {
        self.any(&|call| call.store_id == *store_id && slots.contains(&call.slot))
    }

    /// Whether this call, or one it stands in, holds a write transaction on the store.
    pub(crate) fn holds_transaction(&self, store_id: &[u8; 16]) -> bool {
        self.any(&|call| call.store_id == *store_id && call.in_transaction)
    }

    fn any(&self, is: &impl Fn(&ActiveCall) -> bool) -> bool {
        is(self) || self.outer.as_ref().is_some_and(|outer| outer.any(is))
    }

    pub(crate) fn note_inner_failure(&self) {
        self.inner_failed.store(true, Ordering::Release);
    }

    /// This call ends with an `Err`: if that came about by a failure inside, it is one for the call around it too.
    pub(crate) fn propagate_failure(&self) {
        if let (true, Some(outer)) = (self.has_inner_failure(), &self.outer) {
            outer.note_inner_failure();
        }
    }

    pub(crate) fn has_inner_failure(&self) -> bool {
        self.inner_failed.load(Ordering::Acquire)
    }
}

/// The idempotent call whose body or recovery hook is running here; see [`current`].
#[derive(Clone, Debug)]
pub struct CurrentCall(Arc<ActiveCall>);

/// The innermost idempotent call whose body or recovery hook is running here, if any.
///
/// Its [`token`](CurrentCall::token) is what to hand to a service that takes an idempotency key:
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
    scope().call.clone().map(CurrentCall)
}

impl CurrentCall {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its key, as text.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// How many times the body was started, this time included. In a recovery hook: how many times before it.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// In a recovery hook, and in an attempt after a doubt: since when the call was in doubt.
    pub fn in_doubt_since(&self) -> Option<SystemTime> {
        self.0.in_doubt_since
    }

    /// A UUID that is the same at every attempt of this call and different for every other call: the idempotency
    /// key for a service downstream.
    ///
    /// Made from the store's id (or its `token_namespace`), the name and the key.
    pub fn token(&self) -> String {
        self.token_of(None)
    }

    /// The same for one of several effects of this call.
    pub fn token_for(&self, step: &str) -> String {
        self.token_of(Some(step))
    }

    fn token_of(&self, step: Option<&str>) -> String {
        let namespace = match &self.0.token_namespace {
            Some(namespace) => Namespace::Named(namespace),
            None => Namespace::Store(&self.0.store_id),
        };
        digest::token(namespace, &self.0.name, &Key::stored(self.0.key.clone()), step)
    }
}

thread_local! {
    static SCOPE: RefCell<Arc<Scope>> = RefCell::default();
}

/// The innermost scope. Empty while the thread is being torn down.
pub(crate) fn scope() -> Arc<Scope> {
    SCOPE.try_with(|scope| Arc::clone(&scope.borrow())).unwrap_or_default()
}

/// Whether this code is part of a call's body.
pub(crate) fn is_in_call() -> bool {
    scope().call.is_some()
}

/// Refuses the use of a store that takes no calls. While it closes, calls inside of running ones still pass: they are
/// waited for.
pub(crate) fn check_usable(state: &StoreState) -> Result<(), Error> {
    state.check_usable()?;
    if state.is_closing() && !is_in_call() { Err(Error::closed()) } else { Ok(()) }
}

/// Has a request written, here or by the store's thread. Whom that wakes and what it tells stand outside of the call
/// that this thread is making.
pub(crate) fn submit(to: &dyn Submit, request: Request, caller: Caller) {
    let _outside = (caller == Caller::Blocking).then(|| enter(Arc::default()));
    to.submit(request, caller);
}

/// Enters a scope until the guard is dropped.
pub(crate) fn enter(scope: Arc<Scope>) -> ScopeGuard {
    ScopeGuard { outer: SCOPE.try_with(|current| current.replace(scope)).ok() }
}

#[must_use]
pub(crate) struct ScopeGuard {
    outer: Option<Arc<Scope>>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            // Fails only while the thread is torn down, when nothing can look at it any more.
            let _ = SCOPE.try_with(|current| current.replace(outer));
        }
    }
}

/// Polls a future inside a scope.
pub(crate) async fn within<F: Future>(scope: Arc<Scope>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _entered = enter(Arc::clone(&scope));
        future.as_mut().poll(context)
    })
    .await
}

/// Runs `body` with `store` as the store of every idempotent call in it that names none. For tests, and for programs
/// with several stores.
///
/// It is in force on this thread until `body` returns; for tasks see [`with_store_async`].
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

/// The same for a future: in force whenever it is polled, on whatever thread. Tasks it spawns do not inherit it.
///
/// # Cancellation
/// Dropping it drops `future`.
pub async fn with_store_async<F: Future>(store: &Store, future: F) -> F::Output {
    within(scope_with(store), future).await
}

fn scope_with(store: &Store) -> Arc<Scope> {
    let outer = scope();
    Arc::new(Scope {
        store: Some(store.clone()),
        call: outer.call.clone(),
        interception: outer.interception.clone(),
    })
}
