use std::collections::{BTreeMap, HashMap, HashSet};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::*;

struct Bytes(&'static [u8]);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Failing;

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no id yet"))
    }
}

#[derive(Serialize)]
struct OrderId(u64);

#[derive(Serialize)]
struct Line {
    order: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    no: Option<u8>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Serialize)]
enum Payment {
    Cash,
    Card(&'static str),
    Split(u8, u8),
    Voucher { code: Option<&'static str> },
}

fn text<K: Serialize + ?Sized>(key: &K) -> String {
    Key::of(key).unwrap().as_str().to_owned()
}

fn refusal<K: Serialize + ?Sized>(key: &K) -> String {
    Key::of(key).unwrap_err().to_string()
}

#[test]
fn keys_are_readable() {
    let address: std::net::IpAddr = [10, 0, 0, 1].into();
    let cases = [
        (text(&7u8), "7"),
        (text(&-7i64), "-7"),
        (text("7"), "7"),
        (text(&u128::MAX), "340282366920938463463374607431768211455"),
        (text(&i128::MIN), "-170141183460469231731687303715884105728"),
        (text(&true), "true"),
        (text(&'ü'), "ü"),
        (text("order 7, \"gift\"\t\n"), "order 7, \"gift\"\t\n"),
        (text(&Some(Some(7))), "7"),
        (text(&OrderId(7)), "7"),
        (text(&address), "10.0.0.1"),
        (text(&("a", "bc")), r#"["a","bc"]"#),
        (text(&("ab", "c")), r#"["ab","c"]"#),
        (text(&(7, "7", Some('7'))), r#"[7,"7","7"]"#),
        (text(&vec![vec![1], vec![2, 3]]), "[[1],[2,3]]"),
        (text(&("a\"b\\c", "\n\u{1}d")), r#"["a\"b\\c","\u000a\u0001d"]"#),
        (text(&Line { order: "a", no: Some(7) }), r#"{"order":"a","no":7}"#),
        (text(&Payment::Cash), "Cash"),
        (text(&(Payment::Cash, 1)), r#"["Cash",1]"#),
        (text(&Payment::Card("a")), r#"{"Card":"a"}"#),
        (text(&Payment::Split(1, 2)), r#"{"Split":[1,2]}"#),
        (text(&Payment::Voucher { code: Some("a") }), r#"{"Voucher":{"code":"a"}}"#),
        (text(&Bytes(b"hi")), "x'6869'"),
        (text(&("x'6869'", Bytes(b"hi"))), r#"["x'6869'",x'6869']"#),
        (text("x'6869'"), r#""x'6869'""#),
        (text("[1]"), r#""[1]""#),
        (text("{}"), r#""{}""#),
        (text("\"a\""), r#""\"a\"""#),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_refusal_names_the_place_in_the_key() {
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::Value::Array(vec![inner]));
    let long = "a".repeat(KEY_BYTES_MAX + 1);
    let cases = [
        (refusal(&None::<u8>), "the key is `None`"),
        (refusal(&("a", None::<u8>)), "element 1 of the key is `None`"),
        (refusal(&("a", Some(None::<u8>))), "element 1 of the key is `None`"),
        (refusal(&("", 1)), "element 0 of the key is empty text"),
        (refusal(""), "the key is empty text"),
        (refusal(&Some("")), "the key is empty text"),
        (refusal(&()), "the key is `()`"),
        (refusal(&Vec::<u8>::new()), "the key is empty"),
        (refusal(&(1, Vec::<u8>::new())), "element 1 of the key is empty"),
        (refusal(&(1, Bytes(b""))), "element 1 of the key is empty"),
        (refusal(&Nothing {}), "the key is empty"),
        (refusal(&1.5), "the key is a float"),
        (refusal(&(1, 1.5f32)), "element 1 of the key is a float"),
        (refusal(&HashMap::from([(1, 2)])), "the key is a map"),
        (refusal(&Flat { id: 1, rest: BTreeMap::new() }), "the key is a map, or a struct with `flatten`"),
        (refusal(&Line { order: "", no: None }), "field `order` of the key is empty text"),
        (
            refusal(&Line { order: "a", no: None }),
            "field `no` of the key is left out (`skip_serializing_if`)",
        ),
        (refusal(&(0, Payment::Card(""))), "variant `Card` of element 1 of the key is empty text"),
        (refusal(&Payment::Voucher { code: None }), "field `code` of variant `Voucher` of the key is `None`"),
        (refusal(&deep), "the key is nested deeper than 128 levels"),
        (refusal(&long), "the key is longer than 1024 bytes"),
        (refusal(&vec![1u8; 600]), "the key is longer than 1024 bytes"),
        (refusal(&Bytes(&[0; 512])), "the key is longer than 1024 bytes"),
        (refusal(&(1, Failing)), "the key cannot be serialized: no id yet"),
        (refusal(&HashSet::from([1])), "the key is a `HashSet`"),
    ];
    for (found, expected) in cases {
        assert!(found.starts_with(expected), "{found:?} does not start with {expected:?}");
    }
}

#[test]
fn the_limit_is_on_the_encoded_text() {
    assert_eq!(text(&"a".repeat(KEY_BYTES_MAX)).len(), KEY_BYTES_MAX);
    // The quotes count.
    assert_eq!(text(&format!("[{}", "a".repeat(KEY_BYTES_MAX - 3))).len(), KEY_BYTES_MAX);
    assert!(Key::of(&format!("[{}", "a".repeat(KEY_BYTES_MAX - 2))).is_err());
}

#[test]
fn messages_show_no_raw_control_characters() {
    let key = Key::of("a\nb\x1b[31m\u{202e}c\u{85}").unwrap();
    assert_eq!(key.as_str(), "a\nb\x1b[31m\u{202e}c\u{85}");
    assert_eq!(key.to_string(), "a\\nb\\u{1b}[31m\\u{202e}c\\u{85}");
    assert_eq!(Key::of("Zoë 7").unwrap().to_string(), "Zoë 7");
}

/// Any value that can be a key.
#[derive(Clone, Debug)]
enum Value {
    Number(i64),
    Truth(bool),
    Text(String),
    Bytes(Vec<u8>),
    Unit(&'static str),
    Some(Box<Value>),
    Newtype(Box<Value>),
    Seq(Vec<Value>),
    Struct(Vec<(&'static str, Value)>),
    Variant(&'static str, Box<Value>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Unit(name) => serializer.serialize_unit_variant("", 0, name),
            Self::Some(value) => serializer.serialize_some(value),
            Self::Newtype(value) => serializer.serialize_newtype_struct("", value),
            Self::Seq(values) => serializer.collect_seq(values),
            Self::Struct(fields) => {
                let mut members = serializer.serialize_struct("", fields.len())?;
                fields.iter().try_for_each(|(name, value)| members.serialize_field(name, value))?;
                members.end()
            }
            Self::Variant(name, value) => serializer.serialize_newtype_variant("", 0, name, value),
        }
    }
}

/// The meaning of a value as a key: two values are the same key if and only if their meanings are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Meaning {
    Number(i64),
    Truth(bool),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Meaning>),
    Named(Vec<(&'static str, Meaning)>),
}

fn meaning(value: &Value) -> Meaning {
    match value {
        Value::Number(number) => Meaning::Number(*number),
        Value::Truth(truth) => Meaning::Truth(*truth),
        Value::Text(text) => Meaning::Text(text.clone()),
        Value::Bytes(bytes) => Meaning::Bytes(bytes.clone()),
        Value::Unit(name) => Meaning::Text((*name).to_owned()),
        Value::Some(value) | Value::Newtype(value) => meaning(value),
        Value::Seq(values) => Meaning::List(values.iter().map(meaning).collect()),
        Value::Struct(fields) => {
            Meaning::Named(fields.iter().map(|(name, value)| (*name, meaning(value))).collect())
        }
        Value::Variant(name, value) => Meaning::Named(vec![(name, meaning(value))]),
    }
}

/// At the top level, scalars are their text.
fn top_meaning(value: &Value) -> Meaning {
    match meaning(value) {
        Meaning::Number(number) => Meaning::Text(number.to_string()),
        Meaning::Truth(truth) => Meaning::Text(truth.to_string()),
        other => other,
    }
}

/// A xorshift generator: the same values in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn text(&mut self) -> String {
        let text: String = (0..=self.roll(3))
            .map(|_| self.pick(&['[', ']', '{', '}', '"', '\\', ',', ':', 'x', '\'', '1', 'u', '\n']))
            .collect();
        if text.trim().is_empty() { "u\n".to_owned() } else { text }
    }

    fn value(&mut self, depth: usize) -> Value {
        const NAMES: [&str; 4] = ["A", "1", "\"", "a\",\"b"];
        let kinds = if depth == 0 { 5 } else { 10 };
        match self.roll(kinds) {
            0 => Value::Number(self.pick(&[-1, 0, 1, 11])),
            1 => Value::Truth(self.roll(2) == 1),
            2 => Value::Text(self.text()),
            3 => Value::Bytes((0..=self.roll(2)).map(|_| self.pick(&[0x11, 0x01, 0x10])).collect()),
            4 => Value::Unit(self.pick(&NAMES)),
            5 => Value::Some(Box::new(self.value(depth - 1))),
            6 => Value::Newtype(Box::new(self.value(depth - 1))),
            7 => Value::Seq((0..=self.roll(3)).map(|_| self.value(depth - 1)).collect()),
            8 => Value::Struct(
                (0..=self.roll(2)).map(|_| (self.pick(&NAMES), self.value(depth - 1))).collect(),
            ),
            _ => Value::Variant(self.pick(&NAMES), Box::new(self.value(depth - 1))),
        }
    }
}

#[test]
fn two_keys_are_equal_exactly_if_they_mean_the_same() {
    let mut meanings: HashMap<String, Meaning> = HashMap::new();
    let mut texts: HashMap<Meaning, String> = HashMap::new();
    let mut dice = Dice(0x1dea);
    for round in 0..40_000 {
        let value = dice.value(round % 3 + 1);
        let (key, meaning) = (text(&value), top_meaning(&value));
        let first = meanings.entry(key.clone()).or_insert_with(|| meaning.clone());
        assert_eq!(*first, meaning, "both are {key:?}");
        let first = texts.entry(meaning).or_insert_with(|| key.clone());
        assert_eq!(*first, key, "of {value:?}");
    }
    assert!(meanings.len() > 5_000, "only {} different keys were made", meanings.len());
}

#[test]
fn all_short_texts_are_different_keys() {
    let alphabet = ["[", "{", "\"", "x", "'", "\\", "a", ","];
    let mut texts = vec![String::new()];
    let mut keys = HashSet::new();
    for _ in 0..4 {
        texts = texts.iter().flat_map(|text| alphabet.map(|more| format!("{text}{more}"))).collect();
        for short in &texts {
            assert!(keys.insert(text(short)), "{short:?} is taken");
        }
        if texts.len() <= 64 {
            for (one, two) in texts.iter().flat_map(|one| texts.iter().map(move |two| (one, two))) {
                assert!(keys.insert(text(&(one, two))), "({one:?}, {two:?}) is taken");
            }
        }
    }
}
