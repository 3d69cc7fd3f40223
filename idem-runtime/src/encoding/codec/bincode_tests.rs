//! Values that bincode carries or that go to JSON, changed types, and hostile bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

const BYTES_MAX: usize = 1 << 20;
const BINCODE_ID: u8 = 1;
/// JSON that no call chose.
const FALLBACK_ID: u8 = 5;
const SEQUENCES_ID: u8 = 3;
const SETS_ID: u8 = 4;

fn bincode<T: Serialize + DeserializeOwned>(value: &T) -> Result<Encoded<T>, Unstorable> {
    encode(value, Codec::Bincode, BYTES_MAX)
}

/// Stores `value`, replays it and returns the codec. Bincode with and without sequences counts as one.
fn stored_as<T: Serialize + DeserializeOwned>(value: &T) -> u8 {
    let encoded = bincode(value).unwrap();
    let replayed: T = decode(encoded.stored.borrowed()).unwrap();
    assert_eq!(ResultDigest::of(&replayed).unwrap(), ResultDigest::of(value).unwrap());
    let format = RowFormat::of_row(encoded.stored.codec_id).unwrap();
    if format.codec == Codec::Json { FALLBACK_ID } else { BINCODE_ID }
}

/// Stores an `Old` and reads it as a `New`.
fn read_as<Old: Serialize + DeserializeOwned, New: Serialize + DeserializeOwned>(
    old: &Old,
    codec: Codec,
) -> Result<New, Undecodable> {
    let encoded = encode(old, codec, BYTES_MAX).unwrap();
    assert_eq!(RowFormat::of_row(encoded.stored.codec_id).unwrap().codec, codec);
    decode(encoded.stored.borrowed())
}

/// Reads bytes that differ from the recorded ones.
fn hostile<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> String {
    decode::<T>(Stored { codec_id: BINCODE_ID, digest: ResultDigest::from_bytes([0; 8]), bytes })
        .map(drop)
        .unwrap_err()
        .to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    b: u8,
    c: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Cash,
    Card { no: u8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Status {
    Paid,
    Refused(String),
    Split { parts: Vec<u16> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u32,
    amount: u32,
    paid: bool,
    status: Status,
    lines: Vec<(String, i64)>,
    by: BTreeMap<String, Option<char>>,
}

fn receipt() -> Receipt {
    Receipt {
        id: 100,
        amount: 1_999,
        paid: true,
        status: Status::Split { parts: vec![1, 999] },
        lines: vec![("tea".into(), -3), (String::new(), i64::MAX)],
        by: BTreeMap::from([("x".into(), Some('ü')), ("y".into(), None)]),
    }
}

#[test]
fn bincode_carries_plain_values() {
    let codecs = [
        stored_as(&()),
        stored_as(&7u8),
        stored_as(&i128::MIN),
        stored_as(&f64::NAN),
        stored_as(&f32::NEG_INFINITY),
        stored_as(&Some(None::<u8>)),
        stored_as(&[Some(Some(1u8)), Some(None), None]),
        stored_as(&Some(())),
        stored_as(&BTreeMap::from([((1, 2), "a".to_owned())])),
        stored_as(&(0..100).map(|n| (n, n.to_string())).collect::<HashMap<u32, String>>()),
        stored_as(&vec![Vec::<u8>::new(); 20_000]),
        stored_as(&vec![(); 4_000]),
        stored_as(&Status::Paid),
        stored_as(&Status::Refused("no".into())),
        stored_as(&receipt()),
    ];
    assert!(codecs.iter().all(|codec| *codec == BINCODE_ID), "{codecs:?}");
}

#[test]
fn json_carries_what_bincode_would_lose() {
    let codecs = [
        stored_as(&Skips { a: None, b: 1, c: "c".into() }),
        stored_as(&Untagged::Text("a".into())),
        stored_as(&Untagged::Number(1)),
        stored_as(&Tagged::Cash),
        stored_as(&Tagged::Card { no: 1 }),
        stored_as(&Flat { id: 1, rest: BTreeMap::from([("a".into(), 1)]) }),
        stored_as(&json!({"a": [1, -1, 1.5, null, "b"]})),
        // More elements without a size than a row may hold.
        stored_as(&vec![(); 5_000]),
    ];
    assert!(codecs.iter().all(|codec| *codec == FALLBACK_ID), "{codecs:?}");
    // No field is skipped here.
    assert_eq!(stored_as(&Skips { a: Some(1), b: 1, c: "c".into() }), BINCODE_ID);
}

#[test]
fn a_silent_misread_is_found_when_it_is_stored() {
    let value = Skips { a: None, b: 1, c: "A\x03xyz".into() };
    let bytes = Codec::Bincode.write(&value, BYTES_MAX).unwrap();
    let misread: Skips = Codec::Bincode.read(&bytes).unwrap();
    assert_eq!(misread, Skips { a: Some(5), b: 65, c: "xyz".into() });
    let encoded = bincode(&value).unwrap();
    assert_eq!((encoded.stored.codec_id, encoded.value_read_back), (FALLBACK_ID, value));
}

#[test]
fn a_value_that_neither_codec_carries_is_not_stored() {
    #[derive(Serialize, Deserialize)]
    struct Both {
        #[serde(flatten)]
        rest: BTreeMap<String, f64>,
    }
    let message =
        bincode(&Both { rest: BTreeMap::from([("a".into(), f64::NAN)]) }).map(drop).unwrap_err().to_string();
    assert!(
        message.contains("as bincode it cannot be encoded") && message.contains("; as json it does not"),
        "{message}"
    );
    let message = bincode(&vec![0u8; BYTES_MAX]).map(drop).unwrap_err().to_string();
    assert!(message.contains("as bincode it is larger than `1048576` bytes"), "{message}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct V1 {
    a: u8,
    b: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reordered {
    b: u8,
    a: u8,
}

#[test]
fn types_that_changed_are_never_misread() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        a: u8,
        b: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Removed {
        a: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Added {
        a: u8,
        b: u8,
        #[serde(default)]
        c: u8,
    }
    let old = V1 { a: 1, b: 2 };
    assert_eq!(read_as::<_, Renamed>(&old, Codec::Bincode), Ok(Renamed { a: 1, b: 2 }));
    assert!(read_as::<_, Reordered>(&old, Codec::Bincode).is_err());
    assert!(read_as::<_, Removed>(&old, Codec::Bincode).is_err());
    assert!(read_as::<_, Added>(&old, Codec::Bincode).is_err());
    assert_eq!(read_as::<_, Reordered>(&old, Codec::Json), Ok(Reordered { a: 1, b: 2 }));
    assert_eq!(read_as::<_, Removed>(&old, Codec::Json), Ok(Removed { a: 1 }));
    assert_eq!(read_as::<_, Added>(&old, Codec::Json), Ok(Added { a: 1, b: 2, c: 0 }));
    assert!(read_as::<u32, i32>(&100, Codec::Bincode).is_err());
    assert_eq!(read_as::<u32, i32>(&100, Codec::Json), Ok(100));
}

#[test]
fn inserted_variants_are_never_misread() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Inserted {
        New,
        Paid,
        Refused(String),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Appended {
        Paid,
        Refused(String),
        Split { parts: Vec<u16> },
        New,
    }
    assert!(read_as::<_, Inserted>(&Status::Paid, Codec::Bincode).is_err());
    assert_eq!(read_as::<_, Inserted>(&Status::Paid, Codec::Json), Ok(Inserted::Paid));
    assert_eq!(read_as::<_, Appended>(&Status::Paid, Codec::Bincode), Ok(Appended::Paid));
}

/// A small set often reads back in its order, and may not the next time.
#[test]
fn sets_are_replayed_in_any_order() {
    for round in 0..200u32 {
        let sets = vec![HashSet::from([round, 1_000]), HashSet::from([1, 2, 3 + round])];
        let encoded = bincode(&sets).unwrap();
        assert!([SEQUENCES_ID, SETS_ID].contains(&encoded.stored.codec_id));
        for _ in 0..4 {
            assert_eq!(decode(encoded.stored.borrowed()), Ok(sets.clone()));
        }
        assert!(decode::<Vec<HashSet<i32>>>(encoded.stored.borrowed()).is_err());
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lists<E> {
    list: Vec<E>,
    set: HashSet<u8>,
}

/// List elements that changed places are a misread, with and without a set beside them.
#[test]
fn a_list_beside_a_set_keeps_its_order() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Old {
        Paid,
        Refused,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Swapped {
        Refused,
        Paid,
    }
    for set in [HashSet::new(), (0..50).collect()] {
        let old = Lists { list: vec![Old::Paid, Old::Refused], set };
        assert!(read_as::<_, Lists<Swapped>>(&old, Codec::Bincode).is_err());
        assert_eq!(read_as::<_, Lists<Old>>(&old, Codec::Bincode).as_ref(), Ok(&old));
    }
    let fields = Lists { list: vec![V1 { a: 1, b: 2 }, V1 { a: 2, b: 1 }], set: (0..50).collect() };
    assert!(read_as::<_, Lists<Reordered>>(&fields, Codec::Bincode).is_err());
}

/// Writes a name for people and a number for machines; the numbers changed places.
#[test]
fn numbers_that_changed_places_are_found_though_their_names_are_the_same() {
    struct Coded<const FLIPPED: u8>(u8);
    impl<const FLIPPED: u8> Serialize for Coded<FLIPPED> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.serialize_str(["paid", "refused"][usize::from(self.0)])
            } else {
                serializer.serialize_u8(self.0 ^ FLIPPED)
            }
        }
    }
    impl<'de, const FLIPPED: u8> Deserialize<'de> for Coded<FLIPPED> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer).map(|number| Self(number ^ FLIPPED))
        }
    }
    let old = || vec![Coded::<0>(0), Coded(1)];
    assert!(read_as::<_, Vec<Coded<0>>>(&old(), Codec::Bincode).is_ok());
    assert!(read_as::<_, Vec<Coded<1>>>(&old(), Codec::Bincode).is_err());
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let encoded = bincode(&receipt()).unwrap();
    assert_eq!(encoded.stored.codec_id, SEQUENCES_ID);
    for at in 0..encoded.stored.bytes.len() {
        for flip in 1..=u8::MAX {
            let mut bytes = encoded.stored.bytes.clone();
            bytes[at] ^= flip;
            if let Ok(value) = decode::<Receipt>(Stored {
                codec_id: encoded.stored.codec_id,
                digest: encoded.stored.digest,
                bytes: &bytes,
            }) {
                assert_eq!(value, receipt(), "byte {at} flipped by {flip:#x}");
            }
        }
    }
}

#[test]
fn a_row_is_read_to_its_end_and_not_beyond() {
    let encoded = bincode(&receipt()).unwrap();
    for end in 0..encoded.stored.bytes.len() {
        assert!(
            decode::<Receipt>(Stored {
                codec_id: encoded.stored.codec_id,
                digest: encoded.stored.digest,
                bytes: &encoded.stored.bytes[..end]
            })
            .is_err(),
            "cut at {end}"
        );
    }
    let longer = [encoded.stored.bytes.as_slice(), &[0]].concat();
    let message = decode::<Receipt>(Stored {
        codec_id: encoded.stored.codec_id,
        digest: encoded.stored.digest,
        bytes: &longer,
    })
    .unwrap_err()
    .to_string();
    assert!(message.contains("`1` bytes are left over"), "{message}");
}

/// A length in bincode, without the bytes that it claims.
fn claiming(length: u64) -> Vec<u8> {
    [&[253], length.to_le_bytes().as_slice()].concat()
}

#[test]
fn claimed_lengths_are_not_believed() {
    for length in [1 << 20, 1 << 28, 1 << 40, u64::MAX] {
        let bytes = claiming(length);
        let messages = [
            hostile::<String>(&bytes),
            hostile::<Box<str>>(&bytes),
            hostile::<std::ffi::CString>(&bytes),
            hostile::<Vec<u8>>(&bytes),
            hostile::<Vec<[u64; 32]>>(&bytes),
            hostile::<HashMap<u64, String>>(&bytes),
            hostile::<Vec<()>>(&bytes),
            hostile::<Vec<Vec<()>>>(&[&[1], bytes.as_slice()].concat()),
            hostile::<BTreeMap<(), Vec<()>>>(&bytes),
        ];
        assert!(messages.iter().all(|message| message.contains("do not decode")), "{messages:?}");
    }
    assert!(hostile::<Vec<()>>(&claiming(1 << 40)).contains("more elements than its bytes can hold"));
}

/// Reserves memory for the claimed length, like a careless `Deserialize`.
#[derive(Debug, Serialize)]
struct Trusting(Vec<u64>);

impl<'de> Deserialize<'de> for Trusting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> serde::de::Visitor<'de> for Collect {
            type Value = Trusting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Trusting, A::Error> {
                let mut numbers = Vec::with_capacity(seq.size_hint().unwrap_or(0));
                while let Some(number) = seq.next_element()? {
                    numbers.push(number);
                }
                Ok(Trusting(numbers))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

#[test]
fn a_claimed_length_reserves_no_memory() {
    assert_eq!(stored_as(&Trusting(vec![1, 2, 3])), BINCODE_ID);
    assert!(hostile::<Trusting>(&claiming(1 << 60)).contains("do not decode"));
}

#[derive(Debug, Serialize, Deserialize)]
struct Link {
    next: Option<Box<Link>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Branch(Vec<Tree>),
    Twig(Box<Tree>),
}

#[test]
fn hostile_nesting_ends_before_the_stack_does() {
    let deep = vec![1; 1_000_000];
    assert!(hostile::<Link>(&deep).contains("nested deeper than 128 levels"));
    assert!(hostile::<Tree>(&deep).contains("nested deeper than 128 levels"));
    assert!(hostile::<Tree>(&vec![2; 1_000_000]).contains("nested deeper than 128 levels"));

    let list = |links| (0..links).fold(Link { next: None }, |next, _| Link { next: Some(Box::new(next)) });
    assert_eq!(stored_as(&list(63)), BINCODE_ID);
    let message = bincode(&list(64)).map(drop).unwrap_err().to_string();
    assert!(message.contains("nested deeper than 128 levels"), "{message}");
}

#[test]
fn no_bytes_cause_a_panic() {
    let mut state = 0x1dea_u64;
    for _ in 0..50_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small numbers let many rows decode far.
        let length = usize::from(state.to_be_bytes()[0] % 32);
        let bytes: Vec<u8> = state.to_be_bytes().repeat(4).iter().map(|byte| byte % 7).take(length).collect();
        let digest = ResultDigest::from_bytes([0; 8]);
        assert!(decode::<Receipt>(Stored { codec_id: BINCODE_ID, digest, bytes: &bytes }).is_err());
        assert!(decode::<Tree>(Stored { codec_id: BINCODE_ID, digest, bytes: &bytes }).is_err());
    }
}
