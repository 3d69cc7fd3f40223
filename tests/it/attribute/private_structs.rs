//! Private structs by which other crates hand a value to their own serializer: a call sees the value.
//!
//! `serde_json` writes its numbers this way as soon as any crate of a program switches on `arbitrary_precision`.

use idem_runtime::{Argument, Error, ErrorKind, KeyValue, Store};
use idem_tests::shared::call;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::json;

const NAME: &str = "private_structs.pay";
const NUMBER: &str = "$serde_json::private::Number";
const RAW: &str = "$serde_json::private::RawValue";

/// A struct with one field of the same name.
struct Private(&'static str, &'static str, &'static str);

impl Serialize for Private {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut private = serializer.serialize_struct(self.0, 1)?;
        private.serialize_field(self.1, self.2)?;
        private.end()
    }
}

fn number(text: &'static str) -> Private {
    Private(NUMBER, NUMBER, text)
}

fn raw(text: &'static str) -> Private {
    Private(RAW, RAW, text)
}

fn datetime(text: &'static str) -> Private {
    Private("$__toml_private_Datetime", "$__toml_private_datetime", text)
}

/// The key of a call as stored, or that the call was refused.
fn key<K: KeyValue + ?Sized>(key: &K) -> Result<String, ErrorKind> {
    let store = Store::temporary().unwrap();
    let made: Result<u32, Error> = call(NAME).store(&store).key(key).run(|| Ok(1));
    made.map_err(|error| error.kind())?;
    Ok(store.list(&idem_runtime::Filter::new()).unwrap()[0].key().to_owned())
}

/// Whether a retry with `second` is answered with the result of `first`.
fn are_equal<A: Argument, B: Argument>(first: &A, second: &B) -> bool {
    let store = Store::temporary().unwrap();
    let pay = || call(NAME).store(&store).key("A-17");
    pay().arg("event", first).run(|| Ok::<u32, Error>(1)).unwrap();
    match pay().arg("event", second).run(|| Ok::<u32, Error>(2)) {
        Ok(result) => result == 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            false
        }
    }
}

#[test]
fn a_key_is_the_value_and_not_the_struct_around_it() {
    assert_eq!(key(&number("7")).as_deref(), Ok("7"));
    assert_eq!(key(&number("-7")).as_deref(), Ok("-7"));
    assert_eq!(key(&number("18446744073709551615")).as_deref(), Ok("18446744073709551615"));
    assert_eq!(key(&("eu", number("7"))).as_deref(), Ok(r#"["eu",7]"#));
    assert_eq!(key(&raw("7")).as_deref(), Ok("7"));
    assert_eq!(key(&raw(r#""order 7""#)).as_deref(), Ok("order 7"));
    assert_eq!(key(&raw("[1, 2]")).as_deref(), Ok("[1,2]"));
    assert_eq!(key(&datetime("1979-05-27")).as_deref(), Ok("1979-05-27"));
    // What is no key by itself is none in a struct either.
    for float in ["7.0", "1e3", "-0", "0.1", "18446744073709551616", "1e400"] {
        assert_eq!(key(&number(float)), Err(ErrorKind::BadKey), "{float}");
    }
    for missing in ["null", "\"\"", "[]", "{}", "1.5", r#"{"a":1}"#] {
        assert_eq!(key(&raw(missing)), Err(ErrorKind::BadKey), "{missing}");
    }
    assert_eq!(key(&datetime("")), Err(ErrorKind::BadKey));
}

#[test]
fn an_argument_is_compared_as_the_value_in_the_struct() {
    for (text, value) in [
        ("7", json!(7)),
        ("-7", json!(-7)),
        ("-0", json!(-0.0)),
        ("7.0", json!(7.0)),
        ("1.50", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("0.1", json!(0.1)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551616", json!(18_446_744_073_709_551_616_f64)),
    ] {
        assert!(are_equal(&value, &number(text)), "{text}");
    }
    assert!(are_equal(
        &json!({"id": 7, "to": ["a", null, true]}),
        &raw(r#" {"to": ["a", null, true], "id": 7}"#)
    ));
    assert!(are_equal(&"1979-05-27", &datetime("1979-05-27")));
}

#[test]
fn other_values_in_the_struct_are_other_arguments() {
    assert!(!are_equal(&json!(7), &number("8")));
    assert!(!are_equal(&json!(7), &number("7.0")));
    assert!(!are_equal(&number("1e400"), &number("1e401")));
    // More digits than a float holds: none of them is ignored.
    assert!(!are_equal(&number("0.10000000000000000001"), &number("0.1")));
    assert!(!are_equal(&number("123456789012345678901"), &number("123456789012345678902")));
    assert!(are_equal(&number("123456789012345678901"), &number("123456789012345678901")));
    assert!(!are_equal(&raw("1"), &raw("2")));
    // A reader may take either of two equal names.
    assert!(!are_equal(&raw(r#"{"a":1,"a":2}"#), &raw(r#"{"a":2}"#)));
    assert!(!are_equal(&datetime("1979-05-27"), &datetime("1979-05-28")));
}
