//! What the end of a body means: the typed half of a call, shared by its sync and async form.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::backend::request::{Caller, Reply};
use crate::bounds::Value;
use crate::call::Prepared;
use crate::call::claim::{Claim, End};
use crate::encoding::codec;
use crate::encoding::codec::Codec;
use crate::engine::state::StoreState;
use crate::error::{Error, ErrorKind, Ran};
use crate::event;
use crate::on_err::ErrPolicy;
use crate::policy::{Lifetime, OnErr};
use crate::protocol::record::{Reason, Record, RecordRef, Status};
use crate::scope::active_call::ActiveCall;
use crate::scope::context;
use crate::scope::context::Scope;
use crate::sync::deadline;
use crate::waiting::oneshot::OneShot;

/// The scope of a body: its store, and the call it is.
pub(crate) fn scope(state: &StoreState, claim: &Claim) -> (Arc<Scope>, Arc<ActiveCall>) {
    let record = claim.record();
    let outer = context::scope();
    let active = Arc::new(ActiveCall {
        store_id: state.settings.store_id,
        token_namespace: state.settings.token_namespace.clone(),
        slot: record.slot,
        name: record.name.clone(),
        key: record.key.clone(),
        attempt: record.attempt,
        in_doubt_since: claim.in_doubt_since().map(|since| state.backend.wall_time(since)),
        in_transaction: false,
        outer: outer.call.clone(),
        inner_failed: AtomicBool::new(false),
    });
    let scope = Scope { store: outer.store.clone(), call: Some(Arc::clone(&active)), interception: None };
    (Arc::new(scope), active)
}

/// A body that has ended: its outcome is with the writer, and goes to the caller when it is written.
#[derive(Debug)]
pub(crate) struct Recording<T, E> {
    outcome: Result<T, E>,
    record: Arc<Record>,
    pub(crate) reply: Arc<OneShot<Reply>>,
    pub(crate) deadline: Instant,
}

/// Hands the outcome to the writer.
pub(crate) fn record_outcome<T, E, P>(
    call: &Prepared,
    state: &StoreState,
    claim: Claim,
    active: &ActiveCall,
    outcome: Result<T, E>,
    policy: &P,
    caller: Caller,
) -> Recording<T, E>
where
    T: Value,
    P: ErrPolicy<E>,
{
    let bytes_max = state.settings.result_bytes_max;
    let record = Arc::clone(claim.record());
    let (end, outcome) = match outcome {
        Ok(value) => {
            let (end, value) = done(value, call.codec, call.keep_result, bytes_max);
            (end, Ok(value))
        }
        Err(error) => {
            active.propagate_failure();
            let (end, error) = failed(error, policy, active.has_inner_failure(), call, bytes_max);
            (end, Err(error))
        }
    };
    let limit = deadline(state.settings.record_within);
    let reply = claim.end(end, caller);
    Recording { outcome, record, reply, deadline: limit }
}

/// Hands a result that a recovery hook found to the writer.
pub(crate) fn record_recovered<T: Value>(
    call: &Prepared,
    state: &StoreState,
    claim: Claim,
    value: T,
    caller: Caller,
) -> Recording<T, Infallible> {
    let record = Arc::clone(claim.record());
    let (end, value) = done(value, call.codec, call.keep_result, state.settings.result_bytes_max);
    let limit = deadline(state.settings.record_within);
    let reply = claim.end(end, caller);
    Recording { outcome: Ok(value), record, reply, deadline: limit }
}

/// The first caller gets the value as it reads back, which is what later ones get.
pub(crate) fn done<T: Value>(value: T, codec: Codec, keep: Lifetime, bytes_max: usize) -> (End, T) {
    if keep == Lifetime::ZERO {
        return (End::Finished(Status::Done, Err(Reason::NotKept)), value);
    }
    match codec::encode(&value, codec, bytes_max) {
        Ok(encoded) => (End::Finished(Status::Done, Ok(encoded.stored)), encoded.value_read_back),
        Err(unstorable) => {
            event::store_error(&unstorable.to_string());
            (End::Finished(Status::Done, Err(Reason::Unstorable)), value)
        }
    }
}

/// An `Err` that came about because a call inside failed with an error of ours is never remembered.
pub(crate) fn failed<E, P: ErrPolicy<E>>(
    error: E,
    policy: &P,
    inner_failed: bool,
    call: &Prepared,
    bytes_max: usize,
) -> (End, E) {
    match policy.judge(&error) {
        OnErr::Release => (End::Released, error),
        _ if inner_failed => (End::InDoubt(Reason::InnerFailed), error),
        OnErr::InDoubt => (End::InDoubt(Reason::ErrUnknown), error),
        OnErr::Remember if call.keep_result == Lifetime::ZERO => {
            (End::Finished(Status::Failed, Err(Reason::NotKept)), error)
        }
        OnErr::Remember => match policy.encode(&error, call.codec, bytes_max) {
            Some((stored, read_back)) => (End::Finished(Status::Failed, Ok(stored)), read_back),
            None => (End::Finished(Status::Failed, Err(Reason::Unstorable)), error),
        },
    }
}

impl<T, E> Recording<T, E> {
    /// The outcome, once the writer has answered; `None` means that it has not within the time allowed.
    ///
    /// An `Err` of the body is the caller's whatever became of its record.
    pub(crate) fn outcome(self, reply: Option<Reply>) -> Result<Result<T, E>, Error> {
        let value = match self.outcome {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        match reply {
            Some(Reply::Written) => {
                event::executed(&self.record);
                Ok(Ok(value))
            }
            Some(Reply::Stands(_)) => {
                event::fenced(&self.record);
                Err(fenced())
            }
            Some(Reply::Failed(error)) => Err(not_recorded().because(error)),
            Some(Reply::Granted(_)) | None => Err(not_recorded()),
        }
    }
}

/// The answer of a finished record.
pub(crate) fn replay<T, E, P>(record: &RecordRef<'_>, policy: &P) -> Result<Result<T, E>, Error>
where
    T: Value,
    P: ErrPolicy<E>,
{
    let Some(stored) = record.result else {
        return Err(Error::new(ErrorKind::ResultGone, Ran::No, "the call is done and its result is gone"));
    };
    if record.status == Status::Failed {
        return policy.decode(stored).map(Err).map_err(undecodable);
    }
    codec::decode(stored).map(Ok).map_err(|why| undecodable(why.to_string()))
}

fn undecodable(why: String) -> Error {
    Error::new(ErrorKind::Undecodable, Ran::No, why)
}

fn fenced() -> Error {
    let message =
        "an operator took the call from its owner while the body ran, and the outcome is not recorded";
    Error::new(ErrorKind::Fenced, Ran::Yes, message)
}

fn not_recorded() -> Error {
    Error::new(ErrorKind::NotRecorded, Ran::Yes, "the outcome of the body is not written yet")
}
