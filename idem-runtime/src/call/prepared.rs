//! The plan of a call, and the prepared call: its identity, its arguments and its options.

use std::borrow::Cow;
use std::slice;
use std::time::Duration;

use crate::call::names::Function;
use crate::encoding::codec::Codec;
use crate::encoding::digest;
use crate::encoding::digest::Slot;
use crate::encoding::fingerprint::{Difference, Fingerprint};
use crate::encoding::key::Key;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::policy::{Lifetime, OnInterrupt};
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Mark, NO_OWNER, Record, RecordRef, Status};
use crate::scope::context;
use crate::store::Store;

/// The default of `wait`.
const WAIT: Duration = Duration::from_secs(30);
/// The default of `keep_result`.
const KEEP_RESULT: Duration = Duration::from_secs(30 * 86_400);
const NAME_BYTES_MAX: usize = 200;

/// The options that a call keeps as they were given.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) name: Cow<'static, str>,
    pub(crate) was: &'static [&'static str],
    pub(crate) ttl: Lifetime,
    pub(crate) keep_result: Lifetime,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
    /// The codec, if the call chooses one.
    pub(crate) codec: Option<Codec>,
}

/// Everything that the builder collects, with the mistakes found so far.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) function: Function,
    pub(crate) store: Option<Store>,
    pub(crate) key: Option<Result<Key, Error>>,
    pub(crate) fingerprint: Result<Fingerprint, Error>,
}

/// A call without mistakes in its plan.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) options: Options,
    pub(crate) key: Key,
    /// The slot of the name and the key.
    slot: Slot,
    /// `slot`, then the slots of the earlier names. Empty if the call has no earlier name.
    slots_of_names: Vec<Slot>,
    pub(crate) fingerprint: Fingerprint,
}

impl Plan {
    pub(crate) fn new(name: Cow<'static, str>) -> Plan {
        let options = Options {
            name,
            was: &[],
            ttl: Lifetime::FOREVER,
            keep_result: KEEP_RESULT.into(),
            wait: WAIT,
            on_interrupt: OnInterrupt::default(),
            codec: None,
        };
        let fingerprint = Ok(Fingerprint::default());
        Plan { options, function: Function::default(), store: None, key: None, fingerprint }
    }

    /// The plan of a call with this body.
    pub(crate) fn with_body<F>(mut self, body: &F) -> Plan {
        self.function.set_body(body);
        self
    }

    pub(crate) fn prepare(self) -> Result<Prepared, Error> {
        let Plan { options, function, key, fingerprint, .. } = self;
        let name = &*options.name;
        check_length(name)?;
        function.check(name)?;
        let key = key.unwrap_or_else(|| Err(no_key())).map_err(|error| error.about_name(name))?;
        let about = |error: Error| error.about(name, key.as_str());
        let fingerprint = fingerprint.map_err(about)?;
        check_ttl(options.ttl).map_err(about)?;
        let slot = digest::slot(name, &key);
        let slots_of_names = slots_of_names(slot, options.was, &key);
        Ok(Prepared { options, key, slot, slots_of_names, fingerprint })
    }
}

/// Returns the slots of all names. Allocates nothing if there is no earlier name.
fn slots_of_names(own: Slot, was: &[&str], key: &Key) -> Vec<Slot> {
    let own = (!was.is_empty()).then_some(own);
    own.into_iter().chain(was.iter().map(|name| digest::slot(name, key))).collect()
}

fn no_key() -> Error {
    Error::new(ErrorKind::BadKey, Ran::No, "the call has no key").advise(Advice::NameTheKey)
}

fn check_length(name: &str) -> Result<(), Error> {
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the name has {} bytes, and 1 to {NAME_BYTES_MAX} are allowed", name.len());
    Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::ShortName))
}

/// Refuses a `ttl` of zero: the record would expire at completion.
fn check_ttl(ttl: Lifetime) -> Result<(), Error> {
    if ttl > Lifetime::ZERO {
        return Ok(());
    }
    let message = "the `ttl` is zero";
    Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::PositiveTtl))
}

impl Prepared {
    /// The slot of the name, then the slots of the earlier names.
    pub(crate) fn slots(&self) -> &[Slot] {
        if self.slots_of_names.is_empty() { slice::from_ref(&self.slot) } else { &self.slots_of_names }
    }

    /// Whether this thread or task is inside the body of this call.
    pub(crate) fn is_reentrant(&self, store_id: &[u8; 16]) -> bool {
        let scope = context::scope();
        scope.call.as_ref().is_some_and(|call| call.is_nested_in(store_id, self.slots()))
    }

    /// The arguments that differ from those of `record`, or `None` if the arguments match.
    ///
    /// An error if `record` has the slot of this call and belongs to another name or key.
    pub(crate) fn difference(&self, record: &RecordRef<'_>) -> Result<Option<Difference>, Error> {
        let is_named = |name: &str| record.name == name.as_bytes();
        let named = is_named(&self.options.name) || self.options.was.iter().copied().any(is_named);
        if !named || record.key != self.key.as_str().as_bytes() {
            let message = "the slot of the call holds the record of another call";
            return Err(Error::store(message).advise(Advice::OtherKey));
        }
        let stored = Fingerprint::decode(record.fingerprint).map_err(|malformed| {
            Error::store(format!("the record is damaged ({malformed})")).advise(Advice::RestoreRecord)
        })?;
        Ok(self.fingerprint.difference(stored))
    }

    /// The record of a first attempt. If the slot holds an expired record, the new record keeps its slot and name.
    pub(crate) fn first_record(&self, expired: Option<&Record>) -> Record {
        let (slot, name) = match expired {
            Some(expired) => (expired.slot, expired.name.clone()),
            None => (self.slot, self.options.name.to_string()),
        };
        Record {
            slot,
            name,
            key: self.key.as_str().to_owned(),
            status: Status::Running,
            claim: 0,
            owner: NO_OWNER,
            attempt: 1,
            returned: 0,
            fingerprint: self.fingerprint.encode(),
            at: Mark::default(),
            reason: None,
            doubt_since: None,
            ttl: self.options.ttl,
            keep_result: self.options.keep_result,
            result: None,
            purge_ms: None,
            row: None,
        }
    }

    /// The change that claims a free slot for `new`, or the slot of the expired record `over`.
    ///
    /// `expired` lists the claims of this call that have expired, under its name and its earlier names.
    pub(crate) fn claim_change(&self, new: Record, over: Option<&Record>, expired: Vec<u64>) -> Change {
        let slot = new.slot;
        let nor_in = self.slots().iter().copied().filter(|other| *other != slot).collect();
        let expect = Expect::Free { over: over.map(|over| over.claim), nor_in, expired };
        Change { slot, expect, new: Some(new) }
    }

    /// Adds the name and the key to an error.
    pub(crate) fn with_identity(&self, error: Error) -> Error {
        error.about(&self.options.name, self.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::call;

    // Two calls share a slot only if their digests are equal, so the test changes the records instead.
    #[test]
    fn a_record_of_another_name_or_key_in_its_slot_is_an_error() {
        let call = call("shop.charge").was(&["charge"]).key("k").plan.prepare().unwrap();
        let record = call.first_record(None);
        let earlier = Record { name: "charge".into(), ..record.clone() };
        let other_name = Record { name: "shop.refund".into(), ..record.clone() };
        let other_key = Record { key: "l".into(), ..record.clone() };
        for (record, is_its_own) in [(record, true), (earlier, true), (other_name, false), (other_key, false)]
        {
            assert_eq!(call.difference(&record.borrowed()).is_ok(), is_its_own, "{record:?}");
        }
    }

    #[test]
    fn the_slot_of_the_name_comes_before_those_of_earlier_names() {
        let slots = |was| call("shop.charge").was(was).key("k").plan.prepare().unwrap().slots().to_vec();
        let own = |name| call(name).key("k").plan.prepare().unwrap().slot;
        assert_eq!(slots(&[]), [own("shop.charge")]);
        assert_eq!(slots(&["charge"]), [own("shop.charge"), own("charge")]);
    }
}
