//! The builder of a call.
//!
//! `#[idempotent]` expands to one use of this builder. Closures, loops and handlers use the builder directly.

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use crate::bounds::{Argument, FromError, KeyValue};
use crate::call::names::SameForTypes;
use crate::call::prepared::{Options, Plan};
use crate::encoding::codec::Codec;
use crate::encoding::key::{BadKey, Key};
use crate::error::{Error, ErrorKind, Ran};
use crate::on_err::Release;
use crate::policy::{Lifetime, OnInterrupt};
use crate::store::Store;

pub(crate) mod acquire;
pub(crate) mod body;
pub(crate) mod claim;
#[cfg(feature = "tokio")]
pub(crate) mod detach;
pub(crate) mod inspect;
pub(crate) mod invocation;
pub(crate) mod names;
pub(crate) mod outcome;
pub(crate) mod prepared;
pub(crate) mod recover;
pub(crate) mod refusal;
pub(crate) mod run;

/// A call under construction, created by [`call`] and made by [`run`](Call::run) or [`run_async`](Call::run_async).
///
/// A method that is named like an option of `#[idempotent]` sets this option. If a method is called twice, the last
/// value counts; [`arg`](Call::arg) adds an argument each time. A mistake in an option is an error of the call,
/// returned by `run`.
#[derive(Debug)]
#[must_use = "a call is made by `run` or `run_async`"]
pub struct Call<P = Release, M = FromError> {
    pub(crate) plan: Plan,
    pub(crate) on_err: P,
    pub(crate) map_err: M,
}

/// Begins a call of the function `name`.
///
/// The name and the [key](Call::key) identify the record of the call. Two functions must not share a name, unless they
/// say so with [`same_for_types`](Call::same_for_types). If a name changes, the records under the old name no longer count, unless [`was`](Call::was) lists it. A name has 1 to 200
/// bytes.
///
/// ```
/// use idem_runtime::{Error, Store, call};
///
/// let store = Store::temporary()?;
/// for (order, cents) in [("A-17", 500), ("B-4", 250), ("A-17", 500)] {
///     let charged: Result<u32, Error> =
///         call("shop.charge").store(&store).key(order).arg("cents", &cents).run(|| Ok(cents));
///     assert_eq!(charged?, cents);
/// }
/// # Ok::<(), Error>(())
/// ```
pub fn call(name: impl Into<Cow<'static, str>>) -> Call {
    Call { plan: Plan::new(name.into()), on_err: Release, map_err: FromError }
}

impl<P, M> Call<P, M> {
    /// Sets earlier names of the call, whose records still count.
    ///
    /// A program that still uses an earlier name does not see the records under the new name. The two programs must not
    /// run at the same time.
    pub fn was(mut self, names: &'static [&'static str]) -> Self {
        self.options().was = names;
        self
    }

    /// Lets several functions share the name: they do the same for every type, or the name and the key tell them apart.
    ///
    /// Without this method, one name belongs to one function. The type of the body identifies the function: the enclosing
    /// function, its `impl` and all type parameters. The first call of a name in a process fixes its function, and the
    /// call of another function is refused with [`DuplicateName`](ErrorKind::DuplicateName). With this method, the call
    /// is refused only if another call of the name does not use this method.
    ///
    /// A helper that takes closures of its callers needs this method, because each closure is a function:
    ///
    /// ```
    /// use idem_runtime::{Error, Store, call};
    ///
    /// fn once(store: &Store, topic: &'static str, id: u64, body: impl FnOnce() -> Result<u64, Error>) -> Result<u64, Error> {
    ///     call("docs.once").same_for_types().store(store).key(&(topic, id)).run(body)
    /// }
    ///
    /// let store = Store::temporary()?;
    /// assert_eq!(once(&store, "orders", 7, || Ok(1))?, 1);
    /// assert_eq!(once(&store, "invoices", 7, || Ok(2))?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn same_for_types(mut self) -> Self {
        self.plan.function.same_for_types = Some(SameForTypes::Anywhere);
        self
    }

    /// The same for the function at the place of this call. Written by `#[idempotent]`.
    #[doc(hidden)]
    #[track_caller]
    pub fn same_for_types_here(mut self) -> Self {
        self.plan.function.same_for_types = Some(SameForTypes::At(Location::caller()));
        self
    }

    /// Says that the name is the path of the function. Written by `#[idempotent]`.
    #[doc(hidden)]
    pub fn named_by_path(mut self) -> Self {
        self.plan.function.named_by_path = true;
        self
    }

    /// Says that the key contains a constant of every type parameter. Written by `#[idempotent]`.
    #[doc(hidden)]
    pub fn types_in_key(mut self) -> Self {
        self.plan.function.types_in_key = true;
        self
    }

    /// Identifies the function by a closure in it, before the recovery hook runs. Written by `#[idempotent]`.
    #[doc(hidden)]
    pub fn in_function<F: FnOnce()>(mut self, closure: F) -> Self {
        self.plan.function.set_body(&closure);
        self
    }

    /// Sets the store. The default is the store in scope, or else the store of the program.
    pub fn store(mut self, store: impl AsRef<Store>) -> Self {
        self.plan.store = Some(store.as_ref().clone());
        self
    }

    /// Sets the key. Required.
    ///
    /// A key consists of text, integers, `bool`, `char`, bytes and UUIDs, or of tuples, sequences, structs and enums of
    /// these. Different keys have different texts: `("a", "bc")` is not `("ab", "c")`. `Some(x)` equals `x`, and a
    /// newtype equals its content. A key that is the integer `7` equals the text `"7"`.
    ///
    /// `None`, text without a visible character, floats, maps, a `HashSet` and keys of more than 1,024 bytes are
    /// refused with [`BadKey`](ErrorKind::BadKey). Text is not normalised: the two spellings of `"é"` are two keys.
    pub fn key<K: KeyValue + ?Sized>(mut self, key: &K) -> Self {
        let bad = |bad: BadKey| Error::new(ErrorKind::BadKey, Ran::No, bad.to_string());
        self.plan.key = Some(Key::of(key).map_err(bad));
        self
    }

    /// Adds an argument to the fingerprint.
    ///
    /// If a later call has the same key and another value, it is refused with [`Mismatch`](ErrorKind::Mismatch). The
    /// store keeps a digest of the value, not the value.
    pub fn arg<A: Argument + ?Sized>(mut self, name: &'static str, value: &A) -> Self {
        if let Ok(fingerprint) = &mut self.plan.fingerprint
            && let Err(bad) = fingerprint.add(name, value)
        {
            self.plan.fingerprint = Err(Error::new(ErrorKind::BadArgument, Ran::No, bad.to_string()));
        }
        self
    }

    /// Adds a value to the fingerprint as the argument `fingerprint`.
    pub fn fingerprint<A: Argument + ?Sized>(self, value: &A) -> Self {
        self.arg("fingerprint", value)
    }

    /// Sets the lifetime of the record, from completion. The default is [`Lifetime::FOREVER`].
    ///
    /// After this time, the next call runs the body. Choose a time that is longer than the delay of any retry. Zero is
    /// refused with [`BadArgument`](ErrorKind::BadArgument). A fraction of a millisecond counts as a whole one.
    pub fn ttl(mut self, ttl: impl Into<Lifetime>) -> Self {
        self.options().ttl = ttl.into();
        self
    }

    /// Sets the lifetime of the result, from completion. The default is 30 days.
    ///
    /// After this time, a duplicate is refused with [`ResultGone`](ErrorKind::ResultGone) while the record is kept. With
    /// zero, the store never keeps the result. A result without content, such as `()`, is kept as long as the record.
    pub fn keep_result(mut self, keep: impl Into<Lifetime>) -> Self {
        self.options().keep_result = keep.into();
        self
    }

    /// Sets how long a duplicate waits for a running call. The default is 30 s.
    ///
    /// With zero, a duplicate of a running call is refused at once with [`Running`](ErrorKind::Running).
    ///
    /// The claim of a first call has the same limit, but at least one second. The limit covers the disk, and other
    /// processes that hold the write lock. A disk that hangs during a write can block a lone blocked caller for longer,
    /// as with SQLite itself.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options().wait = wait;
        self
    }

    /// Sets what the call does if an earlier attempt was cut off. The default is [`OnInterrupt::Refuse`].
    pub fn on_interrupt(mut self, mode: OnInterrupt) -> Self {
        self.options().on_interrupt = mode;
        self
    }

    /// Sets the format of the stored result.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.options().codec = Some(codec);
        self
    }

    /// Sets the meaning of an `Err` of the body. The default is [`Release`].
    ///
    /// The alternatives are [`Remember`](crate::on_err::Remember), [`InDoubt`](crate::on_err::InDoubt) and
    /// [`Classify`](crate::on_err::Classify).
    pub fn on_err<Q>(self, on_err: Q) -> Call<Q, M> {
        Call { plan: self.plan, on_err, map_err: self.map_err }
    }

    /// Sets the conversion of an [`Error`] into the error type of the function. The default is `From`.
    pub fn map_err<E, F: Fn(Error) -> E>(self, map_err: F) -> Call<P, F> {
        Call { plan: self.plan, on_err: self.on_err, map_err }
    }

    fn options(&mut self) -> &mut Options {
        &mut self.plan.options
    }
}
