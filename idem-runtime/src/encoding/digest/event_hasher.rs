//! A hash over the canonical events of a value in a tagged binary form.
//!
//! Each event is a tag and a payload. The tag, or a length in front, fixes the length of the payload, and every group
//! has an end. So different streams of events never give the same bytes. The hasher allocates no memory.

use std::hash::Hasher as _;

use hmac_sha256::Hash as Sha256;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as ResultHasher};

use super::{half, length};
use crate::encoding::canonical::{CanonicalError, Event, EventSink, Group};

/// A hash function that takes bytes in pieces.
pub(super) trait Absorb {
    fn absorb(&mut self, bytes: &[u8]);
    fn finish(self) -> [u8; 16];
}

impl Absorb for Sha256 {
    fn absorb(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn finish(self) -> [u8; 16] {
        half(self.finalize())
    }
}

impl Absorb for ResultHasher {
    fn absorb(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }

    fn finish(self) -> [u8; 16] {
        self.finish128().as_bytes()
    }
}

/// The sink that computes digests.
pub(super) struct EventHasher<H> {
    /// Creates the hash of the value and of each map entry.
    fresh: fn() -> H,
    hash: H,
    of_result: bool,
    /// The number of elements whose order does not matter: of a list, and of a set.
    lists_max: usize,
    sets_max: usize,
    holds_sequence: bool,
}

impl<H: Absorb> EventHasher<H> {
    /// A hasher of arguments: the order of a set and the sign of a zero do not count.
    pub(super) fn of_argument(fresh: fn() -> H) -> Self {
        let of_result = Self::of_result(fresh);
        Self { of_result: false, sets_max: usize::MAX, ..of_result }
    }

    /// A hasher of results: the index of a variant and the sign of a zero count, because a codec writes them.
    pub(super) fn of_result(fresh: fn() -> H) -> Self {
        Self { fresh, hash: fresh(), of_result: true, lists_max: 0, sets_max: 0, holds_sequence: false }
    }

    /// Ignores the order of up to `lists_max` elements of each sequence, and of all elements of a set.
    pub(super) fn unordered(self, lists_max: usize) -> Self {
        Self { lists_max, sets_max: usize::MAX, ..self }
    }

    /// Whether the value contains a sequence, also an empty one.
    pub(super) fn holds_sequence(&self) -> bool {
        self.holds_sequence
    }

    pub(super) fn finish(self) -> [u8; 16] {
        self.hash.finish()
    }

    /// Hashes an event whose payload has a fixed length of at most 16 bytes.
    fn short(&mut self, tag: u8, payload: &[u8]) {
        self.hash.absorb(&[tag]);
        self.hash.absorb(payload);
    }

    fn long(&mut self, tag: u8, payload: &[u8]) {
        let mut head = [tag; 9];
        head.iter_mut().skip(1).zip(length(payload)).for_each(|(to, from)| *to = from);
        self.hash.absorb(&head);
        self.hash.absorb(payload);
    }

    fn variant(&mut self, tag: u8, index: u32, name: &str) {
        self.long(tag, name.as_bytes());
        if self.of_result {
            self.hash.absorb(&index.to_le_bytes());
        }
    }

    /// Hashes an integer with the bytes of its type. The other bytes only extend the sign.
    fn integer(&mut self, tag: u8, width: u8, value: u128) {
        // Integers below 128 bits are packed behind their tag, so each byte of a `Vec<u8>` needs one hash step.
        let packed = (value << 16 | u128::from(width) << 8 | u128::from(tag)).to_le_bytes();
        if let Some(packed) = packed.get(..2 + usize::from(width)) {
            return self.hash.absorb(packed);
        }
        self.hash.absorb(&[tag, width]);
        self.hash.absorb(&value.to_le_bytes());
    }
}

impl<H: Absorb> EventSink for EventHasher<H> {
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError> {
        match event {
            Event::Bool(value) => self.short(0x01, &[value.into()]),
            Event::Signed(width, value) => self.integer(0x02, width, value.cast_unsigned()),
            Event::Unsigned(width, value) => self.integer(0x03, width, value),
            Event::F32(value) => {
                let value = if value == 0.0 && !self.of_result { 0.0 } else { value };
                self.short(0x04, &value.to_bits().to_le_bytes());
            }
            Event::F64(value) => {
                let value = if value == 0.0 && !self.of_result { 0.0 } else { value };
                self.short(0x05, &value.to_bits().to_le_bytes());
            }
            Event::Char(value) => self.short(0x06, &u32::from(value).to_le_bytes()),
            Event::Text(value) => self.long(0x07, value.as_bytes()),
            Event::Bytes(value) => self.long(0x08, value),
            Event::None => self.short(0x09, &[]),
            Event::Some => self.short(0x0a, &[]),
            Event::Unit => self.short(0x0b, &[]),
            Event::UnitVariant(index, name) => self.variant(0x0c, index, name),
            Event::Digits(value) => self.long(0x0d, value.as_bytes()),
            Event::Begin(Group::Seq) => {
                self.holds_sequence = true;
                self.short(0x10, &[]);
            }
            Event::Begin(Group::Tuple) => self.short(0x11, &[]),
            Event::Begin(Group::Struct) => self.short(0x12, &[]),
            Event::Begin(Group::Map) => self.short(0x13, &[]),
            Event::Begin(Group::Variant(index, name)) => self.variant(0x14, index, name),
            Event::Field(name) => self.long(0x15, name.as_bytes()),
            // A skipped field adds no bytes: the digest equals the one of a type without that field.
            Event::Skipped(_) => {}
            Event::Entry(entry) => self.short(0x16, &entry),
            Event::End(_) => self.short(0x17, &[]),
        }
        Ok(())
    }

    fn entry(&self) -> Self {
        let mut hash = (self.fresh)();
        // No value starts with this tag: an entry never equals a whole value.
        hash.absorb(&[0x18]);
        Self { hash, ..*self }
    }

    fn close(&mut self, entry: Self) -> [u8; 16] {
        self.holds_sequence |= entry.holds_sequence;
        entry.finish()
    }

    fn unordered_max(&mut self, is_set: impl FnOnce() -> bool) -> Result<usize, CanonicalError> {
        let sets_differ = self.sets_max != self.lists_max;
        Ok(if sets_differ && is_set() { self.sets_max } else { self.lists_max })
    }
}
