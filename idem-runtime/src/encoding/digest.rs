//! Digests of values and rows, and downstream tokens.
//!
//! Arguments come from the network, so their digest is SHA-256. The digests of results and rows detect damage and changed
//! types, so the faster `SipHash-1-3` under fixed keys suffices. Every use has a domain of its own (a label or a key): a
//! digest of one kind cannot pass for one of another kind.
//!
//! All digests are stored. A change to a label, a key, a tag or an order is a new format.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::LazyLock;

use hmac_sha256::Hash as Sha256;
use serde::Serialize;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as ResultHasher, SipHasher24 as SlotHasher};

use crate::encoding::canonical::{CanonicalError, serialize};
use crate::encoding::key::Key;

mod event_hasher;

use event_hasher::EventHasher;

/// A SHA-256 after the label of arguments. The label fills a block, so it is hashed once instead of for every argument.
static ARGUMENT: LazyLock<Sha256> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    hash.update(b"idem argument 1                                                 ");
    hash
});

/// The digest of one argument: the first half of SHA-256 over its canonical events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    /// The digest of `value`.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, CanonicalError> {
        let mut form = EventHasher::of_argument(|| *ARGUMENT);
        serialize(value, &mut form)?;
        Ok(Self(form.finish()))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// The digest of a result, and whether the result contains a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultIdentity {
    pub(crate) digest: ResultDigest,
    /// Without a sequence, no order can matter.
    pub(crate) holds_sequence: bool,
}

impl ResultIdentity {
    /// The identity of `value`.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, CanonicalError> {
        ResultDigest::through(ResultDigest::form(), value)
    }
}

/// The digest of a result: half of `SipHash-1-3-128` over its canonical events. The digest detects misreads, not
/// attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResultDigest(u64);

impl ResultDigest {
    /// The digest of `value`.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, CanonicalError> {
        Self::through(Self::form(), value).map(|known| known.digest)
    }

    /// The digest of `value` that ignores the order of the first `unordered_max` elements of each sequence.
    ///
    /// serde serializes a `HashSet` as a sequence, which reads back in another order. For a value without sequence
    /// elements, this digest equals that of [`of`](ResultDigest::of).
    pub(crate) fn of_unordered<T: Serialize + ?Sized>(
        value: &T,
        unordered_max: usize,
    ) -> Result<Self, CanonicalError> {
        Self::through(Self::form().unordered(unordered_max), value).map(|known| known.digest)
    }

    fn form() -> EventHasher<ResultHasher> {
        EventHasher::of_result(|| ResultHasher::new_with_key(b"idem  result  1 "))
    }

    fn through<T: Serialize + ?Sized>(
        mut form: EventHasher<ResultHasher>,
        value: &T,
    ) -> Result<ResultIdentity, CanonicalError> {
        serialize(value, &mut form)?;
        let holds_sequence = form.holds_sequence();
        let digest = Self(form.finish().first_chunk().map_or(0, |half| u64::from_le_bytes(*half)));
        Ok(ResultIdentity { digest, holds_sequence })
    }

    /// Whether this is the digest of `()`, of an empty tuple or of a struct without fields.
    pub(crate) fn is_without_content(self) -> bool {
        const UNIT: u64 = 0xa8df_45b3_3045_1c7d;
        const EMPTY_TUPLE: u64 = 0x6d72_ebfa_d3e1_3bb5;
        const EMPTY_STRUCT: u64 = 0x2332_806e_de10_9f59;
        matches!(self.0, UNIT | EMPTY_TUPLE | EMPTY_STRUCT)
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(stored: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(stored))
    }
}

/// The digest of name and key that finds a record.
///
/// The digest stands in every row and in the index, whose pages are the only ones that calls access at random. With 96
/// bits the index is a sixth smaller than with 128. The chance that two of a billion records share a slot, so that one
/// call is refused, is one in a hundred billion.
pub(crate) type Slot = [u8; 12];

/// The slot of `name` and `key`.
///
/// The key of the hash is public, so an attacker can make two slots equal. A row found by its slot is the right one only
/// if it carries the same name and key.
pub(crate) fn slot(name: &str, key: &Key) -> Slot {
    let mut hasher = SlotHasher::new_with_key(b"idem   slot   1 ");
    for text in [name, key.as_str()] {
        hasher.write_u64(word(text.len() as u64));
        hasher.write(text.as_bytes());
    }
    hasher.finish128().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The checksum of a row, column by column. `SQLite` has none of its own.
///
/// Columns come in one order, each of one kind. Numbers before bytes let the hash read whole words.
pub(crate) struct Checksum(SipHasher13);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(SipHasher13::new_with_key(b"idem  record  1 "))
    }

    pub(crate) fn number(mut self, number: i64) -> Self {
        self.0.write_u64(word(number.cast_unsigned()));
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.write_u64(word(bytes.len() as u64));
        self.0.write(bytes);
        self
    }

    pub(crate) fn finish(self) -> [u8; 8] {
        self.0.finish().to_le_bytes()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checksum").field(&self.0.finish()).finish()
    }
}

/// The namespace of tokens: one store, or all stores with the same name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Namespace<'a> {
    Store(&'a [u8; 16]),
    Named(&'a str),
}

/// The downstream token of a call, or of one `step` of it, as the text of a UUID version 8. Every attempt has the same
/// token.
pub(crate) fn token(namespace: Namespace<'_>, name: &str, key: &Key, step: Option<&str>) -> String {
    let mut hash = labelled("idem token 1");
    match namespace {
        Namespace::Store(id) => put(&mut hash, 0, id),
        Namespace::Named(text) => put(&mut hash, 1, text.as_bytes()),
    }
    put(&mut hash, 2, name.as_bytes());
    put(&mut hash, 3, key.as_str().as_bytes());
    if let Some(step) = step {
        put(&mut hash, 4, step.as_bytes());
    }
    uuid_text(u128::from_be_bytes(half(hash.finalize())))
}

/// The text of `bits` as a UUID of version 8 ("custom") and the usual variant.
fn uuid_text(bits: u128) -> String {
    let version_8 = bits & !(0xf << 76) | 0x8 << 76;
    let usual_variant = version_8 & !(0xc << 60) | 0x8 << 60;
    let hex = format!("{usual_variant:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

fn put(hash: &mut Sha256, tag: u8, bytes: &[u8]) {
    hash.update([tag]);
    hash.update(length(bytes));
    hash.update(bytes);
}

/// A SHA-256 after `label`.
fn labelled(label: &str) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(length(label.as_bytes()));
    hash.update(label);
    hash
}

/// The word whose bytes `SipHash` reads in little-endian order on every machine. Hashing the number as bytes would be
/// slower.
fn word(number: u64) -> u64 {
    number.to_le()
}

fn length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_le_bytes()
}

fn half(digest: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    first
}

#[cfg(test)]
mod tests;
