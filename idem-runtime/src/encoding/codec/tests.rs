//! JSON, and rules for every codec.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

const BYTES_MAX: usize = 1 << 20;
#[cfg(not(feature = "bincode"))]
const BINCODE_ID: u8 = 1;
const JSON_ID: u8 = 2;
const JSON_CHECKED_ID: u8 = 5;

fn json<T: Serialize + DeserializeOwned>(value: &T) -> Result<Encoded<T>, Unstorable> {
    encode(value, Codec::Json, BYTES_MAX)
}

fn text<T: Serialize + DeserializeOwned>(value: &T) -> String {
    String::from_utf8(json(value).unwrap().stored.bytes).unwrap()
}

/// Reads a JSON row, which ignores the digest.
fn read<T: Serialize + DeserializeOwned>(row: &str) -> Result<T, Undecodable> {
    decode(Stored { codec_id: JSON_ID, digest: ResultDigest::from_bytes([0; 8]), bytes: row.as_bytes() })
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u32,
    #[serde(default)]
    note: Option<String>,
    #[serde(skip)]
    open: bool,
}

#[test]
fn the_default_is_what_the_features_allow() {
    let encoded = encode(&7, None, BYTES_MAX).unwrap();
    let expected = if cfg!(feature = "bincode") { 1 } else { JSON_CHECKED_ID };
    assert_eq!(encoded.stored.codec_id, expected);
}

#[test]
fn rows_of_json_can_be_read_by_people() {
    let receipt = Receipt { id: 7, note: None, open: true };
    assert_eq!(text(&receipt), r#"{"id":7,"note":null}"#);
    assert_eq!(json(&receipt).unwrap().stored.codec_id, JSON_ID);
    assert_eq!(text(&()), "null");
    assert_eq!(text(&u128::MAX), "340282366920938463463374607431768211455");
}

#[test]
fn the_first_caller_gets_what_later_ones_get() {
    let encoded = json(&Receipt { id: 7, note: None, open: true }).unwrap();
    assert_eq!(encoded.value_read_back, Receipt { id: 7, note: None, open: false });
    let replayed: Receipt = decode(encoded.stored.borrowed()).unwrap();
    assert_eq!(replayed, encoded.value_read_back);
}

#[test]
fn json_rows_survive_what_serde_survives() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Later {
        #[serde(default)]
        currency: String,
        id: i64,
    }
    let later: Later = read(r#"{"id":7,"note":null}"#).unwrap();
    assert_eq!(later, Later { currency: String::new(), id: 7 });
    assert!(read::<Later>(r#"{"number":7}"#).unwrap_err().to_string().contains("missing field `id`"));
}

/// Without a name of its own in the stored form, each of these could be read as another value.
#[test]
fn json_that_no_call_chose_is_checked() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Charged {
        charged: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u8>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        #[serde(default)]
        amount: u32,
    }
    let charged = Charged { charged: 5, note: None };
    let fallen_back = encode(&charged, None, BYTES_MAX).unwrap().stored;
    assert_eq!(
        (fallen_back.codec_id, &*fallen_back.bytes),
        (JSON_CHECKED_ID, br#"{"charged":5}"#.as_slice())
    );
    assert_eq!(decode::<Charged>(fallen_back.borrowed()).unwrap(), charged);
    let message = decode::<Renamed>(fallen_back.borrowed()).unwrap_err().to_string();
    assert!(message.contains("another value than the recorded one"), "{message}");
    let chosen = json(&charged).unwrap().stored;
    assert_eq!(decode::<Renamed>(chosen.borrowed()).unwrap(), Renamed { amount: 0 });
}

#[test]
fn floats_come_back_bit_for_bit() {
    let mut bits = 0x1dea_1dea_1dea_1dea_u64;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let long = f64::from_bits(bits);
        let short = f32::from_bits(u32::try_from(bits >> 32).unwrap());
        if long.is_finite() && short.is_finite() {
            let (long_back, short_back) = json(&(long, short)).unwrap().value_read_back;
            assert_eq!((long_back.to_bits(), short_back.to_bits()), (long.to_bits(), short.to_bits()));
        }
    }
}

#[test]
fn sets_may_come_back_in_another_order() {
    let set: HashSet<u32> = (0..50).collect();
    let encoded = encode(&vec![set.clone()], Codec::default(), BYTES_MAX).unwrap();
    let replayed: Vec<HashSet<u32>> = decode(encoded.stored.borrowed()).unwrap();
    assert_eq!(replayed, [set]);
}

#[test]
fn a_value_that_json_would_change_is_not_stored_as_json() {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        (json(&f64::NAN).map(drop), "as json it does not read back"),
        (json(&Some(f64::INFINITY)).map(drop), "as json it reads back as another value"),
        (json(&Some(None::<u8>)).map(drop), "as json it reads back as another value"),
        (json(&Some(())).map(drop), "as json it reads back as another value"),
        (
            json(&BTreeMap::from([((1, 2), 3)])).map(drop),
            "as json it cannot be encoded (`key must be a string`)",
        ),
        (json(&deep).map(drop), "it is nested deeper than 128 levels"),
    ];
    for (result, expected) in cases {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn too_large_is_an_error_and_not_an_allocation() {
    let value = "a".repeat(100);
    assert_eq!(encode(&value, Codec::Json, 102).unwrap().stored.bytes.len(), 102);
    let message = encode(&value, Codec::Json, 101).unwrap_err().to_string();
    assert!(message.contains("as json it is larger than `101` bytes"), "{message}");
    assert!(encode(&value, Codec::default(), 99).is_err());
    assert!(encode(&value, Codec::Json, 0).is_err());
}

#[test]
fn hostile_rows_of_json_are_errors() {
    for row in ["", "{", "[1", "[1]]", "\u{0}", "nul", "\"\\ud800\""] {
        assert!(read::<Vec<u8>>(row).is_err(), "{row:?}");
    }
    assert!(read::<serde_json::Value>(&"[".repeat(1_000_000)).is_err());
    assert!(
        decode::<String>(Stored {
            codec_id: JSON_ID,
            digest: ResultDigest::from_bytes([0; 8]),
            bytes: b"\"\xff\""
        })
        .is_err()
    );
}

#[test]
fn a_codec_of_another_build_is_named() {
    let message = |id| {
        decode::<u8>(Stored { codec_id: id, digest: ResultDigest::from_bytes([0; 8]), bytes: b"7" })
            .unwrap_err()
            .to_string()
    };
    for id in [0, 8, 255] {
        assert!(message(id).contains(&format!("does not know codec `{id}`")));
    }
    #[cfg(not(feature = "bincode"))]
    assert!(message(BINCODE_ID).contains("the feature `bincode` is off"));
}
