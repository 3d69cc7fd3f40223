//! The outcome of a body: its meaning for the record, its recording, and its replay.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::request::{Caller, Reply};
use crate::bounds::{IntoError, Outcome, Value};
use crate::call::claim::{Claim, End};
use crate::call::prepared::{Options, Prepared};
use crate::call::refusal;
use crate::encoding::codec;
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::on_err::ErrPolicy;
use crate::policy::{Lifetime, OnErr};
use crate::protocol::record::{Reason, Record, RecordRef, Status};
use crate::scope::active_call::ActiveCall;
use crate::scope::context;
use crate::sync::deadline;
use crate::waiting::oneshot::OneShot;

/// A body that has ended, and whose outcome is with the writer.
#[derive(Debug)]
pub(crate) struct Recording<T, E> {
    outcome: Result<T, E>,
    record: Arc<Record>,
    pub(crate) reply: Arc<OneShot<Reply>>,
    pub(crate) deadline: Instant,
}

/// Hands the outcome of a body to the writer.
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
    let (end, outcome) = end_of(outcome, policy, active, &call.options, state.settings.result_bytes_max);
    record(state, claim, end, outcome, caller)
}

/// Hands a result that a recovery hook found to the writer.
pub(crate) fn record_recovered<T: Value>(
    call: &Prepared,
    state: &StoreState,
    claim: Claim,
    value: T,
    caller: Caller,
) -> Recording<T, Infallible> {
    let (end, value) = done(value, &call.options, state.settings.result_bytes_max);
    record(state, claim, end, Ok(value), caller)
}

fn record<T, E>(
    state: &StoreState,
    claim: Claim,
    end: End,
    outcome: Result<T, E>,
    caller: Caller,
) -> Recording<T, E> {
    let record = Arc::clone(claim.record());
    let deadline = deadline(state.settings.record_within);
    Recording { outcome, record, reply: claim.end(end, caller), deadline }
}

/// The meaning of an outcome for the record, and the outcome as the caller gets it.
///
/// A value or a remembered error is given as read back, which is the form that later callers get.
pub(crate) fn end_of<T, E, P>(
    outcome: Result<T, E>,
    policy: &P,
    active: &ActiveCall,
    options: &Options,
    bytes_max: usize,
) -> (End, Result<T, E>)
where
    T: Value,
    P: ErrPolicy<E>,
{
    match outcome {
        Ok(value) => {
            let (end, value) = done(value, options, bytes_max);
            (end, Ok(value))
        }
        Err(error) => {
            active.propagate_failure();
            let (end, error) = failed(error, policy, active.has_inner_failure(), options, bytes_max);
            (end, Err(error))
        }
    }
}

fn done<T: Value>(value: T, options: &Options, bytes_max: usize) -> (End, T) {
    if is_never_kept::<T>(options) {
        return (End::Finished(Status::Done, Err(Reason::NotKept)), value);
    }
    match codec::encode(&value, options.codec, bytes_max) {
        Ok(encoded) => (End::Finished(Status::Done, Ok(encoded.stored)), encoded.value_read_back),
        Err(unstorable) => {
            event::store_error(&unstorable.to_string());
            (End::Finished(Status::Done, Err(Reason::Unstorable)), value)
        }
    }
}

/// Whether the store never keeps a value of this type. A type with one value has no content, which costs nothing to keep.
fn is_never_kept<T>(options: &Options) -> bool {
    options.keep_result == Lifetime::ZERO && size_of::<T>() > 0
}

/// If an idempotent call inside the body failed with an [`Error`], the `Err` of the body is never remembered.
fn failed<E, P: ErrPolicy<E>>(
    error: E,
    policy: &P,
    inner_failed: bool,
    options: &Options,
    bytes_max: usize,
) -> (End, E) {
    match policy.judge(&error) {
        OnErr::Release => (End::Released, error),
        _ if inner_failed => (End::InDoubt(Reason::InnerFailed), error),
        OnErr::InDoubt => (End::InDoubt(Reason::ErrUnknown), error),
        OnErr::Remember if is_never_kept::<E>(options) => {
            (End::Finished(Status::Failed, Err(Reason::NotKept)), error)
        }
        OnErr::Remember => match policy.encode(&error, options.codec, bytes_max) {
            Some((stored, read_back)) => (End::Finished(Status::Failed, Ok(stored)), read_back),
            None => (End::Finished(Status::Failed, Err(Reason::Unstorable)), error),
        },
    }
}

impl<T, E> Recording<T, E> {
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// The outcome after the reply of the writer, or after the deadline if `reply` is `None`.
    ///
    /// An `Err` of the body is returned even if its record is not written.
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
            Some(Reply::Failed(error)) => Err(never_recorded(error)),
            Some(Reply::Granted(_)) | None => Err(not_recorded()),
        }
    }
}

/// Decodes the answer of a finished record.
pub(crate) fn replay<T, E, P>(record: &RecordRef<'_>, policy: &P) -> Result<Result<T, E>, Error>
where
    T: Value,
    P: ErrPolicy<E>,
{
    let Some(stored) = record.result else { return Err(refusal::result_gone(record)) };
    if record.status == Status::Failed {
        return policy.decode(stored).map(Err).map_err(|why| undecodable(why).with_failed(true));
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

/// The error of an outcome that the store tries no more to write.
fn never_recorded(error: Error) -> Error {
    if error.kind() == ErrorKind::Damaged {
        return not_recorded().because(error);
    }
    let message = "the outcome of the body is not written, and the store writes nothing any more";
    Error::new(ErrorKind::NotRecorded, Ran::Yes, message).advise(Advice::InDoubtAfterRestart).because(error)
}

fn not_recorded() -> Error {
    Error::new(ErrorKind::NotRecorded, Ran::Yes, "the outcome of the body is not written yet")
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
