//! Calls that are made to be looked at, settled or observed: the name, the key and the types are those of the
//! function itself, so there is no second place to keep them in step.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bounds::Value;
use crate::codec::{self, Codec};
use crate::context::{self, Scope};
use crate::error::{Error, ErrorKind, Ran};
#[cfg(feature = "tx")]
use crate::record::Record;
use crate::record::{Status, StoredResult};
use crate::signal::lock;
use crate::snapshot::Snapshot;

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
pub(crate) struct Intent {
    /// Whether a call has taken it up.
    taken: AtomicBool,
    pub(crate) kind: Kind,
}

/// Encodes the result of a verdict as the call itself would: codec, and the limit in bytes.
pub(crate) type Encode = Box<dyn Fn(Codec, usize) -> Result<StoredResult, Error> + Send>;

pub(crate) enum Kind {
    Peek(Mutex<Option<Result<Option<Box<Snapshot>>, Error>>>),
    Settle { verdict: Mutex<Verdict<Encode>>, settled: Mutex<Option<Result<Settled, Error>>> },
    Observe(Mutex<Option<Seen>>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Peek(_) => "Peek",
            Kind::Settle { .. } => "Settle",
            Kind::Observe(_) => "Observe",
        })
    }
}

impl Intent {
    fn new(kind: Kind) -> Arc<Intent> {
        Arc::new(Intent { taken: AtomicBool::new(false), kind })
    }

    /// Tells an observer how the call got its answer.
    pub(crate) fn saw(&self, seen: Seen) {
        if let Kind::Observe(slot) = &self.kind {
            *lock(slot) = Some(seen);
        }
    }

    /// Whether the call is not to be made at all.
    pub(crate) fn is_look(&self) -> bool {
        !matches!(self.kind, Kind::Observe(_))
    }

    fn scope(self: &Arc<Self>) -> Arc<Scope> {
        let outer = context::scope();
        Arc::new(Scope { intent: Some(Arc::clone(self)), ..Scope::clone(&outer) })
    }
}

/// Tells an observer, if there is one, of a call that neither waited nor was recovered.
#[cfg(feature = "tx")]
pub(crate) fn saw(observer: Option<&Intent>, record: &Record, replayed: Option<Duration>) {
    if let Some(observer) = observer {
        let attempt = record.attempt;
        observer.saw(Seen { replayed, attempt, waited: Duration::ZERO, recovered: false });
    }
}

/// The intent of a scope, for the first call that asks; a further call goes its own way, but for one that is not to be
/// made at all.
pub(crate) fn take_up(scope: &Scope) -> Result<Option<Arc<Intent>>, Error> {
    let Some(intent) = &scope.intent else { return Ok(None) };
    match intent.taken.swap(true, Ordering::AcqRel) {
        false => Ok(Some(Arc::clone(intent))),
        true if intent.is_look() => Err(one_call_only()),
        true => Ok(None),
    }
}

/// What a call made under [`peek`] or [`settle`] answers; its caller never sees it.
pub(crate) fn not_made() -> Error {
    Error::new(ErrorKind::Running, Ran::No, "the call was only looked at; its body did not run")
}

/// A second call under one [`peek`] or [`settle`] must not run its body either.
fn one_call_only() -> Error {
    Error::new(
        ErrorKind::BadArgument,
        Ran::No,
        "`peek` and `settle` take one call: the closure made a second one, whose body was not run",
    )
}

fn no_call() -> Error {
    Error::new(ErrorKind::BadArgument, Ran::No, "the closure made no idempotent call")
}

/// Looks at the record of the call that `call` makes, without making it. Arguments other than the key are not
/// compared.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, peek};
/// #[idempotent(key = invoice)]
/// fn pay(invoice: &str) -> Result<u32, Error> {
///     Ok(42)
/// }
///
/// # let store = Store::temporary()?;
/// # idem_runtime::with_store(&store, || {
/// assert!(peek(|| pay("A-17"))?.is_none());
/// pay("A-17")?;
/// assert_eq!(peek(|| pay("A-17"))?.unwrap().result::<u32>()?, 42);
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// What keeps the record from being read; [`ErrorKind::BadArgument`] if the closure makes no idempotent call.
pub fn peek<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<Option<Snapshot>, Error> {
    let intent = Intent::new(Kind::Peek(Mutex::default()));
    {
        let _entered = context::enter(intent.scope());
        // The call's own answer says only that it was not made.
        let _ = call();
    }
    peeked(&intent)
}

/// The same for an async function.
///
/// # Errors
/// As [`peek`].
///
/// # Cancellation
/// Nothing is changed at any point.
pub async fn peek_async<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<Option<Snapshot>, Error> {
    let intent = Intent::new(Kind::Peek(Mutex::default()));
    let _ = context::within(intent.scope(), call).await;
    peeked(&intent)
}

fn peeked(intent: &Intent) -> Result<Option<Snapshot>, Error> {
    match &intent.kind {
        Kind::Peek(found) => match lock(found).take() {
            Some(found) => Ok(found?.map(|snapshot| *snapshot)),
            None => Err(no_call()),
        },
        _ => Err(no_call()),
    }
}

/// Says what became of a call in doubt, through the call itself: no names, no second key, and the result has the
/// function's own type. The body does not run.
///
/// ```
/// # use idem_runtime::{Error, Settled, Store, Verdict, idempotent, settle};
/// #[idempotent(key = invoice, on_err = in_doubt)]
/// fn pay(invoice: &str) -> Result<u32, String> {
///     Err("timed out".to_owned())
/// }
///
/// # let store = Store::temporary()?;
/// # idem_runtime::with_store(&store, || {
/// assert!(pay("A-17").is_err()); // in doubt from now on
/// assert_eq!(settle(Verdict::Done(42), || pay("A-17"))?, Settled::Done);
/// assert_eq!(pay("A-17"), Ok(42));
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Running`] if the call runs; [`ErrorKind::BadArgument`] if the verdict is `Unknown`, its type is not
/// the function's, or the closure makes no idempotent call; [`ErrorKind::Store`].
pub fn settle<T, E>(verdict: Verdict<T>, call: impl FnOnce() -> Result<T, E>) -> Result<Settled, Error>
where
    T: Value + Send + 'static,
{
    let intent = settling(verdict);
    {
        let _entered = context::enter(intent.scope());
        let _ = call();
    }
    settled(&intent)
}

/// The same for an async function.
///
/// # Errors
/// As [`settle`].
///
/// # Cancellation
/// The call is settled or it is not.
pub async fn settle_async<T, E>(
    verdict: Verdict<T>,
    call: impl Future<Output = Result<T, E>>,
) -> Result<Settled, Error>
where
    T: Value + Send + 'static,
{
    let intent = settling(verdict);
    let _ = context::within(intent.scope(), call).await;
    settled(&intent)
}

fn settling<T: Value + Send + 'static>(verdict: Verdict<T>) -> Arc<Intent> {
    let verdict = match verdict {
        Verdict::Done(value) => Verdict::Done(encoder(value)),
        Verdict::DoneWithoutResult => Verdict::DoneWithoutResult,
        Verdict::NotDone => Verdict::NotDone,
        Verdict::Unknown => Verdict::Unknown,
    };
    Intent::new(Kind::Settle { verdict: Mutex::new(verdict), settled: Mutex::default() })
}

fn encoder<T: Value + Send + 'static>(value: T) -> Encode {
    Box::new(move |codec, bytes_max| {
        let encoded = codec::encode(&value, codec, bytes_max)
            .map_err(|unstorable| Error::new(ErrorKind::BadArgument, Ran::No, unstorable.to_string()))?;
        Ok(StoredResult { codec_id: encoded.codec_id, digest: encoded.digest, bytes: encoded.bytes })
    })
}

fn settled(intent: &Intent) -> Result<Settled, Error> {
    match &intent.kind {
        Kind::Settle { settled, .. } => lock(settled).take().unwrap_or_else(|| Err(no_call())),
        _ => Err(no_call()),
    }
}

/// Makes a call and tells how it got its answer; `None` if `call` made no idempotent call, or it failed.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, observe};
/// #[idempotent(key = invoice)]
/// fn pay(invoice: &str) -> Result<u32, Error> {
///     Ok(42)
/// }
///
/// # let store = Store::temporary()?;
/// # idem_runtime::with_store(&store, || {
/// let (paid, seen) = observe(|| pay("A-17"));
/// assert!(paid.is_ok() && seen.unwrap().replayed.is_none());
/// let (paid, seen) = observe(|| pay("A-17"));
/// assert!(paid.is_ok() && seen.unwrap().replayed.is_some());
/// # });
/// # Ok::<(), Error>(())
/// ```
pub fn observe<R>(call: impl FnOnce() -> R) -> (R, Option<Seen>) {
    let intent = Intent::new(Kind::Observe(Mutex::default()));
    let answer = {
        let _entered = context::enter(intent.scope());
        call()
    };
    (answer, observed(&intent))
}

/// The same for an async function.
///
/// # Cancellation
/// Dropping it drops the call.
pub async fn observe_async<F: Future>(call: F) -> (F::Output, Option<Seen>) {
    let intent = Intent::new(Kind::Observe(Mutex::default()));
    let answer = context::within(intent.scope(), call).await;
    (answer, observed(&intent))
}

fn observed(intent: &Intent) -> Option<Seen> {
    match &intent.kind {
        Kind::Observe(seen) => lock(seen).take(),
        _ => None,
    }
}
