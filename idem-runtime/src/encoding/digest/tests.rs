use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::*;

fn key(text: &str) -> Key {
    Key::stored(text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[derive(Serialize)]
enum Shape {
    Empty,
    Round(u8),
    Other(u8),
    Named { n: u8 },
}

#[derive(Serialize)]
struct Old {
    a: u8,
    b: u8,
}

#[derive(Serialize)]
struct Renamed {
    a: u8,
    b: u8,
}

#[derive(Serialize)]
struct Reordered {
    b: u8,
    a: u8,
}

#[derive(Serialize)]
struct NewType(u8);

fn both<T: Serialize + ?Sized>(value: &T) -> (Digest, ResultDigest) {
    (Digest::of(value).unwrap(), ResultDigest::of(value).unwrap())
}

#[test]
fn different_values_have_different_digests() {
    let digests = [
        both(&1u8),
        both(&1u16),
        both(&1u64),
        both(&1i8),
        both(&1i128),
        both(&1u128),
        both(&1f32),
        both(&1f64),
        both(&0.0f64),
        both(&f64::NAN),
        both(&'1'),
        both("1"),
        both(""),
        both("Empty"),
        both(&true),
        both(&()),
        both(&None::<u8>),
        both(&Some(())),
        both(&Some(None::<u8>)),
        both(&Some(1u8)),
        both(&("a", "bc")),
        both(&("ab", "c")),
        both(&vec!["ab", "c"]),
        both(&vec![vec![1u8], vec![]]),
        both(&vec![vec![], vec![1u8]]),
        both(&vec![vec![1u8]]),
        // Pairs that are equal without ends, lengths and widths.
        both(&json!([[1], 2])),
        both(&json!([[1, 2]])),
        both(&vec!["a", "b"]),
        both(&vec!["a\u{7}b"]),
        both(&(1u8, 0x0bu8)),
        both(&(0x0301u16, ())),
        both(&Shape::Empty),
        both(&Shape::Round(1)),
        both(&Shape::Other(1)),
        both(&Shape::Named { n: 1 }),
        both(&Old { a: 1, b: 2 }),
        both(&Reordered { a: 1, b: 2 }),
        both(&BTreeMap::from([("a", 1u8), ("b", 2)])),
        both(&BTreeMap::from([("a", 2u8), ("b", 1)])),
        both(&BTreeMap::from([("a", BTreeMap::from([("b", 1u8)]))])),
    ];
    for (at, (argument, result)) in digests.iter().enumerate() {
        for (later, (other_argument, other_result)) in digests.iter().enumerate().skip(at + 1) {
            assert_ne!(argument, other_argument, "arguments {at} and {later}");
            assert_ne!(result, other_result, "results {at} and {later}");
        }
    }
}

#[test]
fn equal_values_have_equal_digests() {
    assert_eq!(both(&Old { a: 1, b: 2 }), both(&Renamed { a: 1, b: 2 }));
    assert_eq!(both(&NewType(1)), both(&1u8));
    assert_eq!(both(&[1u8, 2]), both(&(1u8, 2u8)));
    let forth: HashMap<u32, String> = (0..50).map(|n| (n, n.to_string())).collect();
    let back: HashMap<u32, String> = (0..50).rev().map(|n| (n, n.to_string())).collect();
    assert_eq!(both(&forth), both(&back));
}

#[test]
fn both_zeros_are_one_argument_and_two_results() {
    let zeros = [both(&(0.0f64, 0.0f32)), both(&(-0.0f64, -0.0f32))];
    assert_eq!(zeros[0].0, zeros[1].0);
    assert_ne!(zeros[0].1, zeros[1].1);
}

#[test]
fn a_value_without_content_is_known_by_its_digest() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Empty {}
    #[derive(Serialize)]
    struct Around(());
    let without = [
        ResultDigest::of(&()),
        ResultDigest::of(&Unit),
        ResultDigest::of(&Around(())),
        ResultDigest::of(&[0_u8; 0]),
        ResultDigest::of(&Empty {}),
    ];
    for digest in without {
        let digest = digest.unwrap();
        assert!(digest.is_without_content(), "{:#x}", digest.0);
    }
    for digest in [
        ResultDigest::of(&None::<()>),
        ResultDigest::of(&Some(())),
        ResultDigest::of(&Vec::<()>::new()),
        ResultDigest::of(&""),
        ResultDigest::of(&json!({})),
        ResultDigest::of(&Shape::Empty),
        ResultDigest::of(&false),
    ] {
        assert!(!digest.unwrap().is_without_content());
    }
}

#[test]
fn unordered_digests_ignore_the_order_of_sequences() {
    let unordered = |value: &[u32]| ResultDigest::of_unordered(value, 3).unwrap();
    assert_eq!(unordered(&[1, 2, 3]), unordered(&[3, 1, 2]));
    assert_ne!(unordered(&[1, 2, 3]), unordered(&[1, 2, 4]));
    assert_ne!(unordered(&[1, 2]), unordered(&[1, 2, 2]));
    assert_ne!(unordered(&[1, 1]), unordered(&[2, 2]));
    // Elements beyond the limit keep their order.
    assert_eq!(unordered(&[1, 2, 3, 4, 5]), unordered(&[3, 2, 1, 4, 5]));
    assert_ne!(unordered(&[1, 2, 3, 4, 5]), unordered(&[1, 2, 3, 5, 4]));
    assert_ne!(unordered(&[1, 2, 3, 4]), unordered(&[1, 2, 4, 3]));
    assert_ne!(unordered(&[1, 2, 3]), ResultDigest::of(&[1, 2, 3].as_slice()).unwrap());
    assert_eq!(ResultDigest::of_unordered(&1, 3), ResultDigest::of(&1));
}

#[test]
fn unordered_digests_pair_the_name_and_the_number_of_an_element() {
    /// A name for people, and a number for machines.
    struct Coded(&'static str, u8);
    impl Serialize for Coded {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.serialize_str(self.0)
            } else {
                serializer.serialize_u8(self.1)
            }
        }
    }
    let unordered = |value: &[Coded]| ResultDigest::of_unordered(value, 3).unwrap();
    let known = unordered(&[Coded("a", 0), Coded("b", 1)]);
    assert_eq!(known, unordered(&[Coded("b", 1), Coded("a", 0)]));
    assert_ne!(known, unordered(&[Coded("a", 1), Coded("b", 0)]));
    // This digest is stored too.
    assert_eq!(hex(&known.to_bytes()), "8836337703e065bf");
}

#[test]
fn sequences_are_found_at_any_depth() {
    let notes = |value| ResultIdentity::of(&value).unwrap().holds_sequence;
    for without in [json!(1), json!("text"), json!({"a": {"b": null}})] {
        assert!(!notes(without.clone()), "{without}");
    }
    for with in [json!([1]), json!({"a": {"b": [[1, 2]]}})] {
        assert!(notes(with.clone()), "{with}");
    }
    // A key of a map can contain a sequence too.
    assert!(ResultIdentity::of(&BTreeMap::from([(vec![1], 2)])).unwrap().holds_sequence);
    assert!(!ResultIdentity::of(&BTreeMap::from([((1, 2), "b")])).unwrap().holds_sequence);
}

#[test]
fn a_hash_set_has_no_order_at_any_length() {
    let set = || (0..100).collect::<HashSet<u32>>();
    let both = |value: &Vec<HashSet<u32>>| (ResultDigest::of_unordered(value, 3), ResultDigest::of(value));
    let [one, other] = [both(&vec![set(), HashSet::new()]), both(&vec![set(), HashSet::new()])];
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
}

/// These digests are stored: if this test fails, rows of earlier releases no longer match.
#[test]
fn stored_forms_do_not_change() {
    let value = (1u8, "text", Some(-5i64), BTreeMap::from([("b", 2.5f64), ("a", 1.0)]));
    assert_eq!(hex(&Digest::of(&value).unwrap().to_bytes()), "6ba2ae4d7b0c3afb743e6171b00ddb0e");
    assert_eq!(hex(&ResultDigest::of(&value).unwrap().to_bytes()), "74f6ab9164042570");
    assert_eq!(hex(&ResultDigest::of_unordered(&vec![value], 20).unwrap().to_bytes()), "b1df20bc75d4db91");
    assert_eq!(
        hex(&Digest::of(&HashSet::from(["a", "b", "c"])).unwrap().to_bytes()),
        "ba93d0ac3a3fe71db5f0499cc580d930"
    );
    assert_eq!(hex(&slot("shop.charge", &key("7"))), "2abc5c5cba1fbc63a5e710d1");
    assert_eq!(hex(&Checksum::new().number(-1).bytes(b"row").finish()), "b3eb956704de7ea7");
    assert_eq!(
        token(Namespace::Store(&[7; 16]), "shop.charge", &key("7"), None),
        "3ec4e740-6f74-8216-998e-8f49fbabb14b"
    );
    assert_eq!(
        token(Namespace::Named("shop-eu"), "shop.charge", &key("7"), Some("mail")),
        "80016796-d5de-84f5-a68c-c0c4a4a5a44a"
    );
}

#[test]
fn result_digests_survive_storage() {
    for value in 0..100u32 {
        let digest = ResultDigest::of(&value).unwrap();
        assert_eq!(ResultDigest::from_bytes(digest.to_bytes()), digest);
    }
    let digest = Digest::of(&1).unwrap();
    assert_eq!(Digest::from_bytes(digest.to_bytes()), digest);
}

#[test]
fn slots_separate_name_and_key() {
    let slots = [slot("a", &key("bc")), slot("ab", &key("c")), slot("abc", &key("")), slot("", &key("abc"))];
    assert_eq!(slots.iter().collect::<HashSet<_>>().len(), slots.len());
}

#[test]
fn checksums_separate_columns() {
    let sums = [
        Checksum::new(),
        Checksum::new().bytes(b""),
        Checksum::new().bytes(b"").bytes(b""),
        Checksum::new().number(1),
        Checksum::new().bytes(b"ab").bytes(b"c"),
        Checksum::new().bytes(b"a").bytes(b"bc"),
        Checksum::new().bytes(&1i64.to_le_bytes()),
    ];
    let distinct: HashSet<[u8; 8]> = sums.into_iter().map(Checksum::finish).collect();
    assert_eq!(distinct.len(), 7);
}

#[test]
fn every_part_of_a_call_is_in_its_token() {
    let id = *b"sixteen bytes id";
    let tokens = [
        token(Namespace::Store(&id), "n", &key("k"), None),
        token(Namespace::Store(&[0; 16]), "n", &key("k"), None),
        token(Namespace::Named("sixteen bytes id"), "n", &key("k"), None),
        token(Namespace::Store(&id), "nk", &key(""), None),
        token(Namespace::Store(&id), "n", &key("kk"), None),
        token(Namespace::Store(&id), "n", &key("k"), Some("")),
        token(Namespace::Store(&id), "n", &key("k"), Some("mail")),
    ];
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
    for token in tokens {
        let parts: Vec<usize> = token.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{token}");
        assert_eq!(&token[14..15], "8", "the version in {token}");
        assert!("89ab".contains(&token[19..20]), "the variant in {token}");
    }
}

#[test]
fn uuids_have_their_digits_in_place() {
    assert_eq!(uuid_text(0), "00000000-0000-8000-8000-000000000000");
    assert_eq!(uuid_text(u128::MAX), "ffffffff-ffff-8fff-bfff-ffffffffffff");
    assert_eq!(uuid_text(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-8def-8123-456789abcdef");
}
