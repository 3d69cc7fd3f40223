//! Keys: the identity of one call among all calls of a function.
//!
//! A key is stored as readable text. Different keys have different texts:
//!
//! | value | text |
//! |---|---|
//! | `7`, `true`, `'x'`, `"order 7"`, a unit variant | unchanged: `7`, `true`, `x`, `order 7`, `Monthly` |
//! | `Some(7)`, `OrderId(7)` | the inner value: `7` |
//! | `("a", 7)`, `["a", "b"]` | `["a",7]`, `["a","b"]` |
//! | `Line { order: "a", no: 7 }` | `{"order":"a","no":7}` |
//! | `Payment::Card("a")` | `{"Card":"a"}` |
//! | bytes | `x'6869'` |
//! | text that looks like one of the last four | quoted: `"[1]"` |
//!
//! A missing value (`None`, or text without a visible character) is refused: all calls without a value would share one
//! record. Text is not normalised: two spellings of one letter are two keys.

use std::fmt;

use serde::Serialize;

use crate::encoding::canonical::{CanonicalError, DEPTH_MAX, serialize};

mod blank;
mod text;

/// The maximum length of the text of a key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1_024;

/// The text of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(String);

impl Key {
    /// The text of `key`, or why the value cannot be a key.
    pub(crate) fn of<K: Serialize + ?Sized>(key: &K) -> Result<Self, BadKey> {
        let mut text = text::Text::default();
        serialize(key, &mut text)?;
        Ok(Self(text.into_string()))
    }

    /// A key from its stored text.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// For messages and logs: characters that break or reorder a line are escaped.
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
