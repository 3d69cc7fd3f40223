//! The events for `tracing` subscribers: names, keys and attempts, never arguments or results.
//!
//! A subscriber must not call the store: the writer thread emits events too, and would wait for itself.
//! Without the `tracing` feature, every function here is empty.

#![cfg_attr(
    not(feature = "tracing"),
    allow(unused_variables, reason = "no event is emitted without the feature")
)]

use crate::protocol::record::{Record, RecordRef};

macro_rules! emit {
    ($level:ident, $($event:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "idem", $($event)*);
    }};
}

pub(crate) fn claimed(record: &Record) {
    emit!(debug, name = %record.name, key = %record.key.escape_debug(), attempt = record.attempt, claim = record.claim, "claimed");
}

pub(crate) fn executed(record: &Record) {
    emit!(debug, name = %record.name, key = %record.key.escape_debug(), attempt = record.attempt, "executed");
}

pub(crate) fn replayed(record: &RecordRef<'_>, age_ms: Option<i64>) {
    emit!(debug, name = %String::from_utf8_lossy(record.name), key = %String::from_utf8_lossy(record.key).escape_debug(), attempt = record.attempt, age_ms, "replayed");
}

pub(crate) fn waited(name: &str, key: &str, waited_ms: u128) {
    emit!(debug, name, key = %key.escape_debug(), waited_ms = u64::try_from(waited_ms).unwrap_or(u64::MAX), "waited");
}

pub(crate) fn mismatch(record: &Record, differing: &[&str]) {
    emit!(warn, name = %record.name, key = %record.key.escape_debug(), attempt = record.attempt, differing = ?differing, "mismatch");
}

pub(crate) fn in_doubt(record: &Record, reason: &str) {
    emit!(warn, name = %record.name, key = %record.key.escape_debug(), attempt = record.attempt, reason, "in doubt");
}

pub(crate) fn fenced(record: &Record) {
    emit!(warn, name = %record.name, key = %record.key.escape_debug(), attempt = record.attempt, claim = record.claim, "fenced");
}

pub(crate) fn store_error(what: &str) {
    emit!(error, what, "store error");
}

pub(crate) fn unfinished_at_open(count: i64) {
    emit!(warn, count, "calls are running or in doubt; see `list` and `settle`");
}

pub(crate) fn check_skipped(bytes: u64) {
    emit!(warn, bytes, "the store ended uncleanly and is too large to be checked at open");
}

pub(crate) fn lost_records_accepted() {
    emit!(warn, "the store has lost records; recovery hooks are asked before new calls");
}

pub(crate) fn other_machine() {
    emit!(warn, "the store was opened on another machine before; copies of a store give the same tokens");
}

pub(crate) fn volatile_mount(kind: &str) {
    emit!(warn, kind, "the store is on a mount that does not survive a power failure or its container");
}

pub(crate) fn second_library(pid: u32) {
    emit!(warn, pid, "another copy of this library has the store open in this process");
}

/// A future that runs in the span in which it was created.
#[cfg(feature = "tokio")]
pub(crate) fn in_current_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    return tracing::Instrument::in_current_span(future);
    #[cfg(not(feature = "tracing"))]
    future
}

/// A closure for another thread, whose events go to the subscriber of the current thread.
pub(crate) fn with_current_subscriber<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    #[cfg(feature = "tracing")]
    {
        let subscriber = tracing::dispatcher::get_default(Clone::clone);
        move || tracing::dispatcher::with_default(&subscriber, work)
    }
    #[cfg(not(feature = "tracing"))]
    work
}
