//! Keys: what names one call among all calls of a function.
//!
//! A key is kept as text that people can read and that tells different keys apart:
//!
//! | value | text |
//! |---|---|
//! | `7`, `true`, `'x'`, `"order 7"`, a unit variant | as it is: `7`, `true`, `x`, `order 7`, `Monthly` |
//! | `Some(7)`, `OrderId(7)` | as what they hold: `7` |
//! | `("a", 7)`, `["a", "b"]` | `["a",7]`, `["a","b"]` |
//! | `Line { order: "a", no: 7 }` | `{"order":"a","no":7}` |
//! | `Payment::Card("a")` | `{"Card":"a"}` |
//! | bytes | `x'6869'` |
//! | text that could be taken for one of the last four | quoted: `"[1]"` |
//!
//! What is missing (`None`, empty text) is refused: it would share one record with everything else that is missing.

use std::fmt;

use serde::Serialize;

use crate::encoding::canonical::{CanonicalError, DEPTH_MAX, mentions_hash_set, serialize};

mod text;

/// How long the text of a key may be, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1_024;

/// The text of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(String);

impl Key {
    /// The text of `key`, or why it cannot be one.
    pub(crate) fn of<K: Serialize + ?Sized>(key: &K) -> Result<Self, BadKey> {
        if mentions_hash_set::<K>() {
            return Err(BadKey("the key is a `HashSet`, whose order changes".into()));
        }
        let mut text = text::Text::default();
        serialize(key, &mut text)?;
        Ok(Self(text.into_string()))
    }

    /// A key as it was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// For messages and logs: what could break a line or reorder it is escaped.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            _ if c.is_control() => write!(f, "{}", c.escape_default()),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(f, "{}", c.escape_unicode())
            }
            _ => write!(f, "{c}"),
        })
    }
}

/// Why a value cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadKey(String);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadKey {}

impl From<CanonicalError> for BadKey {
    fn from(why: CanonicalError) -> Self {
        Self(match why {
            CanonicalError::TooDeep => format!("the key is nested deeper than {DEPTH_MAX} levels"),
            CanonicalError::Refused(why) => why,
            CanonicalError::Failed(why) => format!("the key cannot be serialized: {why}"),
        })
    }
}

#[cfg(test)]
mod tests;
