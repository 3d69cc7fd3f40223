use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::rc::Rc;

use serde::Serialize;

use super::*;

/// Writes the events as text, to compare them.
#[derive(Default)]
struct Transcript(String);

impl EventSink for Transcript {
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError> {
        write!(self.0, "{event:?} ").map_err(ser::Error::custom)
    }

    fn entry(&self) -> Self {
        Self::default()
    }

    fn close(&mut self, entry: Self) -> [u8; 16] {
        let mut start = [0; 16];
        start.iter_mut().zip(entry.0.bytes().skip("Unsigned(1, ".len())).for_each(|(to, from)| *to = from);
        start
    }
}

fn events<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    let mut transcript = Transcript::default();
    serialize(value, &mut transcript).map(|()| transcript.0)
}

#[derive(Serialize)]
struct Wrapped(u8);

#[derive(Serialize)]
struct Point {
    x: Wrapped,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<bool>,
}

#[derive(Serialize)]
enum Shape {
    Empty,
    Round(u8),
    Line(u8, u8),
    Named { n: char },
}

#[test]
fn events_contain_names_kinds_and_values() {
    let point = |y| events(&Point { x: Wrapped(1), y });
    let line = "Begin(Variant(2, \"Line\")) Begin(Tuple) Unsigned(1, 1) Unsigned(1, 2) End(Tuple) End(Variant(2, \"Line\")) ";
    let named = "Begin(Variant(3, \"Named\")) Begin(Struct) Field(\"n\") Char('z') End(Struct) End(Variant(3, \"Named\")) ";
    let cases = [
        (point(None), "Begin(Struct) Field(\"x\") Unsigned(1, 1) Skipped(\"y\") End(Struct) "),
        (
            point(Some(true)),
            "Begin(Struct) Field(\"x\") Unsigned(1, 1) Field(\"y\") Some Bool(true) End(Struct) ",
        ),
        (events(&Shape::Empty), "UnitVariant(0, \"Empty\") "),
        (events(&Shape::Round(7)), "Begin(Variant(1, \"Round\")) Unsigned(1, 7) End(Variant(1, \"Round\")) "),
        (events(&Shape::Line(1, 2)), line),
        (events(&Shape::Named { n: 'z' }), named),
        (events(&vec![-1i64]), "Begin(Seq) Signed(8, -1) End(Seq) "),
        (events(&(1.5f32, 2.5f64)), "Begin(Tuple) F32(1.5) F64(2.5) End(Tuple) "),
        (events(&Some(())), "Some Unit "),
    ];
    for (found, expected) in cases {
        assert_eq!(found.as_deref(), Ok(expected));
    }
}

#[test]
fn map_entries_come_in_one_order() {
    struct Pairs(Vec<(u8, u8)>);
    impl Serialize for Pairs {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().copied())
        }
    }
    let forth = events(&Pairs(vec![(1, 1), (2, 2), (3, 3)])).unwrap();
    assert_eq!(forth, events(&Pairs(vec![(3, 3), (1, 1), (2, 2)])).unwrap());
    assert_eq!(forth.matches("Entry").count(), 3);
    assert_ne!(forth, events(&Pairs(vec![(1, 1), (2, 2)])).unwrap());
}

/// Counts its own entries, and all sinks that were created for one.
#[derive(Default)]
struct Counting {
    entries: usize,
    begun: Rc<Cell<usize>>,
}

impl EventSink for Counting {
    fn event(&mut self, event: Event<'_>) -> Result<(), CanonicalError> {
        self.entries += usize::from(matches!(event, Event::Entry(_)));
        Ok(())
    }

    fn entry(&self) -> Self {
        self.begun.set(self.begun.get() + 1);
        Self { entries: 0, begun: Rc::clone(&self.begun) }
    }

    fn close(&mut self, _: Self) -> [u8; 16] {
        [0; 16]
    }

    fn unordered_max(&mut self, is_set: impl FnOnce() -> bool) -> Result<usize, CanonicalError> {
        Ok(if is_set() { usize::MAX } else { 20 })
    }
}

#[test]
fn a_long_list_needs_no_more_sinks_than_a_short_one() {
    /// The length is unknown before the end.
    struct Endless(usize);
    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            (0..self.0).try_for_each(|n| ser::SerializeSeq::serialize_element(&mut seq, &n))?;
            ser::SerializeSeq::end(seq)
        }
    }
    fn counted<T: Serialize>(value: &T) -> (usize, usize) {
        let mut counting = Counting::default();
        serialize(value, &mut counting).unwrap();
        (counting.entries, counting.begun.get())
    }
    assert_eq!(counted(&vec![7u8; 1 << 20]), (20, 20));
    assert_eq!(counted(&Endless(1 << 20)), (20, 20));
    assert_eq!(counted(&vec![7u8; 20]), (20, 20));
    assert_eq!(counted(&vec![7u8; 3]), (3, 3));
    assert_eq!(counted(&Vec::<u8>::new()), (0, 0));
    assert_eq!(counted(&[7u8; 3]), (0, 0));
    assert_eq!(counted(&vec![vec![7u8; 1000]; 1000]), (20 + 980 * 20, 20 + 1000 * 20));
    assert_eq!(counted(&(0..1000).collect::<HashSet<u32>>()), (1000, 1000));
}

/// Counts how often it is serialized. If `ASKS`, it asks for the reader.
#[derive(Default)]
struct Walked<const ASKS: bool>(Cell<usize>);

impl<const ASKS: bool> Serialize for Walked<ASKS> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.set(self.0.get() + 1);
        let shown = ASKS && serializer.is_human_readable();
        serializer.serialize_bool(shown)
    }
}

fn list<const ASKS: bool>(count: usize) -> Vec<Walked<ASKS>> {
    (0..count).map(|_| Walked::default()).collect()
}

fn walks<const ASKS: bool>(list: &[Walked<ASKS>]) -> Vec<usize> {
    list.iter().map(|walked| walked.0.get()).collect()
}

#[test]
fn an_element_without_an_order_that_asks_is_serialized_for_a_machine_too() {
    let (asks, does_not, pair) = (list::<true>(25), list::<false>(25), <[Walked<true>; 2]>::default());
    serialize(&(&asks, &does_not, &pair), &mut Counting::default()).unwrap();
    assert_eq!(walks(&asks), [vec![2; 20], vec![1; 5]].concat());
    assert_eq!(walks(&does_not), [1; 25]);
    assert_eq!(walks(&pair), [1, 1]);
    // The depth does not matter if the element alone asks. An element in order belongs to the element around it.
    let nested = vec![vec![(list::<false>(2), list::<true>(2)), (list(0), list(25))]];
    serialize(&nested, &mut Counting::default()).unwrap();
    assert_eq!((walks(&nested[0][0].0), walks(&nested[0][0].1)), (vec![1, 1], vec![2, 2]));
    assert_eq!(walks(&nested[0][1].1), [vec![3; 20], vec![2; 5]].concat());
}

#[test]
fn a_map_in_a_list_asks_if_a_key_or_a_value_asks() {
    struct Entry<const KEY: bool, const VALUE: bool>(Walked<KEY>, Walked<VALUE>);
    impl<const KEY: bool, const VALUE: bool> Serialize for Entry<KEY, VALUE> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(&self.0, &self.1)])
        }
    }
    fn walked<const KEY: bool, const VALUE: bool>() -> [usize; 2] {
        let entries = vec![Entry(Walked::<KEY>::default(), Walked::<VALUE>::default())];
        serialize(&entries, &mut Counting::default()).unwrap();
        [entries[0].0.0.get(), entries[0].1.0.get()]
    }
    assert_eq!(walked::<false, false>(), [1, 1]);
    assert_eq!(walked::<true, false>(), [2, 2]);
    assert_eq!(walked::<false, true>(), [2, 2]);
}

#[test]
fn a_value_is_serialized_at_most_once_for_each_level_above_it() {
    #[derive(Serialize)]
    struct Node(Walked<true>, Vec<Node>);
    let leaf = Node(Walked::default(), Vec::new());
    let tree = (0..40).fold(leaf, |node, _| Node(Walked::default(), vec![node]));
    serialize(&tree, &mut Counting::default()).unwrap();
    let mut node = &tree;
    for depth in 0..=40 {
        assert_eq!(node.0.0.get(), depth + 1);
        node = node.1.first().unwrap_or(node);
    }
}

#[derive(Serialize)]
struct Chain(Option<Box<Chain>>);

fn chain(links: usize) -> Chain {
    (0..links).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))))
}

#[test]
fn depth_is_an_error_before_it_is_an_overflow() {
    // Each link is a newtype and a `Some`: two levels; the last one is a newtype alone.
    assert!(events(&chain(63)).is_ok());
    assert_eq!(events(&chain(64)), Err(CanonicalError::TooDeep));
    // Dropping a longer chain would itself overflow a small stack.
    assert_eq!(events(&chain(5_000)), Err(CanonicalError::TooDeep));

    let nested =
        |depth| (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::Value::Array(vec![inner]));
    assert!(events(&nested(128)).is_ok());
    assert_eq!(events(&nested(129)), Err(CanonicalError::TooDeep));
}

/// A struct whose only field has the name of the struct.
struct Private(&'static str, &'static str);

impl Serialize for Private {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut private = serializer.serialize_struct(self.0, 1)?;
        ser::SerializeStruct::serialize_field(&mut private, self.0, self.1)?;
        ser::SerializeStruct::end(private)
    }
}

#[test]
fn private_structs_are_the_values_they_stand_for() {
    let number = |digits| events(&Private("$serde_json::private::Number", digits)).unwrap();
    let json = |text| events(&Private("$serde_json::private::RawValue", text)).unwrap();
    let value = |document: serde_json::Value| events(&document).unwrap();
    for (text, expected) in [
        ("7", "Unsigned(8, 7) "),
        ("18446744073709551615", "Unsigned(8, 18446744073709551615) "),
        ("-7", "Signed(8, -7) "),
        ("-0", "F64(-0.0) "),
        ("7.0", "F64(7.0) "),
        ("0.30", "F64(0.3) "),
        ("12e-1", "F64(1.2) "),
        ("1E2", "F64(100.0) "),
        ("5e-324", "F64(5e-324) "),
        ("1e308", "F64(1e308) "),
        ("18446744073709551616", "F64(1.8446744073709552e19) "),
        ("18446744073709551617", "Digits(\"18446744073709551617\") "),
        ("0.30000000000000000001", "Digits(\"0.30000000000000000001\") "),
        ("1e309", "Digits(\"1e309\") "),
        ("1e99999999999999999999", "Digits(\"1e99999999999999999999\") "),
        ("seven", "Digits(\"seven\") "),
        ("", "Digits(\"\") "),
    ] {
        assert_eq!(number(text), expected, "{text:?}");
    }
    for text in ["null", "true", "-1.5", r#""a\n""#, "[]", r#"[1, {"b": [null], "a": "c"}, 2.0]"#] {
        assert_eq!(json(text), value(serde_json::from_str(text).unwrap()), "{text}");
    }
    assert_ne!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#));
    assert_eq!(json("no document"), "Text(\"no document\") ");
    let forged = r#"{"$serde_json::private::Number":"7"}"#;
    assert!(json(forged).starts_with("Text("));
    assert_eq!(events(&Private("$__toml_private_Datetime", "1979-05-27")).unwrap(), "Text(\"1979-05-27\") ");
    // Names that are no marker.
    for name in ["Number", "$oid", "private"] {
        assert!(events(&Private(name, "7")).unwrap().starts_with("Begin(Struct) Field"), "{name}");
    }
}
