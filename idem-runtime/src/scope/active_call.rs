//! The running call, as its own body or recovery hook sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use crate::encoding::digest::{self, Namespace, Slot};
use crate::encoding::key::Key;
use crate::sync::lock;

/// The running call, as seen inside its body or recovery hook; see [`current`](crate::current).
#[derive(Clone, Debug)]
pub struct CurrentCall(Arc<ActiveCall>);

impl CurrentCall {
    pub(crate) fn new(call: Arc<ActiveCall>) -> CurrentCall {
        CurrentCall(call)
    }

    /// The name of the call.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key of the call, as text.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// The number of times the body was started.
    ///
    /// In a body, the number includes the current attempt. In a recovery hook, it counts the earlier attempts.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The wall time at which the call was first found in doubt.
    ///
    /// `Some` in a recovery hook and in an attempt that follows a doubt, else `None`.
    pub fn in_doubt_since(&self) -> Option<SystemTime> {
        self.0.in_doubt_since
    }

    /// A UUID, as text, that identifies this call: the idempotency key for a service downstream.
    ///
    /// Every attempt of the call has the same token, and no other call has it. The token is computed from the name, the
    /// key, and the store id or the [`token_namespace`](crate::StoreBuilder::token_namespace).
    pub fn token(&self) -> String {
        self.token_of(None)
    }

    /// A UUID, as text, that identifies one step of this call.
    ///
    /// Use one step for each effect of a body with several effects: `token_for("ship")`.
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

/// A call whose body or recovery hook is on the call stack or in the chain of awaits.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) store_id: [u8; 16],
    pub(crate) token_namespace: Option<Arc<str>>,
    pub(crate) slot: Slot,
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) in_doubt_since: Option<SystemTime>,
    /// Whether the record is written in the user's transaction.
    pub(crate) in_transaction: bool,
    /// The call whose body made this one.
    pub(crate) outer: Option<Arc<ActiveCall>>,
    /// Of a detached call: exists while the outer call awaits it. `None` if the outer call always waits for this one.
    pub(crate) awaited: Option<Weak<()>>,
    /// Whether a nested call failed with an error of this crate that leaves something unknown.
    pub(crate) inner_failed: AtomicBool,
    /// The errors of nested calls that were refused for certain. The body has handled an error that no longer exists.
    pub(crate) inner_refusals: Mutex<Vec<Weak<()>>>,
}

impl ActiveCall {
    /// Whether this call or an outer one has one of the slots.
    pub(crate) fn is_nested_in(&self, store_id: &[u8; 16], slots: &[Slot]) -> bool {
        self.any(&|call| call.store_id == *store_id && slots.contains(&call.slot))
    }

    /// Whether this call or an outer one is a call of the store.
    pub(crate) fn is_of_store(&self, store_id: &[u8; 16]) -> bool {
        self.any(&|call| call.store_id == *store_id)
    }

    /// Whether this call or an outer one is a `tx` call on the store.
    pub(crate) fn holds_transaction(&self, store_id: &[u8; 16]) -> bool {
        self.any(&|call| call.store_id == *store_id && call.in_transaction)
    }

    fn any(&self, is: &impl Fn(&ActiveCall) -> bool) -> bool {
        is(self) || self.waiting_outer().is_some_and(|outer| outer.any(is))
    }

    /// The outer call, if it waits for this one.
    fn waiting_outer(&self) -> Option<&ActiveCall> {
        let waits = self.awaited.as_ref().is_none_or(|awaited| awaited.strong_count() > 0);
        self.outer.as_deref().filter(|_| waits)
    }

    /// Notes that a nested call failed with an error of this crate.
    pub(crate) fn note_inner_failure(&self) {
        self.inner_failed.store(true, Ordering::Release);
    }

    /// Notes that a nested call was refused for certain. The refusal counts as a failure while `error` exists.
    pub(crate) fn note_inner_refusal(&self, error: Weak<()>) {
        let mut refusals = lock(&self.inner_refusals);
        if refusals.len() == refusals.capacity() {
            refusals.retain(exists);
        }
        refusals.push(error);
    }

    /// Passes the failures of nested calls on to the outer call, because this call ends with an `Err`.
    pub(crate) fn propagate_failure(&self) {
        let Some(outer) = &self.outer else { return };
        if self.inner_failed.load(Ordering::Acquire) {
            outer.note_inner_failure();
        }
        let refusals = std::mem::take(&mut *lock(&self.inner_refusals));
        refusals
            .iter()
            .filter(|error| exists(error))
            .for_each(|error| outer.note_inner_refusal(error.clone()));
        *lock(&self.inner_refusals) = refusals;
    }

    /// Whether an `Err` of the body may come from a nested call that failed with an error of this crate.
    pub(crate) fn has_inner_failure(&self) -> bool {
        self.inner_failed.load(Ordering::Acquire) || lock(&self.inner_refusals).iter().any(exists)
    }
}

fn exists(error: &Weak<()>) -> bool {
    error.strong_count() > 0
}
