//! The event sink that builds the text of a key.

use std::fmt::{self, Write as _};

use super::KEY_BYTES_MAX;
use super::blank::is_blank;
use crate::encoding::canonical::{CanonicalError, Event, EventSink, Group};

/// The text so far, and the position in the key.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    place: Vec<Place>,
}

/// One step of the path from the key to an inner value.
#[derive(Clone, Copy)]
enum Place {
    /// In a sequence or tuple, with the number of elements so far.
    Elements {
        begun: usize,
    },
    /// In a struct, with its last field so far.
    Fields {
        last: Option<&'static str>,
    },
    Variant(&'static str),
}

impl EventSink for Text {
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError> {
        self.separate(&event);
        match event {
            Event::Bool(value) => self.plain(value)?,
            Event::Signed(_, value) => self.plain(value)?,
            Event::Unsigned(_, value) => self.plain(value)?,
            Event::F32(_) | Event::F64(_) | Event::Digits(_) => {
                return Err(self.refused("is a float, which rounds"));
            }
            Event::Char(value) => self.text(value.encode_utf8(&mut [0; 4]))?,
            Event::Text(value) | Event::UnitVariant(_, value) => self.text(value)?,
            Event::Bytes(value) => self.bytes(value)?,
            Event::None => return Err(self.missing("`None`")),
            // The value itself follows.
            Event::Some => {}
            Event::Unit => return Err(self.missing("`()`")),
            Event::Begin(group) => self.begin(group)?,
            Event::Field(name) => self.field(name)?,
            Event::Skipped(name) => return Err(self.skipped(name)),
            Event::Entry(_) => return Err(self.map()),
            Event::End(group) => self.end(group)?,
        }
        within_limit(self.text.len())
    }

    fn unordered_max(&mut self, is_set: impl FnOnce() -> bool) -> Result<usize, CanonicalError> {
        if !is_set() {
            return Ok(0);
        }
        self.separate(&Event::Begin(Group::Seq));
        Err(self.refused("is a `HashSet`, whose order changes"))
    }

    fn entry(&self) -> Self {
        Self::default()
    }

    fn close(&mut self, _: Self) -> [u8; 16] {
        // Unreachable: a map is refused at its beginning.
        [0; 16]
    }
}

impl Text {
    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// Writes the comma between elements and counts them.
    fn separate(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Some | Event::Field(_) | Event::Skipped(_) | Event::End(_)) {
            return;
        }
        if let Some(Place::Elements { begun }) = self.place.last_mut() {
            if *begun > 0 {
                self.text.push(',');
            }
            *begun += 1;
        }
    }

    fn plain(&mut self, value: impl fmt::Display) -> Result<(), CanonicalError> {
        write!(self.text, "{value}").map_err(|_| self.refused("cannot be written"))
    }

    /// Writes text: unquoted if it is the whole key and looks like no other form, and quoted otherwise.
    fn text(&mut self, value: &str) -> Result<(), CanonicalError> {
        if value.is_empty() {
            return Err(self.missing("empty text"));
        }
        if is_blank(value) {
            return Err(self.missing("blank"));
        }
        within_limit(self.text.len().saturating_add(value.len()))?;
        let mistakable = value.starts_with(['[', '{', '"']) || value.starts_with("x'");
        if self.place.is_empty() && !mistakable {
            self.text.push_str(value);
        } else {
            self.quoted(value);
        }
        Ok(())
    }

    /// Writes text quoted like JSON: control characters are escaped.
    fn quoted(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                '\0'..='\x1f' => self.text.extend(format!("\\u{:04x}", u32::from(c)).chars()),
                _ => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), CanonicalError> {
        if value.is_empty() {
            return Err(self.missing("empty"));
        }
        within_limit(self.text.len().saturating_add(value.len()))?;
        self.text.push_str("x'");
        value.iter().try_for_each(|byte| self.plain(format_args!("{byte:02x}")))?;
        self.text.push('\'');
        Ok(())
    }

    fn begin(&mut self, group: Group) -> Result<(), CanonicalError> {
        match group {
            Group::Seq | Group::Tuple => {
                self.text.push('[');
                self.place.push(Place::Elements { begun: 0 });
            }
            Group::Struct => {
                self.text.push('{');
                self.place.push(Place::Fields { last: None });
            }
            Group::Variant(_, name) => {
                self.text.push('{');
                self.quoted(name);
                self.text.push(':');
                self.place.push(Place::Variant(name));
            }
            Group::Map => return Err(self.map()),
        }
        Ok(())
    }

    fn field(&mut self, name: &'static str) -> Result<(), CanonicalError> {
        if let Some(Place::Fields { last }) = self.place.last_mut()
            && last.replace(name).is_some()
        {
            self.text.push(',');
        }
        within_limit(self.text.len().saturating_add(name.len()))?;
        self.quoted(name);
        self.text.push(':');
        Ok(())
    }

    fn end(&mut self, group: Group) -> Result<(), CanonicalError> {
        if let Some(Place::Elements { begun: 0 } | Place::Fields { last: None }) = self.place.pop() {
            return Err(self.missing("empty"));
        }
        self.text.push(if matches!(group, Group::Seq | Group::Tuple) { ']' } else { '}' });
        Ok(())
    }

    fn missing(&self, what: &str) -> CanonicalError {
        self.refused(&format!("is {what}"))
    }

    fn map(&self) -> CanonicalError {
        self.refused("is a map, or a struct with `flatten`")
    }

    fn skipped(&mut self, name: &'static str) -> CanonicalError {
        self.place.pop();
        self.place.push(Place::Fields { last: Some(name) });
        self.refused("is left out (`skip_serializing_if`)")
    }

    /// An error about the present value.
    fn refused(&self, why: &str) -> CanonicalError {
        let path: String = self.place.iter().rev().map(ToString::to_string).collect();
        CanonicalError::Refused(format!("{path}the key {why}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements { begun } => write!(f, "element {} of ", begun.saturating_sub(1)),
            Self::Fields { last } => write!(f, "field `{}` of ", last.unwrap_or_default()),
            Self::Variant(name) => write!(f, "variant `{name}` of "),
        }
    }
}

fn within_limit(bytes: usize) -> Result<(), CanonicalError> {
    if bytes <= KEY_BYTES_MAX {
        return Ok(());
    }
    let why = format!("the key is longer than {KEY_BYTES_MAX} bytes");
    Err(CanonicalError::Refused(why))
}
