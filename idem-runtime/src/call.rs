//! The builder of a call: what `#[idempotent]` expands to, and the way for closures, loops and handlers.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use crate::bounds::{Argument, FromError, KeyValue};
use crate::encoding::codec::Codec;
use crate::encoding::digest;
use crate::encoding::digest::Slot;
use crate::encoding::fingerprint::Fingerprint;
use crate::encoding::key::Key;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::on_err::Release;
use crate::policy::{Lifetime, OnInterrupt};
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Mark, NO_OWNER, Record, RecordRef, Status};
use crate::scope::context;
use crate::store::Store;

pub(crate) mod acquire;
pub(crate) mod claim;
#[cfg(feature = "tokio")]
pub(crate) mod detach;
pub(crate) mod inspect;
pub(crate) mod names;
pub(crate) mod outcome;
pub(crate) mod recover;
pub(crate) mod refusal;
pub(crate) mod run;

/// How long a duplicate waits where the call says nothing.
const WAIT: Duration = Duration::from_secs(30);
/// How long a result is kept where the call says nothing.
const KEEP_RESULT: Duration = Duration::from_secs(30 * 86_400);
/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// A call about to be made: [`call`] gives one, [`run`](Call::run) or [`run_async`](Call::run_async) makes it.
///
/// Every method stands for the option of `#[idempotent]` of the same name. A method called twice keeps the last
/// word, but for [`arg`](Call::arg), which adds up. Mistakes surface when the call is made.
#[derive(Debug)]
#[must_use = "a call is made by `run` or `run_async`"]
pub struct Call<P = Release, M = FromError> {
    pub(crate) plan: Plan,
    pub(crate) on_err: P,
    pub(crate) map_err: M,
}

/// Everything about a call but its types.
#[derive(Debug)]
pub(crate) struct Plan {
    name: Cow<'static, str>,
    was: &'static [&'static str],
    site: Option<&'static str>,
    pub(crate) store: Option<Store>,
    key: Option<Result<Key, Error>>,
    fingerprint: Result<Fingerprint, Error>,
    pub(crate) ttl: Lifetime,
    pub(crate) keep_result: Lifetime,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
    pub(crate) codec: Codec,
}

/// Names a call. Two functions must not share a name; the name is kept over refactors, or old records are lost.
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
    let plan = Plan {
        name: name.into(),
        was: &[],
        site: None,
        store: None,
        key: None,
        fingerprint: Ok(Fingerprint::default()),
        ttl: Lifetime::FOREVER,
        keep_result: KEEP_RESULT.into(),
        wait: WAIT,
        on_interrupt: OnInterrupt::default(),
        codec: Codec::default(),
    };
    Call { plan, on_err: Release, map_err: FromError }
}

impl<P, M> Call<P, M> {
    /// Earlier names of the call whose records still count. A program that still uses one of them does not see the records
    /// under the new name: the two must not run side by side.
    pub fn was(mut self, names: &'static [&'static str]) -> Self {
        self.plan.was = names;
        self
    }

    /// Where the function stands in the source, so that a second one of the same name is refused.
    pub fn defined_at(mut self, site: &'static str) -> Self {
        self.plan.site = Some(site);
        self
    }

    /// The store, instead of the one in scope or the program's.
    pub fn store(mut self, store: impl AsRef<Store>) -> Self {
        self.plan.store = Some(store.as_ref().clone());
        self
    }

    /// The key, evaluated now. Required.
    ///
    /// Text, integers, `bool`, `char`, bytes, UUIDs, and tuples, sequences, structs and enums of these. Different keys
    /// never meet: `("a", "bc")` is not `("ab", "c")`. `Some(x)` is `x`, a newtype is what it holds, and on its own
    /// `7` is `"7"`. `None`, empty text, floats, maps and more than 1,024 bytes make no key.
    pub fn key<K: KeyValue + ?Sized>(mut self, key: &K) -> Self {
        let bad = |bad: crate::encoding::key::BadKey| Error::new(ErrorKind::BadKey, Ran::No, bad.to_string());
        self.plan.key = Some(Key::of(key).map_err(bad));
        self
    }

    /// An argument to compare: a later call with the same key and another value is a
    /// [`Mismatch`](ErrorKind::Mismatch).
    ///
    /// Only its digest is stored.
    pub fn arg<A: Argument + ?Sized>(mut self, name: &'static str, value: &A) -> Self {
        if let Ok(fingerprint) = &mut self.plan.fingerprint
            && let Err(bad) = fingerprint.add(name, value)
        {
            self.plan.fingerprint = Err(Error::new(ErrorKind::BadArgument, Ran::No, bad.to_string()));
        }
        self
    }

    /// What to compare, under one name.
    pub fn fingerprint<A: Argument + ?Sized>(self, value: &A) -> Self {
        self.arg("fingerprint", value)
    }

    /// How long the key is remembered, from completion; for ever by default.
    ///
    /// After it the call runs again: it must be longer than any retry can be late.
    pub fn ttl(mut self, ttl: impl Into<Lifetime>) -> Self {
        self.plan.ttl = ttl.into();
        self
    }

    /// How long the result is kept, from completion; 30 days by default. Zero never stores it.
    ///
    /// After it a duplicate is answered with [`ResultGone`](ErrorKind::ResultGone), not with a second run.
    pub fn keep_result(mut self, keep: impl Into<Lifetime>) -> Self {
        self.plan.keep_result = keep.into();
        self
    }

    /// How long a duplicate waits for a running call; 30 s by default. Zero refuses at once.
    ///
    /// A first call waits as long, and at least a second, for the store to take its claim: for the disk, and for other
    /// programs that hold the write lock. Only a disk that hangs in the middle of a write can hold a blocked caller that
    /// is alone for longer, as it would with SQLite itself.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.plan.wait = wait;
        self
    }

    /// What to do if an earlier attempt was cut off; refuse by default.
    pub fn on_interrupt(mut self, mode: OnInterrupt) -> Self {
        self.plan.on_interrupt = mode;
        self
    }

    /// How the result is stored.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.plan.codec = codec;
        self
    }

    /// What an `Err` means: [`Release`], [`Remember`](crate::on_err::Remember), [`InDoubt`](crate::on_err::InDoubt)
    /// or [`Classify`](crate::on_err::Classify).
    pub fn on_err<Q>(self, on_err: Q) -> Call<Q, M> {
        Call { plan: self.plan, on_err, map_err: self.map_err }
    }

    /// How an [`Error`] of ours becomes the function's error; by `From` by default.
    pub fn map_err<E, F: Fn(Error) -> E>(self, map_err: F) -> Call<P, F> {
        Call { plan: self.plan, on_err: self.on_err, map_err }
    }
}

/// The slot of the name first, then those of earlier names. Few calls ever had another.
#[derive(Debug)]
pub(crate) enum Slots {
    One([Slot; 1]),
    More(Vec<Slot>),
}

impl Slots {
    fn of(name: &str, was: &[&str], key: &Key) -> Slots {
        let own = digest::slot(name, key);
        if was.is_empty() {
            return Slots::One([own]);
        }
        Slots::More(std::iter::once(own).chain(was.iter().map(|name| digest::slot(name, key))).collect())
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        match self {
            Slots::One(slot) => slot,
            Slots::More(slots) => slots,
        }
    }
}

/// A plan whose mistakes are found: which call it is, and what it asks for.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) name: Cow<'static, str>,
    pub(crate) was: &'static [&'static str],
    pub(crate) key: Key,
    pub(crate) slots: Slots,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) ttl: Lifetime,
    pub(crate) keep_result: Lifetime,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
    pub(crate) codec: Codec,
}

impl Plan {
    pub(crate) fn prepare(self) -> Result<Prepared, Error> {
        check_name(&self.name)?;
        let about = |error: Error| error.about_name(&self.name);
        if let Some(site) = self.site {
            names::check(&self.name, site)?;
        }
        let key = self.key.unwrap_or_else(|| Err(no_key())).map_err(about)?;
        let about = |error: Error| error.about(&self.name, key.as_str());
        let fingerprint = self.fingerprint.map_err(about)?;
        let slots = Slots::of(&self.name, self.was, &key);
        Ok(Prepared {
            name: self.name,
            was: self.was,
            key,
            slots,
            fingerprint,
            ttl: self.ttl,
            keep_result: self.keep_result,
            wait: self.wait,
            on_interrupt: self.on_interrupt,
            codec: self.codec,
        })
    }
}

fn no_key() -> Error {
    Error::new(ErrorKind::BadKey, Ran::No, "the call has no key").advise(Advice::NameTheKey)
}

fn check_name(name: &str) -> Result<(), Error> {
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the name has {} bytes, and 1 to {NAME_BYTES_MAX} are allowed", name.len());
    Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::ShortName))
}

impl Prepared {
    /// Whether this call stands in its own body.
    pub(crate) fn is_reentrant(&self, store_id: &[u8; 16]) -> bool {
        let scope = context::scope();
        scope.call.as_ref().is_some_and(|call| call.is_nested_in(store_id, &self.slots))
    }

    /// Whether the record, found by a digest, is that of this call, and which of its arguments differ.
    pub(crate) fn differing(&self, record: &RecordRef<'_>) -> Result<Vec<&'static str>, Error> {
        let is_named = |name: &str| record.name == name.as_bytes();
        let named = is_named(&self.name) || self.was.iter().copied().any(is_named);
        if !named || record.key != self.key.as_str().as_bytes() {
            let message = "the slot of the call holds the record of another call";
            return Err(Error::store(message).advise(Advice::OtherKey));
        }
        let stored = Fingerprint::decode(record.fingerprint).map_err(|malformed| {
            Error::store(format!("the record is damaged ({malformed})")).advise(Advice::RestoreRecord)
        })?;
        Ok(self.fingerprint.differing(stored))
    }

    /// The record of a first attempt, in the place of an expired one if there is one.
    pub(crate) fn first_record(&self, expired: Option<&Record>) -> Record {
        let (slot, name) = match (expired, self.slots.first()) {
            (Some(expired), _) => (expired.slot, expired.name.clone()),
            (None, slot) => (slot.copied().unwrap_or_default(), self.name.to_string()),
        };
        Record {
            slot,
            name,
            key: self.key.as_str().to_owned(),
            status: Status::Running,
            claim: 0,
            owner: NO_OWNER,
            attempt: 1,
            fingerprint: self.fingerprint.encode(),
            at: Mark::default(),
            reason: None,
            doubt_since: None,
            ttl: self.ttl,
            keep_result: self.keep_result,
            result: None,
            purge_ms: None,
            row: None,
        }
    }

    /// The change that claims a free slot for `new`, or the slot of the expired record `over`. `expired` are the claims
    /// of this call, under whatever name, that are known to have expired.
    pub(crate) fn claim_change(&self, new: Record, over: Option<&Record>, expired: Vec<u64>) -> Change {
        let slot = new.slot;
        let nor_in = self.slots.iter().copied().filter(|other| *other != slot).collect();
        let expect = Expect::Free { over: over.map(|over| over.claim), nor_in, expired };
        Change { slot, expect, new: Some(new) }
    }

    pub(crate) fn with_identity(&self, error: Error) -> Error {
        error.about(&self.name, self.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Slots can be made to meet on purpose.
    #[test]
    fn a_record_of_another_name_or_key_in_its_slot_is_an_error() {
        let call = call("shop.charge").was(&["charge"]).key("k").plan.prepare().unwrap();
        let record = call.first_record(None);
        let earlier = Record { name: "charge".into(), ..record.clone() };
        let other_name = Record { name: "shop.refund".into(), ..record.clone() };
        let other_key = Record { key: "l".into(), ..record.clone() };
        for (record, is_its_own) in [(record, true), (earlier, true), (other_name, false), (other_key, false)]
        {
            assert_eq!(call.differing(&record.borrowed()).is_ok(), is_its_own, "{record:?}");
        }
    }
}
