//! The canonical events of a value in a tagged binary form, fed to a hash.
//!
//! Each event is a tag and a payload of a length the tag (or a length in front) tells, and groups are closed, so no two
//! different streams of events give the same bytes. Nothing is allocated for it.

use std::hash::Hasher as _;

use hmac_sha256::Hash as Sha256;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as ResultHasher};

use super::{half, length};
use crate::encoding::canonical::{CanonicalError, Event, EventSink, Group};

/// A hash that reads bytes as they come.
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

/// The sink that digests are made through.
pub(super) struct EventHasher<H> {
    /// Makes the hash that the value and each map entry start from.
    fresh: fn() -> H,
    hash: H,
    counts_variants: bool,
    summed_max: usize,
    holds_sequence: bool,
}

impl<H: Absorb> EventHasher<H> {
    pub(super) fn new(fresh: fn() -> H) -> Self {
        Self { fresh, hash: fresh(), counts_variants: false, summed_max: 0, holds_sequence: false }
    }

    /// The same, with the index of variants beside their names, as codecs without names write it.
    pub(super) fn with_indices(fresh: fn() -> H) -> Self {
        Self { counts_variants: true, ..Self::new(fresh) }
    }

    /// The same, with up to so many elements of a sequence taken as if they were a set's.
    pub(super) fn summing(self, summed_max: usize) -> Self {
        Self { summed_max, ..self }
    }

    /// Whether a sequence was met, be it empty.
    pub(super) fn holds_sequence(&self) -> bool {
        self.holds_sequence
    }

    pub(super) fn finish(self) -> [u8; 16] {
        self.hash.finish()
    }

    /// An event of a fixed length: no more than the 16 bytes of an `i128`.
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
        if self.counts_variants {
            self.hash.absorb(&index.to_le_bytes());
        }
    }

    /// An integer by the bytes its type has; the rest only extends the sign.
    fn integer(&mut self, tag: u8, width: u8, value: u128) {
        // All but the widest are packed behind their tag: one step for each byte of a `Vec<u8>`.
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
            Event::F32(value) => self.short(0x04, &value.to_bits().to_le_bytes()),
            Event::F64(value) => self.short(0x05, &value.to_bits().to_le_bytes()),
            Event::Char(value) => self.short(0x06, &u32::from(value).to_le_bytes()),
            Event::Text(value) => self.long(0x07, value.as_bytes()),
            Event::Bytes(value) => self.long(0x08, value),
            Event::None => self.short(0x09, &[]),
            Event::Some => self.short(0x0a, &[]),
            Event::Unit => self.short(0x0b, &[]),
            Event::UnitVariant(index, name) => self.variant(0x0c, index, name),
            Event::Begin(Group::Seq) => {
                self.holds_sequence = true;
                self.short(0x10, &[]);
            }
            Event::Begin(Group::Tuple) => self.short(0x11, &[]),
            Event::Begin(Group::Struct) => self.short(0x12, &[]),
            Event::Begin(Group::Map) => self.short(0x13, &[]),
            Event::Begin(Group::Variant(index, name)) => self.variant(0x14, index, name),
            Event::Field(name) => self.long(0x15, name.as_bytes()),
            // A field that is left out leaves nothing behind: a type without that field looks the same.
            Event::Skipped(_) => {}
            Event::Entry(entry) => self.short(0x16, &entry),
            Event::End(_) => self.short(0x17, &[]),
        }
        Ok(())
    }

    fn entry(&self) -> Self {
        let mut hash = (self.fresh)();
        // No value starts with this tag, so an entry cannot be taken for a whole value.
        hash.absorb(&[0x18]);
        Self { hash, ..*self }
    }

    fn close(&mut self, entry: Self) -> [u8; 16] {
        self.holds_sequence |= entry.holds_sequence;
        entry.finish()
    }

    fn summed_max(&self) -> usize {
        self.summed_max
    }
}
