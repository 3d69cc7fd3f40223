//! Calls that are made to be looked at, settled or observed: the name, the key and the types are those of the
//! function itself, so there is no second place to keep them in step.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::encoding::codec::Codec;
use crate::encoding::codec::Stored;
use crate::error::{Advice, Error, ErrorKind, Ran};
#[cfg(feature = "tx")]
use crate::protocol::record::Record;
use crate::protocol::record::Status;
use crate::store::snapshot::Snapshot;
use crate::sync::lock;

/// What became of a call: what an operator says with [`settle`], or a recovery hook finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It was done, and this is its result.
    Done(T),
    /// It was done; its result is lost. Later calls get [`ResultGone`](crate::ErrorKind::ResultGone).
    DoneWithoutResult,
    /// It was not done: the next call runs it.
    NotDone,
    /// Nobody knows: it stays in doubt.
    Unknown,
}

/// What [`settle`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The call is done from now on.
    Done,
    /// The call counts as not made.
    NotDone,
    /// There was nothing to settle: the call is finished (with this status), or was never made.
    NotInDoubt(Option<Status>),
}

/// How a call got its answer; see [`observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// `None` if the body ran now; the age of the stored result if it was replayed (zero where clocks do not tell).
    pub replayed: Option<Duration>,
    /// Which attempt gave the answer, from 1.
    pub attempt: u32,
    /// How long the call waited for another one.
    pub waited: Duration,
    /// A recovery hook gave the answer.
    pub recovered: bool,
}

#[derive(Debug)]
pub(crate) struct Interception {
    /// Whether a call has consumed it up.
    pub(crate) consumed: AtomicBool,
    pub(crate) purpose: Purpose,
}

/// Encodes the result of a verdict as the call itself would: codec, and the limit in bytes.
pub(crate) type Encode = Box<dyn Fn(Codec, usize) -> Result<Stored, Error> + Send>;

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

    /// Tells an observer how the call got its answer.
    pub(crate) fn report(&self, seen: Seen) {
        if let Purpose::Observe(slot) = &self.purpose {
            *lock(slot) = Some(seen);
        }
    }

    /// Whether the call is not to be made at all.
    pub(crate) fn is_look(&self) -> bool {
        !matches!(self.purpose, Purpose::Observe(_))
    }
}

/// Tells an observer, if there is one, of a call that neither waited nor was recovered.
#[cfg(feature = "tx")]
pub(crate) fn report(observer: Option<&Interception>, record: &Record, replayed: Option<Duration>) {
    if let Some(observer) = observer {
        let attempt = record.attempt;
        observer.report(Seen { replayed, attempt, waited: Duration::ZERO, recovered: false });
    }
}

/// What a call made under [`peek`] or [`settle`] answers; its caller never sees it.
pub(crate) fn not_made() -> Error {
    Error::new(ErrorKind::Running, Ran::No, "the call was only looked at")
}

/// A second call under one [`peek`] or [`settle`] must not run its body either.
pub(crate) fn one_call_only() -> Error {
    let message = "the closure of `peek` or `settle` made a second call";
    Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::OneCall)
}
