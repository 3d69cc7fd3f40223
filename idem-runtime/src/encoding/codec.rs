//! The codecs of stored results, and the only module that names bincode.
//!
//! A row carries the id of its codec. The default may change, and rows of all codecs may stand in one store.
//!
//! Bincode writes values without names. It misreads *silently* a value that it cannot carry (`skip_serializing_if`), and a
//! value of another version of the type (reordered fields, inserted variants). Therefore a value is stored only if it
//! reads back with its digest, and a row is replayed only if the value has the recorded digest.
//!
//! A result that bincode cannot carry falls back to JSON, and its row keeps the digest check. If a call chose JSON, serde
//! alone decides about its rows: they survive a field that was added with a default.
//!
//! serde shows a `HashSet` as a sequence, and the set reads back in another order, sometimes by chance in the same one.
//! Therefore a checked row with a sequence also carries a digest that ignores order; see [`only_sets_moved`].

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::UnitDeserializer;

use crate::encoding::digest::{ResultDigest, ResultIdentity};

mod bounded_writer;
#[cfg(feature = "bincode")]
mod decode_limits;
mod row_format;
mod stored;

use bounded_writer::BoundedWriter;
use row_format::{Check, RowFormat};
pub(crate) use stored::{Encoded, Stored, Undecodable, Unstorable};

/// The codec of stored results.
///
/// The default is bincode, or JSON without the feature `bincode`. A result that bincode cannot carry (`flatten`,
/// `untagged`, `skip_serializing_if`, `serde_json::Value`) is stored as JSON automatically.
///
/// # Which one
///
/// - `Bincode` is compact and carries values that JSON cannot: NaN, `Some(None)`, maps with keys that are not text. A row
///   that another version of the type would misread is refused as [`Undecodable`](crate::ErrorKind::Undecodable), never
///   replayed.
/// - `Json` survives fields that were added with `#[serde(default)]`. People and other programs can read it. Serde alone
///   decides what a row means to a later version of the type. A row that became JSON automatically is checked like one of
///   bincode.
///
/// # About bincode
///
/// The crate bincode is no longer maintained (RUSTSEC-2025-0141, an advisory without a vulnerability): 2.0.1 is its
/// last release. `idem-runtime` uses bincode because its format is small and specified. Rows are checksummed. Depth and
/// element counts are limited. Text is allocated only after its bytes were seen. Every value read is compared with its
/// recorded digest.
///
/// To build without bincode, use `default-features = false`. Rows that were written with it are then refused as
/// `Undecodable`, and new rows are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Compact; refuses a row of a changed type.
    #[cfg(feature = "bincode")]
    Bincode,
    /// Readable; survives added fields with a default.
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

/// The number of elements whose order may change later although the sequence read back in its order.
///
/// A set of `n` elements keeps its order by chance once in `n!` times, so beyond 20 elements practically never. Each of
/// these elements costs a hash of its own, which a long list should not pay. A set with a fixed hasher always keeps its
/// order within one program. Therefore the order of a type that is named like a set is ignored at any length.
const CHANCE_MAX: usize = 20;

impl Codec {
    /// The codecs that are tried in this order if a call does not choose JSON.
    const CANDIDATES: &[Self] = &[
        #[cfg(feature = "bincode")]
        Self::Bincode,
        Self::Json,
    ];

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

/// Returns the text of an error that quotes nothing of the value, because results stay out of messages.
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

/// The value of a type with one value, if serde can make it from nothing.
pub(crate) fn without_content<T: DeserializeOwned>() -> Option<T> {
    let nothing = UnitDeserializer::<serde::de::value::Error>::new();
    if size_of::<T>() == 0 { T::deserialize(nothing).ok() } else { None }
}

/// Encodes a result of at most `bytes_max` bytes in a form that reads back as the same value.
///
/// `chosen` is the codec that the call names. Every other codec gives rows whose digest is checked.
pub(crate) fn encode<T: Serialize + DeserializeOwned>(
    value: &T,
    chosen: impl Into<Option<Codec>>,
    bytes_max: usize,
) -> Result<Encoded<T>, Unstorable> {
    let known = ResultIdentity::of(value).map_err(|why| Unstorable(format!("it {why}")))?;
    let chosen = chosen.into();
    if chosen == Some(Codec::Json) {
        return encode_as(Codec::Json, Check::Serde, value, known, bytes_max)
            .map_err(|why| Unstorable(format!("as json it {why}")));
    }
    let mut reasons = Vec::new();
    for &candidate in Codec::CANDIDATES {
        match encode_as(candidate, Check::Digest, value, known, bytes_max) {
            Ok(encoded) => return Ok(encoded),
            Err(why) => reasons.push(format!("as {candidate} it {why}")),
        }
    }
    Err(Unstorable(reasons.join("; ")))
}

fn encode_as<T: Serialize + DeserializeOwned>(
    codec: Codec,
    check: Check,
    value: &T,
    ResultIdentity { digest, holds_sequence }: ResultIdentity,
    bytes_max: usize,
) -> Result<Encoded<T>, String> {
    let bytes = codec.write(value, bytes_max)?;
    let value_read_back = codec.read(&bytes).map_err(|why| format!("does not read back (`{why}`)"))?;
    let has_moved = ResultDigest::of(&value_read_back) != Ok(digest);
    let stored = Stored { codec_id: RowFormat { codec, check }.id(), digest, bytes };
    let mut encoded = Encoded { stored, value_read_back };
    if !has_moved && (check == Check::Serde || !holds_sequence) {
        return Ok(encoded);
    }
    let (unordered_check, unordered_max) =
        if has_moved { (Check::Sets, usize::MAX) } else { (Check::Sequences, CHANCE_MAX) };
    let unordered = ResultDigest::of_unordered(value, unordered_max).map_err(|why| why.to_string())?;
    // The order of a set does not matter, and no codec changes the order of a list. If bincode misreads a value, it
    // reads more bytes than were written for the value. Elements in another order need equally many bytes.
    if has_moved && ResultDigest::of_unordered(&encoded.value_read_back, unordered_max) != Ok(unordered) {
        return Err("reads back as another value".into());
    }
    if check == Check::Digest && unordered != digest {
        encoded.stored.codec_id = RowFormat { codec, check: unordered_check }.id();
        encoded.stored.bytes.extend_from_slice(&unordered.to_bytes());
    }
    Ok(encoded)
}

/// Decodes a stored result. For a bincode row, the answer is the recorded value or an error. serde alone decides about
/// a JSON row.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(stored: Stored<&[u8]>) -> Result<T, Undecodable> {
    let Stored { codec_id, digest, bytes } = stored;
    let RowFormat { codec, check } = RowFormat::of_row(codec_id).map_err(Undecodable)?;
    let unordered_max = match check {
        Check::Sequences => Some(CHANCE_MAX),
        Check::Sets => Some(usize::MAX),
        Check::Serde | Check::Digest => None,
    };
    let (bytes, unordered) = match (unordered_max, bytes.split_last_chunk()) {
        (Some(unordered_max), Some((bytes, unordered))) => (bytes, Some((unordered_max, *unordered))),
        _ => (bytes, None),
    };
    let value: T =
        codec.read(bytes).map_err(|why| Undecodable(format!("the bytes do not decode (`{why}`)")))?;
    if check == Check::Serde
        || ResultDigest::of(&value) == Ok(digest)
        || unordered.is_some_and(|unordered| only_sets_moved(&value, unordered))
    {
        return Ok(value);
    }
    Err(Undecodable("the bytes decode to another value than the recorded one".into()))
}

/// Whether `value` differs from the recorded value in the order of its sets alone.
///
/// A list keeps its order. A list of a changed type can look reordered: if two variants of an enum change places,
/// `[A, B]` reads as `[B, A]`. Therefore the digest includes the number of a variant and the form for machines of each
/// element. The present encoding of `value` proves nothing: a set may take another order each time.
fn only_sets_moved<T: Serialize>(value: &T, (unordered_max, unordered): (usize, [u8; 8])) -> bool {
    ResultDigest::of_unordered(value, unordered_max).is_ok_and(|digest| digest.to_bytes() == unordered)
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

#[cfg(test)]
#[cfg(feature = "bincode")]
mod bincode_tests;
#[cfg(test)]
#[cfg(feature = "bincode")]
mod set_tests;
#[cfg(test)]
mod tests;
