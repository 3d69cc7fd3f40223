//! Stored results, and why a result cannot be stored or replayed.

use std::fmt;

use crate::encoding::digest::ResultDigest;

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
    /// The value of every replay, and therefore of the first caller too.
    pub(crate) value_read_back: T,
}

/// Why a result cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unstorable(pub(super) String);

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "the result cannot be stored: {why}")
    }
}

impl std::error::Error for Unstorable {}

/// Why a stored result cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable(pub(super) String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "the stored result cannot be read: {why}")
    }
}

impl std::error::Error for Undecodable {}
