//! Interceptions: a call under `observe`, `peek` or `settle` is reported, read or settled.
//!
//! The function itself gives the name, the key and the types, so an operator does not repeat them.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bounds::Value;
use crate::encoding::codec;
use crate::encoding::codec::{Codec, Stored};
use crate::error::{Advice, Error, ErrorKind, Ran};
#[cfg(feature = "tx")]
use crate::protocol::record::Record;
use crate::protocol::record::Status;
use crate::store::snapshot::Snapshot;
use crate::sync::lock;

/// The outcome of a call in doubt, as given by an operator through [`settle`](crate::settle) or by a recovery hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The call was done, with this result.
    Done(T),
    /// The call was done, and its result is lost. Later calls get [`ResultGone`](crate::ErrorKind::ResultGone), unless the
    /// result has no content, such as `()`.
    DoneWithoutResult,
    /// The call was not done. The next call runs the body.
    NotDone,
    /// The outcome is unknown. The call stays in doubt.
    Unknown,
}

impl<T: Value> Verdict<T> {
    /// A result without content is known even if it is lost.
    pub(crate) fn with_known_result(self) -> Verdict<T> {
        match (self, codec::without_content()) {
            (Verdict::DoneWithoutResult, Some(value)) => Verdict::Done(value),
            (verdict, _) => verdict,
        }
    }
}

/// The effect of [`settle`](crate::settle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The record of the call is done now.
    Done,
    /// The record is deleted. The next call runs the body.
    NotDone,
    /// The call was not in doubt: its record has this status, or there is no record.
    NotInDoubt(Option<Status>),
}

/// How a call got its answer; see [`observe`](crate::observe).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The age of a replayed result, or zero if the clocks give no lower bound. `None` if the body ran.
    pub replayed: Option<Duration>,
    /// The number of the attempt that gave the answer, from 1.
    pub attempt: u32,
    /// The time that the call waited for a running call.
    pub waited: Duration,
    /// Whether a recovery hook gave the answer.
    pub recovered: bool,
}

/// The purpose of a scope whose first call is intercepted.
#[derive(Debug)]
pub(crate) struct Interception {
    /// Whether a call has consumed the interception.
    pub(crate) consumed: AtomicBool,
    pub(crate) purpose: Purpose,
}

/// Encodes the result of a verdict with the codec that the call chooses, and with its limit in bytes.
pub(crate) type Encode = Box<dyn Fn(Option<Codec>, usize) -> Result<Stored, Error> + Send>;

pub(crate) enum Purpose {
    Peek(Mutex<Option<Result<Option<Box<Snapshot>>, Error>>>),
    Settle { verdict: Mutex<Verdict<Encode>>, settled: Mutex<Option<Result<Settled, Error>>> },
    Observe(Mutex<Option<Seen>>),
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Peek(_) => "Peek",
            Purpose::Settle { .. } => "Settle",
            Purpose::Observe(_) => "Observe",
        })
    }
}

impl Interception {
    pub(crate) fn new(purpose: Purpose) -> Arc<Interception> {
        Arc::new(Interception { consumed: AtomicBool::new(false), purpose })
    }

    /// Stores how the call got its answer, for an observer.
    pub(crate) fn report(&self, seen: Seen) {
        if let Purpose::Observe(slot) = &self.purpose {
            *lock(slot) = Some(seen);
        }
    }

    /// Takes the report back, because the call failed after it.
    pub(crate) fn retract(&self) {
        if let Purpose::Observe(slot) = &self.purpose {
            *lock(slot) = None;
        }
    }

    /// Whether the interception replaces the call.
    pub(crate) fn is_look(&self) -> bool {
        !matches!(self.purpose, Purpose::Observe(_))
    }
}

/// Reports to the observer, if there is one, a call that neither waited nor was recovered.
#[cfg(feature = "tx")]
pub(crate) fn report(observer: Option<&Interception>, record: &Record, replayed: Option<Duration>) {
    if let Some(observer) = observer {
        let attempt = record.attempt;
        observer.report(Seen { replayed, attempt, waited: Duration::ZERO, recovered: false });
    }
}

/// The error of a call that `peek` or `settle` replaced. The program never sees this error.
pub(crate) fn not_made() -> Error {
    Error::new(ErrorKind::Running, Ran::No, "the call was only looked at")
}

/// The error of a second call under one `peek` or `settle`. The body of the second call must not run either.
pub(crate) fn one_call_only() -> Error {
    let message = "the closure of `peek` or `settle` made a second call";
    Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::OneCall)
}
