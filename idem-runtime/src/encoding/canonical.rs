//! One serde serializer for keys and digests.
//!
//! It walks any value and tells a [`EventSink`] what it meets, as a stream of [`Event`]s that is the same for equal values:
//!
//! - Field and variant *names* count, the names of types do not: renaming a struct changes nothing. A newtype is its content.
//! - The primitive kind of a number counts, so a field that became another type is noticed.
//! - Map entries come in a canonical order, whatever order the map is kept in.
//! - Values call themselves human-readable here, for keys and digests alike. A UUID is then its text; and an enum that
//!   writes a name for people and a number for machines shows its name, which still tells a misread number apart after
//!   its variants were reordered. Digests are always taken from values and never from stored bytes, so it does not matter
//!   that a codec may have written the other form. Only an element that is summed up without its order, and asks who reads
//!   it, is walked once more as for a machine: numbers that changed places would else look like elements that did.
//! - Nesting ends at [`DEPTH_MAX`] with an error, long before the stack does.

use std::cell::Cell;
use std::fmt;

use serde::ser::{self, Serialize};

mod serializer;

/// How deep a value may nest. Wrappers (`Some`, newtypes) count as well, since they recurse as well.
pub(crate) const DEPTH_MAX: u8 = 128;

/// One thing met on the walk through a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    Bool(bool),
    /// A signed integer and the width of its type in bytes.
    Signed(u8, i128),
    /// An unsigned integer and the width of its type in bytes.
    Unsigned(u8, u128),
    F32(f32),
    F64(f64),
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
    /// A finished map entry, by what [`EventSink::close`] made of it; or the sum of elements whose order does not matter.
    Entry([u8; 16]),
    End(Group),
}

/// What holds other values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Seq,
    Tuple,
    Struct,
    Map,
    /// An enum variant with content (one value, a tuple or a struct): its index and its name.
    Variant(u32, &'static str),
}

/// What is made of a value: key text or a digest.
pub(crate) trait EventSink: Sized {
    /// Takes the next event. An error ends the walk.
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError>;

    /// An empty sink for one entry of a map, its key and its value, or for one element that is summed up.
    fn entry(&self) -> Self;

    /// What stands for a finished entry of this sink, and what entries are ordered by.
    fn close(&mut self, entry: Self) -> [u8; 16];

    /// How many elements of a sequence are summed up, so that their order does not matter: all of what calls itself a
    /// `HashSet`, or none. Any further ones are told as they come.
    fn summed_max(&self) -> usize {
        0
    }
}

/// Walks `value` and tells `sink` about it.
pub(crate) fn walk<T: Serialize + ?Sized, S: EventSink>(
    value: &T,
    sink: &mut S,
) -> Result<(), CanonicalError> {
    value.serialize(serializer::CanonicalSerializer::new(sink, &Cell::new(false)))
}

/// Whether `T` is or mentions a `HashSet`, whose order changes from one set to the next.
///
/// A best-effort guard: serde shows a set as a sequence, so only the name of the type gives it away, and a set inside a
/// struct of the caller's is not seen.
pub(crate) fn mentions_hash_set<T: ?Sized>() -> bool {
    std::any::type_name::<T>().contains("HashSet<")
}

/// Why a value cannot be walked, as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CanonicalError {
    /// It nests deeper than [`DEPTH_MAX`].
    TooDeep,
    /// The sink has no place for it.
    Refused(String),
    /// Its `Serialize` failed.
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
