//! Calls that are inspected, settled or observed through the call itself.
//!
//! The caller's closure makes the call, so name, key and types are those of the function.

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

/// Returns the record of the call that `call` makes, without making the call.
///
/// `call` must make exactly one idempotent call. `None` if this call has no record. Arguments other than the key are
/// not compared.
///
/// # Errors
/// [`ErrorKind::BadArgument`] if `call` makes no idempotent call. Otherwise the error that prevents the read.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, peek};
/// #[idempotent(name = "docs.peek", key = invoice)]
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
pub fn peek<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<Option<Snapshot>, Error> {
    let interception = Interception::new(Purpose::Peek(Mutex::default()));
    {
        let _entered = context::enter(scope(&interception));
        // The answer only says that the call was not made.
        let _ = call();
    }
    peeked(&interception)
}

/// Returns the record of the async call `call`, without making the call.
///
/// The rules for `call` are those of [`peek`].
///
/// # Errors
/// The errors of [`peek`].
///
/// # Cancellation
/// A drop changes nothing.
///
/// ```
/// # use idem_runtime::{Error, idempotent, peek_async};
/// #[idempotent(name = "docs.peek_async", key = invoice)]
/// async fn pay(invoice: &str) -> Result<u32, Error> {
///     Ok(42)
/// }
///
/// async fn is_known(invoice: &str) -> Result<bool, Error> {
///     Ok(peek_async(pay(invoice)).await?.is_some())
/// }
/// ```
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

/// Settles the call in doubt that `call` makes: records `verdict` without running the body.
///
/// `call` must make exactly one idempotent call. The result in the verdict has the result type of the function. If the
/// call is not in doubt, the record stays unchanged.
///
/// # Errors
/// - [`ErrorKind::Running`] if the call is running.
/// - [`ErrorKind::BadArgument`] if the verdict is [`Verdict::Unknown`], if its value cannot be stored, or if `call`
///   makes no idempotent call.
/// - [`ErrorKind::Store`] if the record cannot be read or written.
///
/// ```
/// # use idem_runtime::{Error, Settled, Store, Verdict, idempotent, settle};
/// #[idempotent(name = "docs.settle", key = invoice, on_err = in_doubt)]
/// fn pay(invoice: &str) -> Result<u32, String> {
///     Err("timed out".to_owned())
/// }
///
/// # let store = Store::temporary()?;
/// # idem_runtime::with_store(&store, || {
/// assert!(pay("A-17").is_err()); // The call is in doubt from now on.
/// assert_eq!(settle(Verdict::Done(42), || pay("A-17"))?, Settled::Done);
/// assert_eq!(pay("A-17"), Ok(42));
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Error>(())
/// ```
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

/// Settles the async call `call` in doubt: records `verdict` without running the body.
///
/// The rules for `call` are those of [`settle`].
///
/// # Errors
/// The errors of [`settle`].
///
/// # Cancellation
/// A drop leaves the call either settled or unchanged.
///
/// ```
/// # use idem_runtime::{Error, Settled, Verdict, idempotent, settle_async};
/// #[idempotent(name = "docs.settle_async", key = invoice)]
/// async fn pay(invoice: &str) -> Result<u32, Error> {
///     Ok(42)
/// }
///
/// async fn mark_paid(invoice: &str) -> Result<Settled, Error> {
///     settle_async(Verdict::Done(42), pay(invoice)).await
/// }
/// ```
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
    let verdict = match verdict.with_known_result() {
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

/// Makes the call in `call`, and returns its answer together with how the call got this answer.
///
/// `None` if `call` makes no idempotent call, or if the call is refused.
///
/// ```
/// # use idem_runtime::{Error, Store, idempotent, observe};
/// #[idempotent(name = "docs.observe", key = invoice)]
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

/// Makes the async call `call`, and returns its answer together with how the call got this answer.
///
/// `None` if `call` makes no idempotent call, or if the call is refused.
///
/// # Cancellation
/// A drop of this future drops `call`.
///
/// ```
/// # use idem_runtime::{Error, idempotent, observe_async};
/// #[idempotent(name = "docs.observe_async", key = invoice)]
/// async fn pay(invoice: &str) -> Result<u32, Error> {
///     Ok(42)
/// }
///
/// async fn is_duplicate(invoice: &str) -> bool {
///     let (_paid, seen) = observe_async(pay(invoice)).await;
///     seen.is_some_and(|seen| seen.replayed.is_some())
/// }
/// ```
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
