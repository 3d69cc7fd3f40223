//! How results are stored, and the only place that names bincode.
//!
//! The row carries the id of its codec, so the default may change and rows of all kinds may lie side by side.
//!
//! Bincode writes values without names, and misreads *silently* what it cannot carry (`skip_serializing_if`) and what was
//! written by another version of a type (reordered fields, inserted variants). So a value is stored only if it reads back
//! with the digest it had, and a bincode row is replayed only if it still has the digest that was recorded. JSON carries
//! names and is judged by serde alone, so that a row survives a field that was added with a default.
//!
//! A `HashSet` shows itself as a sequence and comes back in another order each time, by chance in the one it had. So a
//! bincode row with a sequence also carries a digest that ignores order; see [`only_sets_moved`].

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoding::digest::{ResultDigest, ResultIdentity};

mod bounded_writer;
#[cfg(feature = "bincode")]
mod decode_limits;

use bounded_writer::BoundedWriter;

/// How a result is stored.
///
/// The default is bincode, or JSON where the feature `bincode` is switched off. A result that bincode cannot carry
/// faithfully (`flatten`, `untagged`, `skip_serializing_if`, `serde_json::Value`) is stored as JSON by itself.
///
/// # Which one
///
/// - `Bincode` is compact and carries what JSON cannot: NaN, `Some(None)`, maps with keys that are not text. A row that
///   another version of the type would misread is refused as [`Undecodable`](crate::ErrorKind::Undecodable), never
///   replayed.
/// - `Json` survives fields that were added with `#[serde(default)]`, and can be read by people and other programs.
///
/// # About bincode
///
/// The crate bincode is no longer maintained (RUSTSEC-2025-0141, an advisory without a vulnerability): 2.0.1 is its last
/// release. It is used here because its format is small and specified, and it is fenced in: rows are checksummed, depth
/// and element counts are limited, text is never allocated before its bytes are seen, and every value read is compared
/// with its recorded digest. Whoever must not depend on it builds with `default-features = false`; rows that were written
/// with it are then refused as `Undecodable`, and new ones are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Compact; a changed type is noticed and refused.
    #[cfg(feature = "bincode")]
    Bincode,
    /// Readable; survives added fields.
    Json,
}

#[allow(clippy::derivable_impls, reason = "the default depends on a feature")]
impl Default for Codec {
    fn default() -> Self {
        #[cfg(feature = "bincode")]
        return Self::Bincode;
        #[cfg(not(feature = "bincode"))]
        Self::Json
    }
}

/// The ids rows carry. They are never given to anything else.
const BINCODE_ID: u8 = 1;
const JSON_ID: u8 = 2;
/// Bincode that read back in the order it had, and behind it the digest of what may move later: [`CHANCE_MAX`].
const BINCODE_SEQUENCES_ID: u8 = 3;
/// Bincode of which a set moved at once, and behind it the digest that ignores the order of all sequences.
const BINCODE_SETS_ID: u8 = 4;

/// How many elements of a sequence that read back in the order it had may come in another one later.
///
/// What looks like a list may be a set that did so by chance: once in `n!` times, beyond 20 elements never. Each element
/// costs a hash of its own, and a long list should not pay for what only a set needs. A set whose hasher is the same all
/// through a program keeps its order without chance: what calls itself a `HashSet` may move at any length.
const CHANCE_MAX: usize = 20;

impl Codec {
    /// The id that rows of this codec carry.
    pub(crate) fn id(self) -> u8 {
        match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => BINCODE_ID,
            Self::Json => JSON_ID,
        }
    }

    fn of_row(id: u8) -> Result<Self, String> {
        match id {
            #[cfg(feature = "bincode")]
            BINCODE_ID | BINCODE_SEQUENCES_ID | BINCODE_SETS_ID => Ok(Self::Bincode),
            #[cfg(not(feature = "bincode"))]
            BINCODE_ID | BINCODE_SEQUENCES_ID | BINCODE_SETS_ID => Err("the feature `bincode` is off".into()),
            JSON_ID => Ok(Self::Json),
            _ => Err(format!("this version does not know codec `{id}`")),
        }
    }

    /// What is tried, in this order, to store a result.
    fn candidates(self) -> &'static [Self] {
        match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => &[Self::Bincode, Self::Json],
            Self::Json => &[Self::Json],
        }
    }

    fn write<T: Serialize>(self, value: &T, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut row = BoundedWriter::new(bytes_max);
        let written = match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => {
                bincode::serde::encode_into_std_write(value, &mut row, bincode::config::standard())
                    .map(drop)
                    .map_err(|why| why.to_string())
            }
            Self::Json => serde_json::to_writer(&mut row, value).map_err(|why| why.to_string()),
        };
        if row.is_full() {
            return Err(format!("is larger than `{bytes_max}` bytes"));
        }
        written.map(|()| row.into_bytes()).map_err(|why| format!("cannot be encoded (`{why}`)"))
    }

    fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => read_bincode(bytes),
            Self::Json => serde_json::from_slice(bytes).map_err(|why| json_cause(&why)),
        }
    }
}

/// The words of an error that quote nothing of the value; any others may, and it is nobody's to read.
fn harmless(words: &str) -> Option<&str> {
    ["missing field", "nested deeper", "more elements"]
        .iter()
        .any(|start| words.starts_with(start))
        .then_some(words)
}

fn json_cause(why: &serde_json::Error) -> String {
    let words = why.to_string();
    harmless(&words).map_or_else(
        || format!("not what was asked for, at line {} column {}", why.line(), why.column()),
        str::to_owned,
    )
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "bincode")]
            Self::Bincode => "bincode",
            Self::Json => "json",
        })
    }
}

/// A result or a remembered error as a row stores it. `B` holds the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stored<B = Vec<u8>> {
    pub(crate) codec_id: u8,
    pub(crate) digest: ResultDigest,
    pub(crate) bytes: B,
}

impl<B: AsRef<[u8]>> Stored<B> {
    pub(crate) fn borrowed(&self) -> Stored<&[u8]> {
        Stored { codec_id: self.codec_id, digest: self.digest, bytes: self.bytes.as_ref() }
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Stored<B> {
    /// Shows the length alone: a result may hold secrets, and debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.as_ref().len())
    }
}

/// An encoded result.
#[derive(Debug)]
pub(crate) struct Encoded<T> {
    pub(crate) stored: Stored,
    /// What every replay gives, and therefore the first caller too.
    pub(crate) value_read_back: T,
}

/// Encodes a result of at most `bytes_max` bytes, in a form that is known to read back.
pub(crate) fn encode<T: Serialize + DeserializeOwned>(
    value: &T,
    codec: Codec,
    bytes_max: usize,
) -> Result<Encoded<T>, Unstorable> {
    let known = ResultIdentity::of(value).map_err(|why| Unstorable(format!("it {why}")))?;
    let mut reasons = Vec::new();
    for &candidate in codec.candidates() {
        match encode_as(candidate, value, known, bytes_max) {
            Ok(encoded) => return Ok(encoded),
            Err(why) => reasons.push(format!("as {candidate} it {why}")),
        }
    }
    Err(Unstorable(reasons.join("; ")))
}

fn encode_as<T: Serialize + DeserializeOwned>(
    codec: Codec,
    value: &T,
    ResultIdentity { digest, holds_sequence }: ResultIdentity,
    bytes_max: usize,
) -> Result<Encoded<T>, String> {
    let bytes = codec.write(value, bytes_max)?;
    let value_read_back = codec.read(&bytes).map_err(|why| format!("does not read back (`{why}`)"))?;
    let has_moved = ResultDigest::of(&value_read_back) != Ok(digest);
    let stored = Stored { codec_id: codec.id(), digest, bytes };
    let mut encoded = Encoded { stored, value_read_back };
    if !has_moved && (codec == Codec::Json || !holds_sequence) {
        return Ok(encoded);
    }
    let (codec_id, summed_max) =
        if has_moved { (BINCODE_SETS_ID, usize::MAX) } else { (BINCODE_SEQUENCES_ID, CHANCE_MAX) };
    let unordered = ResultDigest::of_unordered(value, summed_max).map_err(|why| why.to_string())?;
    // The order of a set does not matter, and no codec changes that of a list: bincode misreads a value only where it
    // reads more bytes for it than were written, which the same elements in another order do not need.
    if has_moved && ResultDigest::of_unordered(&encoded.value_read_back, summed_max) != Ok(unordered) {
        return Err("reads back as another value".into());
    }
    // JSON is read as it stands, in whatever order.
    if codec != Codec::Json && unordered != digest {
        encoded.stored.codec_id = codec_id;
        encoded.stored.bytes.extend_from_slice(&unordered.to_bytes());
    }
    Ok(encoded)
}

/// Decodes a stored result; whatever the bytes hold, what comes out is the value that was recorded or an error.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(stored: Stored<&[u8]>) -> Result<T, Undecodable> {
    let Stored { codec_id, digest, bytes } = stored;
    let codec = Codec::of_row(codec_id).map_err(Undecodable)?;
    let summed_max = match codec_id {
        BINCODE_SEQUENCES_ID => Some(CHANCE_MAX),
        BINCODE_SETS_ID => Some(usize::MAX),
        _ => None,
    };
    let (bytes, unordered) = match (summed_max, bytes.split_last_chunk()) {
        (Some(summed_max), Some((bytes, unordered))) => (bytes, Some((summed_max, *unordered))),
        _ => (bytes, None),
    };
    let value: T =
        codec.read(bytes).map_err(|why| Undecodable(format!("the bytes do not decode (`{why}`)")))?;
    if codec == Codec::Json
        || ResultDigest::of(&value) == Ok(digest)
        || unordered.is_some_and(|unordered| only_sets_moved(&value, unordered))
    {
        return Ok(value);
    }
    Err(Undecodable("the bytes decode to another value than the recorded one".into()))
}

/// Whether `value` differs from what was recorded in nothing but the order of its sets.
///
/// A list keeps its order unless its type has changed, and then it could seem to have moved: `[A, B]` is `[B, A]` after
/// the variants of an enum changed places. So the digest takes each element with its number, and with all that machines
/// are shown of it. How `value` is written now says nothing: a set may take another order each time.
fn only_sets_moved<T: Serialize>(value: &T, (summed_max, unordered): (usize, [u8; 8])) -> bool {
    ResultDigest::of_unordered(value, summed_max).is_ok_and(|digest| digest.to_bytes() == unordered)
}

#[cfg(feature = "bincode")]
fn read_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let values_left = decode_limits::values_max(bytes);
    let seed = decode_limits::LimitedSeed::new(&values_left);
    let (value, read) = bincode::serde::seed_decode_from_slice(seed, bytes, bincode::config::standard())
        .map_err(|why| bincode_cause(&why))?;
    if read != bytes.len() {
        return Err(format!("`{}` bytes are left over", bytes.len().saturating_sub(read)));
    }
    Ok(value)
}

#[cfg(feature = "bincode")]
fn bincode_cause(why: &bincode::error::DecodeError) -> String {
    match why {
        bincode::error::DecodeError::OtherString(words) => {
            harmless(words).unwrap_or("a value that its type refuses").to_owned()
        }
        why => why.to_string(),
    }
}

/// Why a result cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unstorable(String);

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "the result cannot be stored: {why}")
    }
}

impl std::error::Error for Unstorable {}

/// Why a stored result cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable(String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "the stored result cannot be read: {why}")
    }
}

impl std::error::Error for Undecodable {}

#[cfg(test)]
#[cfg(feature = "bincode")]
mod bincode_tests;
#[cfg(test)]
#[cfg(feature = "bincode")]
mod set_tests;
#[cfg(test)]
mod tests;
