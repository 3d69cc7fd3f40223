//! What a call is told that gets no answer: what happened, whether the body ran, and the cure.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Ran};
use crate::event;
use crate::protocol::decide::Decision;
use crate::protocol::record::{Reason, Record};

/// When to ask again after a call that is still running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn mismatch(record: &Record, differing: &[&str]) -> Error {
    event::mismatch(record, differing);
    let names = differing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let differ =
        if differing.len() == 1 { "differs, or its type changed" } else { "differ, or their types changed" };
    Error::new(
        ErrorKind::Mismatch,
        Ran::No,
        format!(
            "the key was used before with other arguments: {names} {differ}. The body was not run. Use a key that tells \
             the two calls apart, or say what to compare with `fingerprint = …` or `skip(…)`"
        ),
    )
}

pub(crate) fn reentrant() -> Error {
    Error::new(
        ErrorKind::Reentrant,
        Ran::No,
        "the call reached itself with the same key; it would wait for itself for ever. Give the inner call another key",
    )
}

pub(crate) fn result_gone(record: &Record) -> Error {
    let why = record.reason.map_or("`keep_result` is over", Reason::text);
    let attempt = record.attempt;
    let message = format!("it is done (attempt {attempt}); its result is gone: {why}. Nothing was repeated");
    Error::new(ErrorKind::ResultGone, Ran::No, message)
}

/// `decision` tells whether `rerun` is spent.
pub(crate) fn in_doubt(record: &Record, reason: Option<Reason>, decision: Decision) -> Error {
    let why = reason.map_or("it was cut off", Reason::text);
    event::in_doubt(record, why);
    let attempt = record.attempt;
    let (spent, cure) = match (decision, reason) {
        (Decision::RefuseExhausted, _) => (
            "; no further attempt is allowed",
            "To settle it see `settle`; to allow more attempts see `on_interrupt = rerun(n)`",
        ),
        (_, Some(Reason::Dropped)) => (
            "",
            "To let the body finish next time add `detach`; to settle this one see `settle`; if repeating is safe, use \
             `on_interrupt = rerun`",
        ),
        _ => ("", "To settle it see `settle`; if repeating is safe, use `on_interrupt = rerun`"),
    };
    let message = format!("it is in doubt: {why} (attempt {attempt}){spent}. Nothing was repeated. {cure}");
    Error::new(ErrorKind::InDoubt, Ran::Unknown, message)
}

pub(crate) fn still_running(wait: Duration) -> Error {
    let message = format!(
        "the same call is running and did not end within {wait:?}; this one was not run. Retry later"
    );
    Error::new(ErrorKind::Running, Ran::No, message).after(RETRY_AFTER)
}

pub(crate) fn unprovable(wait: Duration) -> Error {
    let message = format!(
        "the same call runs in a program of which nothing can be proven (its lock file is missing, or it is in another \
         container), and it did not end within {wait:?}; this one was not run. If you know that program to be dead, take \
         the call from it with `Store::steal`"
    );
    Error::new(ErrorKind::Running, Ran::No, message).after(RETRY_AFTER)
}

/// A call on a store whose write lock the body around it holds.
pub(crate) fn beside_transaction() -> Error {
    Error::new(
        ErrorKind::Reentrant,
        Ran::No,
        "it is called inside a `tx` body on the same store, whose transaction it would wait for; it was not run. Give \
         it the transaction with `tx = …`, or call it outside",
    )
}
