//! `key`: the values that name a call, and the values that are refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use idem_runtime::{Error, ErrorKind, Filter, KeyValue, Ran, Status, Store, idempotent, with_store};
use idem_tests::form::in_every_form;
use idem_tests::plain::block_on;
use idem_tests::shared::call;
use serde::Serialize;

const NAME: &str = "key.pay";

/// The key as text, from the record of a call.
fn text<K: KeyValue + ?Sized>(key: &K) -> String {
    let store = Store::temporary().unwrap();
    call(NAME).store(&store).key(key).run(|| Ok::<u32, Error>(1)).unwrap();
    assert!(store.get(NAME, key).unwrap().is_some(), "the same key finds the record");
    store.list(&Filter::new()).unwrap()[0].key().to_owned()
}

/// The error of a call with a key that is none.
fn refused<K: KeyValue + ?Sized>(key: &K) -> Error {
    let store = Store::temporary().unwrap();
    let made = call(NAME).store(&store).key(key).run(|| -> Result<u32, Error> { panic!("it ran") });
    let error = made.unwrap_err();
    assert_eq!((error.kind(), error.ran(), error.name()), (ErrorKind::BadKey, Ran::No, Some(NAME)));
    assert_eq!(store.stats().unwrap().records, 0);
    assert_eq!(store.get(NAME, key).unwrap_err().kind(), ErrorKind::BadKey);
    error
}

#[derive(Serialize)]
struct OrderId(String);

#[derive(Serialize)]
struct Line {
    order: &'static str,
    no: u32,
}

#[derive(Serialize)]
enum Payment {
    Cash,
    Card(&'static str),
    Split { left: u32, right: u32 },
}

#[test]
fn keys_are_readable() {
    assert_eq!(text("order 7"), "order 7");
    assert_eq!(text(&7), "7");
    assert_eq!(text(&-7_i128), "-7");
    assert_eq!(text(&u128::MAX), u128::MAX.to_string());
    assert_eq!(text(&true), "true");
    assert_eq!(text(&'ß'), "ß");
    assert_eq!(text(&("a", 7)), r#"["a",7]"#);
    assert_eq!(text(&vec!["a", "b"]), r#"["a","b"]"#);
    assert_eq!(text(&Line { order: "a", no: 7 }), r#"{"order":"a","no":7}"#);
    assert_eq!(text(&Payment::Card("a")), r#"{"Card":"a"}"#);
}

#[test]
fn options_newtypes_and_numbers_are_keys_of_their_contents() {
    for same in
        [text(&"7"), text(&7_u8), text(&7_i64), text(&Some(7)), text(&OrderId("7".into())), text(&'7')]
    {
        assert_eq!(same, "7");
    }
    assert_eq!(text(&Some(Some("a"))), "a");
    assert_eq!(text(&BTreeSet::from(["b", "a"])), text(&vec!["a", "b"]));
}

// Field 7.
#[test]
fn different_keys_never_meet() {
    let texts = vec![
        text(&("a", "bc")),
        text(&("ab", "c")),
        text(&("a", "b", "c")),
        text(&(("a", "b"), "c")),
        text(&("a", ("b", "c"))),
        text("abc"),
        text(r#"["a","bc"]"#),
        text(r#"("a","bc")"#),
        text(&vec![1, 23]),
        text(&vec![12, 3]),
        text(&(1, "23")),
        text("[1,23]"),
        text(&("1", "23")),
        text(&("a\",\"bc",)),
        text(&("a",)),
        text("a"),
        text("A"),
        text(" a"),
        text("a "),
        text("a\0"),
        text("a\n"),
        // One letter in two encodings: keys are bytes.
        text("\u{e9}"),
        text("e\u{301}"),
        text(&Payment::Cash),
        text("x'6869'"),
        text(&Payment::Split { left: 1, right: 2 }),
        text(&Payment::Split { left: 2, right: 1 }),
        text(r#"{"Split":{"left":1,"right":2}}"#),
    ];
    let distinct: BTreeSet<_> = texts.iter().collect();
    assert_eq!(distinct.len(), texts.len(), "{texts:#?}");
}

// Field 17.
#[test]
fn a_missing_value_is_no_key() {
    for error in [
        refused(""),
        refused(&None::<u32>),
        refused(&Some("")),
        refused(&()),
        refused(&("tenant", "")),
        refused(&("tenant", None::<&str>)),
        refused(&vec![Some(1), None]),
        refused(&Vec::<String>::new()),
        refused(&OrderId(String::new())),
    ] {
        assert!(error.to_string().contains(NAME), "{error}");
    }
    assert!(refused(&("tenant", None::<&str>)).to_string().contains("element 1"), "the error names the part");
}

// A blank header is no key that all its senders share.
#[test]
fn blank_or_invisible_text_is_no_key() {
    for blank in [
        " ",
        "\t\r\n",
        "\0",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{2003}\u{3000}",
        "\u{2028}",
        // Default_Ignorable_Code_Point: soft hyphen, joiners, directions, fillers, variations, tags.
        "\u{ad}",
        "\u{34f}",
        "\u{61c}",
        "\u{115f}\u{1160}",
        "\u{17b4}",
        "\u{180e}",
        "\u{200b}\u{200d}",
        "\u{202e}",
        "\u{2060}",
        "\u{2069}",
        "\u{206f}",
        "\u{3164}",
        "\u{fe0f}",
        "\u{feff}",
        "\u{ffa0}",
        "\u{fff0}",
        "\u{1bca0}",
        "\u{1d173}",
        "\u{e0001}\u{e007f}",
        "\u{e0fff}",
        " \u{200b} \n",
    ] {
        let error = refused(blank);
        assert!(error.to_string().ends_with("the key is blank"), "{error}");
        refused(&("tenant", blank));
        refused(&Some(OrderId(blank.to_owned())));
    }
    refused(&' ');
    refused(&'\u{200b}');
    // One visible character is enough, and the text is stored as it is.
    for visible in ["\u{200b}a", " 7 ", "\u{301}", "\u{1f600}\u{fe0f}", "\u{2800}", "-"] {
        assert_eq!(text(visible), visible);
    }
}

#[test]
fn a_set_inside_a_key_is_no_key() {
    #[derive(Serialize)]
    struct Tagged {
        id: u32,
        tags: HashSet<u32>,
    }
    let error = refused(&Tagged { id: 7, tags: HashSet::from([1, 2, 3]) });
    assert!(error.to_string().contains("field `tags` of the key"), "{error}");
    refused(&(7, vec![Some(HashSet::from([1]))]));
}

#[test]
fn a_value_that_rounds_or_has_no_order_is_no_key() {
    refused(&1.0_f64);
    refused(&("a", 0.5_f32));
    refused(&BTreeMap::from([("a", 1)]));
    refused(&HashSet::from([1]));
    let float = refused(&(1, 2.5));
    assert!(float.to_string().contains("float") && float.help().contains("an integer"), "{float:?}");
}

#[test]
fn a_call_without_a_key_is_refused() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = form.make(call(NAME).store(&store), || -> Result<u32, Error> { panic!("it ran") });
        let error = made.unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::BadKey, Ran::No));
        assert!(error.help().contains("`key(…)`"), "{error:?}");
    });
}

// Field 7.
#[test]
fn two_tenants_do_not_collide() {
    #[idempotent(name = "key.sync", key = (tenant, order))]
    fn sync(tenant: &str, order: u32, cents: u32) -> Result<u32, Error> {
        let _ = (tenant, order);
        Ok(cents)
    }
    #[idempotent(name = "key.asynchronous", key = (tenant, order))]
    async fn asynchronous(tenant: String, order: u32, cents: u32) -> Result<u32, Error> {
        let _ = (tenant, order);
        Ok(cents)
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!((sync("eu", 1, 10).unwrap(), sync("us", 1, 20).unwrap()), (10, 20));
        let [eu, us] = [("eu", 10), ("us", 20)]
            .map(|(tenant, cents)| block_on(asynchronous(tenant.to_owned(), 1, cents)).unwrap());
        assert_eq!((eu, us), (10, 20));
    });
    assert_eq!(store.stats().unwrap().records, 4);
}

// Field 15.
#[test]
fn the_key_is_computed_once_and_before_the_body() {
    static COMPUTED: AtomicUsize = AtomicUsize::new(0);
    fn computed(id: &str) -> String {
        COMPUTED.fetch_add(1, Ordering::SeqCst);
        id.to_owned()
    }
    #[idempotent(name = "key.once", key = computed(&id))]
    fn sync(mut id: String) -> Result<String, Error> {
        id.push_str(" changed by the body");
        Ok(id)
    }
    #[idempotent(name = "key.once.async", key = computed(id), skip(id))]
    async fn asynchronous(id: &mut String) -> Result<String, Error> {
        id.push_str(" changed by the body");
        Ok(id.clone())
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let first = sync("A-17".to_owned()).unwrap();
        assert_eq!(COMPUTED.load(Ordering::SeqCst), 1);
        assert_eq!(sync("A-17".to_owned()).unwrap(), first);
        let mut id = "A-17".to_owned();
        let first = block_on(asynchronous(&mut id)).unwrap();
        assert_eq!(id, "A-17 changed by the body");
        assert_eq!(block_on(asynchronous(&mut "A-17".to_owned())).unwrap(), first);
    });
    let keys: Vec<_> = store.list(&Filter::new()).unwrap().iter().map(|r| r.key().to_owned()).collect();
    assert_eq!(keys, ["A-17", "A-17"]);
}

#[test]
fn keys_of_any_text_are_kept_apart_and_shown_on_one_line() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let hostile =
            ["a\nb", "a\\nb", "a\u{202e}b", "a\0b", "a'b", "a\"b", "a;--", "日本語", "🦀", "%", "_"];
        for (n, key) in hostile.iter().enumerate() {
            let make = || form.make(call(NAME).store(&store).key(*key), || Ok::<usize, Error>(n)).unwrap();
            assert_eq!((make(), make()), (n, n));
        }
        assert_eq!(store.stats().unwrap().records, hostile.len() as u64);
        let differs =
            |n: u8| form.make(call(NAME).store(&store).key("x\ny").arg("n", &n), || Ok::<u8, Error>(n));
        differs(1).unwrap();
        let error = differs(2).unwrap_err();
        assert_eq!(error.key(), Some("x\ny"), "the key itself is whole");
        assert!(!error.to_string().contains('\n'), "{error}");
    });
}

#[derive(Clone, Serialize)]
struct Place {
    tenant: String,
    id: u64,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    tenant: &'a str,
    region: Region,
}

// Not `Clone`: only arguments are cloned.
#[derive(Serialize)]
enum Region {
    Eu,
}

#[derive(Serialize)]
struct Tenant(String);

#[test]
fn an_array_and_a_struct_literal_lend_their_parts_like_a_tuple() {
    #[expect(clippy::needless_borrow, reason = "an element may be a reference")]
    #[idempotent(name = "key.array", key = [tenant, user, &format!("{user}!")])]
    fn array(tenant: String, user: String) -> Result<String, Error> {
        Ok(tenant + &user)
    }
    #[idempotent(name = "key.literal", key = Place { tenant, id })]
    fn literal(tenant: String, id: u64) -> Result<String, Error> {
        Ok(format!("{}{id}", { tenant }))
    }
    #[idempotent(name = "key.field", key = (1, Place { id: 1 + 1, ..place }), skip(place))]
    fn with_rest(place: Place) -> Result<String, Error> {
        Ok(place.tenant)
    }
    #[idempotent(name = "key.borrowed", key = Borrowed { tenant: &place.tenant, region: Region::Eu })]
    fn borrowed(place: Place) -> Result<String, Error> {
        Ok(place.tenant)
    }
    #[idempotent(name = "key.newtype", key = [Tenant(place.tenant)])]
    fn newtype(place: Place) -> Result<String, Error> {
        Ok(place.tenant)
    }
    let place = || Place { tenant: "eu".to_owned(), id: 7 };
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(array("eu".to_owned(), "ann".to_owned()).unwrap(), "euann");
        assert_eq!(literal("eu".to_owned(), 7).unwrap(), "eu7");
        assert_eq!(borrowed(place()).unwrap(), "eu");
        assert_eq!(newtype(place()).unwrap(), "eu");
        assert_eq!(with_rest(place()).unwrap(), "eu");
    });
    assert_eq!(store.get("key.array", &["eu", "ann", "ann!"]).unwrap().unwrap().status(), Status::Done);
    assert!(store.get("key.literal", &place()).unwrap().is_some());
    assert!(store.get("key.newtype", &["eu"]).unwrap().is_some());
}
