//! Calls that are made to be looked at, settled or observed: the name, the key and the types are those of the
//! function itself, so there is no second place to keep them in step.

use std::future::Future;
use std::sync::{Arc, Mutex};

use crate::bounds::Value;
use crate::encoding::codec;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::scope::context;
use crate::scope::context::Scope;
use crate::scope::interception::{Encode, Interception, Purpose, Seen, Settled, Verdict};
use crate::store::snapshot::Snapshot;
use crate::sync::lock;

pub(crate) mod answer;

fn scope(interception: &Arc<Interception>) -> Arc<Scope> {
    let outer = context::scope();
    Arc::new(Scope { interception: Some(Arc::clone(interception)), ..Scope::clone(&outer) })
}

fn no_call() -> Error {
    Error::new(ErrorKind::BadArgument, Ran::No, "the closure made no idempotent call").advise(Advice::OneCall)
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
    let interception = Interception::new(Purpose::Peek(Mutex::default()));
    {
        let _entered = context::enter(scope(&interception));
        // The call's own answer says only that it was not made.
        let _ = call();
    }
    peeked(&interception)
}

/// The same for an async function.
///
/// # Errors
/// As [`peek`].
///
/// # Cancellation
/// Nothing is changed at any point.
pub async fn peek_async<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<Option<Snapshot>, Error> {
    let interception = Interception::new(Purpose::Peek(Mutex::default()));
    let _ = context::within(scope(&interception), call).await;
    peeked(&interception)
}

fn peeked(interception: &Interception) -> Result<Option<Snapshot>, Error> {
    match &interception.purpose {
        Purpose::Peek(found) => match lock(found).take() {
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
    let interception = settling(verdict);
    {
        let _entered = context::enter(scope(&interception));
        let _ = call();
    }
    settled(&interception)
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
    let interception = settling(verdict);
    let _ = context::within(scope(&interception), call).await;
    settled(&interception)
}

fn settling<T: Value + Send + 'static>(verdict: Verdict<T>) -> Arc<Interception> {
    let verdict = match verdict {
        Verdict::Done(value) => Verdict::Done(encoder(value)),
        Verdict::DoneWithoutResult => Verdict::DoneWithoutResult,
        Verdict::NotDone => Verdict::NotDone,
        Verdict::Unknown => Verdict::Unknown,
    };
    Interception::new(Purpose::Settle { verdict: Mutex::new(verdict), settled: Mutex::default() })
}

fn encoder<T: Value + Send + 'static>(value: T) -> Encode {
    Box::new(move |codec, bytes_max| {
        let encoded = codec::encode(&value, codec, bytes_max).map_err(|unstorable| {
            Error::new(ErrorKind::BadArgument, Ran::No, unstorable.to_string()).advise(Advice::StorableResult)
        })?;
        Ok(encoded.stored)
    })
}

fn settled(interception: &Interception) -> Result<Settled, Error> {
    match &interception.purpose {
        Purpose::Settle { settled, .. } => lock(settled).take().unwrap_or_else(|| Err(no_call())),
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
    let interception = Interception::new(Purpose::Observe(Mutex::default()));
    let answer = {
        let _entered = context::enter(scope(&interception));
        call()
    };
    (answer, observed(&interception))
}

/// The same for an async function.
///
/// # Cancellation
/// Dropping it drops the call.
pub async fn observe_async<F: Future>(call: F) -> (F::Output, Option<Seen>) {
    let interception = Interception::new(Purpose::Observe(Mutex::default()));
    let answer = context::within(scope(&interception), call).await;
    (answer, observed(&interception))
}

fn observed(interception: &Interception) -> Option<Seen> {
    match &interception.purpose {
        Purpose::Observe(seen) => lock(seen).take(),
        _ => None,
    }
}
