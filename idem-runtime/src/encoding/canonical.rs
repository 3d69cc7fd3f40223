//! The canonical serializer of keys and digests.
//!
//! The serializer turns any value into a stream of [`Event`]s for an [`EventSink`]. Equal values give equal streams:
//!
//! - Field and variant *names* count; the names of types do not. Renaming a struct changes nothing. A newtype is its content.
//! - The primitive kind of a number counts: a field that changed its type has another stream.
//! - Map entries come in a canonical order. The elements of a set in an argument also come in a canonical order.
//! - A private struct in which another crate passes a value to its own serializer counts as that value.
//! - The serializer is human-readable, for keys and digests alike. A UUID is then its text. An enum that serializes a
//!   name for people and a number for machines shows its name. If the variants are reordered, the name exposes a
//!   misread number. Digests are taken from values and never from stored bytes, so the form that a codec writes does
//!   not matter. One exception: an element without an order that calls `is_human_readable` is also serialized for
//!   machines. Otherwise exchanged variant numbers would look like exchanged elements.
//! - Nesting deeper than [`DEPTH_MAX`] is an error, long before the stack ends.

use std::cell::Cell;
use std::fmt;

use serde::ser::{self, Serialize};

mod serializer;
mod sets;
mod stand_in;

/// The maximum depth of a value. Wrappers (`Some`, newtypes) count: they recurse too.
pub(crate) const DEPTH_MAX: u8 = 128;

/// One step through a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    Bool(bool),
    /// A signed integer and the width of its type in bytes.
    Signed(u8, i128),
    /// An unsigned integer and the width of its type in bytes.
    Unsigned(u8, u128),
    F32(f32),
    F64(f64),
    /// A number with more digits than a float holds.
    Digits(&'a str),
    Char(char),
    Text(&'a str),
    Bytes(&'a [u8]),
    None,
    /// The value that follows is wrapped in `Some`.
    Some,
    Unit,
    /// A variant without content: its index and its name.
    UnitVariant(u32, &'static str),
    Begin(Group),
    /// The name of the field whose value follows.
    Field(&'static str),
    /// A field that `skip_serializing_if` left out.
    Skipped(&'static str),
    /// A finished map entry, or a finished element without an order, as [`EventSink::close`] returned it.
    Entry([u8; 16]),
    End(Group),
}

/// A value that contains other values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Seq,
    Tuple,
    Struct,
    Map,
    /// An enum variant with content (one value, a tuple or a struct): its index and its name.
    Variant(u32, &'static str),
}

/// A consumer of events: it builds the text of a key, or a digest.
pub(crate) trait EventSink: Sized {
    /// Takes the next event. An error ends the serialization.
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError>;

    /// An empty sink for one map entry (its key and its value), or for one element without an order.
    fn entry(&self) -> Self;

    /// The bytes of a finished entry. Entries are ordered by these bytes.
    fn close(&mut self, entry: Self) -> [u8; 16];

    /// The number of elements of the next sequence whose order does not matter. Further elements come in order.
    ///
    /// `is_set` tells whether the sequence is a set. An error refuses the sequence.
    fn unordered_max(&mut self, is_set: impl FnOnce() -> bool) -> Result<usize, CanonicalError> {
        let _ = is_set;
        Ok(0)
    }
}

/// Serializes `value` into events for `sink`.
pub(crate) fn serialize<T: Serialize + ?Sized, S: EventSink>(
    value: &T,
    sink: &mut S,
) -> Result<(), CanonicalError> {
    serializer::serialize_root(value, sink, &Cell::new(false))
}

/// Why a value has no canonical form, as a predicate of a sentence about the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CanonicalError {
    /// The value nests deeper than [`DEPTH_MAX`].
    TooDeep,
    /// The sink refuses the value.
    Refused(String),
    /// The `Serialize` implementation failed.
    Failed(String),
}

impl fmt::Display for CanonicalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "is nested deeper than {DEPTH_MAX} levels"),
            Self::Refused(why) => f.write_str(why),
            Self::Failed(why) => write!(f, "cannot be serialized: {why}"),
        }
    }
}

impl std::error::Error for CanonicalError {}

impl ser::Error for CanonicalError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Failed(message.to_string())
    }
}

#[cfg(test)]
mod tests;
