//! Fingerprints: the arguments of a call, compared with those of the first call of the same key.
//!
//! A fingerprint holds a digest for each argument, by name. Two fingerprints differ if an argument that both contain has
//! two digests. An argument that only one of them contains is ignored: a deploy that adds an argument is no mismatch. If
//! both contain arguments and share none of them, nothing was compared, and the fingerprints differ.

use std::fmt;

use serde::Serialize;

use crate::encoding::canonical::CanonicalError;
use crate::encoding::digest::Digest;

/// The maximum number of arguments, and the maximum length of a name in bytes: each is stored in one byte.
const ARGUMENTS_MAX: usize = 255;
const NAME_BYTES_MAX: usize = 255;

/// The first byte of a stored fingerprint that is not empty.
const FORMAT: u8 = 1;

/// The digests of the arguments of one call. An empty fingerprint matches every other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// The first arguments. Few calls have more.
    few: [Option<Argument>; FEW],
    more: Vec<Argument>,
}

type Argument = (&'static str, Digest);

/// The number of arguments that need no allocation.
const FEW: usize = 3;

impl Fingerprint {
    /// Adds the argument `name` with the digest of its value.
    pub(crate) fn add<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), BadArgument> {
        let digest =
            Digest::of(value).map_err(|why: CanonicalError| BadArgument::new(name, &why.to_string()))?;
        self.push(name, digest)
    }

    /// Adds the argument `name` with its digest.
    pub(crate) fn push(&mut self, name: &'static str, digest: Digest) -> Result<(), BadArgument> {
        if name.len() > NAME_BYTES_MAX {
            return Err(BadArgument::new(name, &format!("has a name longer than {NAME_BYTES_MAX} bytes")));
        }
        if self.arguments().count() >= ARGUMENTS_MAX {
            return Err(BadArgument::new(
                name,
                &format!("is one more than the {ARGUMENTS_MAX} that can be compared"),
            ));
        }
        if self.arguments().any(|(known, _)| *known == name) {
            return Err(BadArgument::new(name, "is given twice"));
        }
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some((name, digest)),
            None => self.more.push((name, digest)),
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arguments().next().is_none()
    }

    /// The arguments in the order of the call.
    fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.few.iter().flatten().chain(&self.more)
    }

    /// The stored bytes: none for the empty fingerprint. Otherwise the format, followed by the length of the name, the
    /// name and the digest of each argument, in the order of the names.
    pub(crate) fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut sorted: Vec<_> = self.arguments().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let mut bytes = Vec::with_capacity(1 + sorted.iter().map(|(name, _)| name.len() + 17).sum::<usize>());
        bytes.push(FORMAT);
        for (name, digest) in sorted {
            // `push` refuses longer names.
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&digest.to_bytes());
        }
        bytes
    }

    /// Checks stored bytes and reads them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Stored<'_>, Malformed> {
        let Some((&format, arguments)) = bytes.split_first() else {
            return Ok(Stored { arguments: bytes });
        };
        if format != FORMAT || arguments.is_empty() {
            return Err(Malformed);
        }
        let (mut count, mut rest) = (0, arguments);
        while !rest.is_empty() {
            count += 1;
            ((_, _), rest) = split_argument(rest).filter(|_| count <= ARGUMENTS_MAX).ok_or(Malformed)?;
        }
        Ok(Stored { arguments })
    }

    /// Returns the arguments that differ, in the order of this call. `None` if the fingerprints match.
    pub(crate) fn difference(&self, stored: Stored<'_>) -> Option<Difference> {
        let (mut names, mut is_compared) = (Vec::new(), false);
        for (name, digest) in self.arguments() {
            let then = stored.arguments().find(|(known, _)| known == name);
            is_compared |= then.is_some();
            names.extend(then.filter(|(_, then)| then != digest).map(|_| *name));
        }
        if names.is_empty() && (is_compared || self.is_empty() || stored.is_empty()) {
            return None;
        }
        let names = if is_compared { names } else { self.arguments().map(|(name, _)| *name).collect() };
        Some(Difference { names, is_compared })
    }
}

/// The arguments of a call that do not match its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The arguments that differ; or all arguments of the call, if the record has none of them.
    pub(crate) names: Vec<&'static str>,
    /// Whether call and record share an argument.
    pub(crate) is_compared: bool,
}

/// Splits the first argument off `bytes`.
fn split_argument(bytes: &[u8]) -> Option<((&str, Digest), &[u8])> {
    let (&name_bytes, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(name_bytes.into())?;
    let (digest, rest) = rest.split_first_chunk()?;
    Some(((std::str::from_utf8(name).ok()?, Digest::from_bytes(*digest)), rest))
}

/// The arguments of a record, in their stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'r> {
    /// Bytes that [`Fingerprint::decode`] has checked.
    arguments: &'r [u8],
}

impl<'r> Stored<'r> {
    fn is_empty(self) -> bool {
        self.arguments.is_empty()
    }

    fn arguments(self) -> impl Iterator<Item = (&'r str, Digest)> {
        let mut rest = self.arguments;
        std::iter::from_fn(move || {
            let (argument, after) = split_argument(rest)?;
            rest = after;
            Some(argument)
        })
    }
}

/// The stored bytes are not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored fingerprint is damaged or of a newer format")
    }
}

impl std::error::Error for Malformed {}

/// Why an argument cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadArgument(String);

impl BadArgument {
    fn new(name: &str, why: &str) -> Self {
        Self(format!("argument `{name}` {why}"))
    }
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadArgument {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    type Pairs = &'static [(&'static str, u32)];

    fn fingerprint(pairs: Pairs) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (name, value) in pairs {
            fingerprint.add(name, value).unwrap();
        }
        fingerprint
    }

    #[test]
    fn arguments_are_compared_by_name() {
        let cases: &[(Pairs, Pairs, &[&str])] = &[
            (&[], &[], &[]),
            (&[("a", 1)], &[], &[]),
            (&[], &[("a", 1)], &[]),
            (&[("a", 1)], &[("a", 1)], &[]),
            (&[("a", 1)], &[("a", 2)], &["a"]),
            (&[("a", 1), ("b", 2)], &[("b", 2), ("a", 1)], &[]),
            (&[("b", 1), ("a", 2)], &[("a", 1), ("b", 2)], &["b", "a"]),
            (&[("a", 1), ("new", 2)], &[("a", 1)], &[]),
            (&[("a", 1)], &[("a", 1), ("old", 2)], &[]),
            (&[("a", 1), ("new", 2)], &[("a", 3), ("old", 2)], &["a"]),
            (&[("new", 1)], &[("old", 1)], &["new"]),
            (&[("new", 1), ("newer", 2)], &[("old", 1)], &["new", "newer"]),
        ];
        for (call, record, expected) in cases {
            let bytes = fingerprint(record).encode();
            let stored = Fingerprint::decode(&bytes).unwrap();
            let names = fingerprint(call).difference(stored).map(|differs| differs.names).unwrap_or_default();
            assert_eq!(names, *expected, "{call:?} against {record:?}");
        }
    }

    #[test]
    fn stored_bytes_do_not_depend_on_the_order_of_arguments() {
        let bytes = fingerprint(&[("b", 1), ("a", 2)]).encode();
        assert_eq!(bytes, fingerprint(&[("a", 2), ("b", 1)]).encode());
        assert_eq!(bytes.len(), 1 + 2 * 18);
        assert!(fingerprint(&[]).encode().is_empty());
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = fingerprint(&[("order", 1), ("amount", 2)]).encode();
        let boundary = 1 + 1 + "amount".len() + 16;
        for end in 1..bytes.len() {
            assert_eq!(Fingerprint::decode(&bytes[..end]).is_ok(), end == boundary, "cut at {end}");
        }
        for damaged in [&[1][..], &[2], &[0], &[1, 255], &[1, 2, 0xff, 0xfe], &[1; 40], &[255; 300]] {
            assert_eq!(Fingerprint::decode(damaged), Err(Malformed), "{damaged:?}");
        }
        let too_many = [[1].as_slice(), &[0; 17 * 256]].concat();
        assert_eq!(Fingerprint::decode(&too_many), Err(Malformed));
        assert!(Fingerprint::decode(&too_many[..=17 * 255]).is_ok());
    }

    #[test]
    fn map_order_does_not_matter() {
        let forth: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let back: HashMap<u32, u32> = (0..100).rev().map(|n| (n, n)).collect();
        let sorted: BTreeMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let of = |map: &dyn Fn(&mut Fingerprint)| {
            let mut fingerprint = Fingerprint::default();
            map(&mut fingerprint);
            fingerprint
        };
        assert_eq!(of(&|f| f.add("m", &forth).unwrap()), of(&|f| f.add("m", &back).unwrap()));
        assert_eq!(of(&|f| f.add("m", &forth).unwrap()), of(&|f| f.add("m", &sorted).unwrap()));
    }

    #[test]
    fn a_refused_argument_is_named() {
        static LONG: &str = match std::str::from_utf8(&[b'n'; 256]) {
            Ok(name) => name,
            Err(_) => "",
        };
        let digest = Digest::of(&1).unwrap();
        let mut one = fingerprint(&[("a", 1)]);
        let mut full = Fingerprint::default();
        for n in 0..255 {
            full.push(&LONG[..=n], digest).unwrap();
        }
        let cases = [
            (one.add("a", &2), "argument `a` is given twice"),
            (one.push(LONG, digest), "has a name longer than 255 bytes"),
            (full.push("more", digest), "argument `more` is one more than the 255"),
            (one.add("deep", &deep()), "argument `deep` is nested deeper than 128 levels"),
        ];
        for (result, expected) in cases {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    fn deep() -> serde_json::Value {
        (0..200).fold(serde_json::json!(1), |inner, _| serde_json::Value::Array(vec![inner]))
    }
}
