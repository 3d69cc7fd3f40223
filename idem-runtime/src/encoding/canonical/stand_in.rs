//! Private structs in which other crates pass a value to their own serializer.
//!
//! If any crate of a program enables `arbitrary_precision`, `serde_json` writes numbers in such a struct. The canonical
//! form is that of the value, so that a feature of another crate changes neither keys nor digests.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::{CanonicalError, Event, EventSink};

const NUMBER: &str = "$serde_json::private::Number";

/// A private struct with one field, by the content of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandIn {
    /// The digits of a number.
    Number,
    /// A JSON document.
    Json,
    /// The value itself, such as the text of a date in TOML.
    Value,
}

impl StandIn {
    /// The kind of a struct with `fields` fields, or `None` for an ordinary struct.
    pub(super) fn of(name: &str, fields: usize) -> Option<Self> {
        if !name.starts_with('$') || fields != 1 || !name.contains("private") {
            return None;
        }
        Some(match name {
            NUMBER => Self::Number,
            "$serde_json::private::RawValue" => Self::Json,
            _ => Self::Value,
        })
    }
}

/// A sink that keeps a text.
#[derive(Default)]
pub(super) struct TextOnly(String);

impl EventSink for TextOnly {
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError> {
        let Event::Text(text) = event else {
            return Err(CanonicalError::Failed("a private struct holds no text".into()));
        };
        text.clone_into(&mut self.0);
        Ok(())
    }

    fn entry(&self) -> Self {
        Self::default()
    }

    fn close(&mut self, _: Self) -> [u8; 16] {
        [0; 16]
    }
}

impl TextOnly {
    /// Returns the number with these digits, in the type that `serde_json` uses without `arbitrary_precision`.
    ///
    /// If no such type holds all digits, returns the digits, so that rounding makes no two numbers equal.
    pub(super) fn number(&self) -> Event<'_> {
        let Self(text) = self;
        if let Ok(number) = text.parse() {
            return Event::Unsigned(8, u64::into(number));
        }
        match text.parse::<i64>() {
            // Without the feature, `-0` is a float.
            Ok(number @ ..0) => Event::Signed(8, number.into()),
            _ => {
                text.parse().ok().filter(|float| holds(*float, text)).map_or(Event::Digits(text), Event::F64)
            }
        }
    }

    /// The JSON document. `None` if the text is no document, or if it mentions a private struct of `serde_json`.
    pub(super) fn json(&self) -> Option<Json> {
        let Self(text) = self;
        if text.contains("$serde_json::private") { None } else { serde_json::from_str(text).ok() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `float` is the number in `text`, in the shortest decimal form or exactly.
fn holds(float: f64, text: &str) -> bool {
    let decimal = Decimal::of(text);
    float.is_finite()
        && (decimal == Decimal::of(&format!("{float:e}")) || decimal == Decimal::of(&format!("{float:.0}")))
}

/// A decimal number without leading and trailing zeros: `0.` followed by the digits, times ten to the exponent.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent is no number.
    fn of(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mantissa_digits = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa_digits.split_once('.').unwrap_or((mantissa_digits, ""));
        let all = format!("{whole}{fraction}");
        let from_first = all.trim_start_matches('0');
        let leading = i64::try_from(all.len() - from_first.len()).ok()?;
        let digits = from_first.trim_end_matches('0').to_owned();
        let point = i64::try_from(whole.len()).ok()?.checked_sub(leading)?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(point)?;
        let exponent = if digits.is_empty() { 0 } else { exponent };
        Some(Self { is_negative: mantissa.starts_with('-'), digits, exponent })
    }
}

/// A JSON document with all members, because a reader may take either of two equal names.
pub(super) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// The digits of a number.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Members(Vec<(String, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Number(digits) => {
                let mut number = serializer.serialize_struct(NUMBER, 1)?;
                number.serialize_field(NUMBER, digits)?;
                number.end()
            }
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(values) => serializer.collect_seq(values),
            Self::Members(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    /// With `arbitrary_precision`, a number comes as a map with the name of the private struct.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match (name.as_str(), map.next_value()?) {
                (NUMBER, Json::Text(digits)) if members.is_empty() => return Ok(Json::Number(digits)),
                (_, value) => members.push((name, value)),
            }
        }
        Ok(Json::Members(members))
    }
}
