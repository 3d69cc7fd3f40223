//! The errors of calls that are refused.

use std::time::Duration;

use crate::encoding::fingerprint::Difference;
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::protocol::decide::Decision;
use crate::protocol::record::{Reason, Record, RecordOf, Status};
use crate::waiting::in_flight::Progress;

/// The `retry_after` of a refused call if the store knows no better time.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn mismatch(record: &Record, difference: Option<Difference>) -> Error {
    let Difference { names, is_compared } = difference.unwrap_or_default();
    event::mismatch(record, &names);
    let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let differ = match (is_compared, names.len()) {
        (false, _) => format!("the record has no argument named {listed}"),
        (true, 1) => format!("{listed} differs, or its type changed"),
        (true, _) => format!("{listed} differ, or their types changed"),
    };
    let message = format!("the key was used before with other arguments: {differ}");
    Error::new(ErrorKind::Mismatch, Ran::No, message).with_differing(names)
}

pub(crate) fn reentrant() -> Error {
    Error::new(ErrorKind::Reentrant, Ran::No, "the call reached itself with the same key")
}

pub(crate) fn result_gone<T, B: AsRef<[u8]>>(record: &RecordOf<T, B>) -> Error {
    let attempt = record.attempt;
    let why = record.reason.map_or("`keep_result` is over", Reason::text);
    let gone = |fact| Error::new(ErrorKind::ResultGone, Ran::No, fact);
    if record.status == Status::Failed {
        let why =
            if record.reason == Some(Reason::Unstorable) { "the error could not be stored" } else { why };
        return gone(format!("attempt {attempt} failed and its error is gone: {why}"))
            .with_failed(true)
            .advise(Advice::TreatAsFailed);
    }
    gone(format!("attempt {attempt} is done and its result is gone: {why}"))
}

/// The error for a decision to refuse an interrupted call.
pub(crate) fn in_doubt(record: &Record, reason: Option<Reason>, decision: Decision) -> Error {
    let why = reason.map_or("the attempt was cut off", Reason::text);
    event::in_doubt(record, why);
    let doubt = format!("attempt {} is in doubt: {why}", record.attempt);
    let refused = |message| Error::new(ErrorKind::InDoubt, Ran::Unknown, message);
    match (decision, reason) {
        (Decision::RefuseExhausted, _) => {
            refused(format!("{doubt}, and no further attempt is allowed")).advise(Advice::MoreAttempts)
        }
        (_, Some(Reason::RuntimeEnded)) => refused(doubt).advise(Advice::Drain),
        (_, Some(Reason::Dropped)) => refused(doubt).advise(Advice::Detach),
        _ => refused(doubt),
    }
}

/// The error of an operator's change to a call that runs, or whose end the writer thread could not write yet.
pub(crate) fn held(state: &StoreState, record: &Record) -> Error {
    if state.in_flight.progress(record.claim) == Progress::Ending {
        let message = "the call has ended, and its end is not written yet";
        return Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::SlowWrite).after(RETRY_AFTER);
    }
    running()
}

/// Adds to the error of a call in doubt that a retry asks the recovery hook again, and when.
///
/// Within the settle window, a `NotDone` is not believed before its end.
pub(crate) fn ask_again(error: Error, state: &StoreState, doubt: &Record) -> Error {
    let left = doubt.doubt_since.map_or(Duration::ZERO, |since| state.settles_in(since));
    let retry_after = if left.is_zero() { RETRY_AFTER } else { left };
    error.advise(Advice::AskAgain).after(retry_after)
}

/// The error of an operator's change to a running call.
pub(crate) fn running() -> Error {
    Error::new(ErrorKind::Running, Ran::No, "the call is running").advise(Advice::WaitOrSteal)
}

pub(crate) fn still_running(wait: Duration) -> Error {
    let message = format!("the same call is still running after a wait of {wait:?}");
    Error::new(ErrorKind::Running, Ran::No, message).after(RETRY_AFTER)
}

pub(crate) fn unprovable(wait: Duration) -> Error {
    let message = format!("the same call is held by an owner of unknown state after a wait of {wait:?}");
    Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::Steal).after(RETRY_AFTER)
}

/// The error of a call inside a `tx` body that holds the write lock of the same store.
pub(crate) fn transaction_not_passed() -> Error {
    let message = "the call waits for the transaction of the `tx` body that makes it";
    Error::new(ErrorKind::Reentrant, Ran::No, message).advise(Advice::PassTransaction)
}
