//! The scope in which the body or the recovery hook of a call runs.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::call::claim::Claim;
use crate::engine::state::StoreState;
use crate::protocol::record::Record;
use crate::scope::active_call::ActiveCall;
use crate::scope::context;
use crate::scope::context::Scope;

/// The scope of one body or hook, and the call that this scope names.
#[derive(Debug)]
pub(crate) struct BodyScope {
    scope: Arc<Scope>,
    pub(crate) call: Arc<ActiveCall>,
}

impl BodyScope {
    /// The scope of a body or hook under `claim`.
    pub(crate) fn of_claim(state: &StoreState, claim: &Claim) -> BodyScope {
        let settings = &state.settings;
        BodyScope::new(ActiveCall {
            token_namespace: settings.token_namespace.clone(),
            in_doubt_since: claim.in_doubt_since().map(|since| state.backend.wall_time(since)),
            ..active_call(settings.store_id, claim.record())
        })
    }

    /// The scope of a `tx` body whose record is written on the user's connection.
    #[cfg(feature = "tx")]
    pub(crate) fn in_transaction(store_id: [u8; 16], record: &Record) -> BodyScope {
        BodyScope::new(ActiveCall { in_transaction: true, ..active_call(store_id, record) })
    }

    fn new(call: ActiveCall) -> BodyScope {
        let outer = context::scope();
        let (around, awaited) = (outer.call.clone(), outer.awaited.clone());
        let call = Arc::new(ActiveCall { outer: around, awaited, ..call });
        let store = outer.store.clone();
        let scope = Scope { store, call: Some(Arc::clone(&call)), interception: None, awaited: None };
        BodyScope { scope: Arc::new(scope), call }
    }

    /// Runs `body` inside the scope.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        let _entered = context::enter(Arc::clone(&self.scope));
        body()
    }
}

fn active_call(store_id: [u8; 16], record: &Record) -> ActiveCall {
    ActiveCall {
        store_id,
        token_namespace: None,
        slot: record.slot,
        name: record.name.clone(),
        key: record.key.clone(),
        attempt: record.attempt,
        in_doubt_since: None,
        in_transaction: false,
        outer: None,
        awaited: None,
        inner_failed: AtomicBool::new(false),
        inner_refusals: Mutex::default(),
    }
}
