//! `codec`: a replay returns the stored value or an error.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;

use idem_runtime::{Call, Codec, Error, ErrorKind, Ran, Status, Store, Value, idempotent, with_store};
use idem_tests::deadline;
use idem_tests::form::in_every_form;
use idem_tests::plain::block_on;
use idem_tests::shared::call;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NAME: &str = "codec.pay";
const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// First answer and replay.
fn twice<T: Value + Clone>(codec: Codec, value: &T) -> [Result<T, Error>; 2] {
    let store = Store::temporary().unwrap();
    [(); 2].map(|()| pay(&store).codec(codec).run(|| Ok(value.clone())))
}

/// Both answers are the value that was returned, with every codec.
#[allow(clippy::needless_pass_by_value, reason = "values are written where they are checked")]
#[track_caller]
fn comes_back<T: Value + Clone + Debug + PartialEq>(value: T) {
    for codec in CODECS {
        let [first, replay] = twice(codec, &value).map(Result::unwrap);
        assert_eq!((&first, &replay), (&value, &value), "{codec}");
    }
}

/// The replay of a value that is stored as a `Then` and read as a `Now`. The body must not run.
fn stored_then_read<Then: Value, Now: Value>(codec: Codec, then: Then) -> Result<Now, ErrorKind> {
    let store = Store::temporary().unwrap();
    pay(&store).codec(codec).run(|| Ok::<_, Error>(then)).unwrap();
    let made = pay(&store).codec(codec).run(|| -> Result<Now, Error> { panic!("a done call ran again") });
    made.map_err(|error| {
        assert_eq!(error.ran(), Ran::No);
        error.kind()
    })
}

// Field 12.
#[test]
fn values_of_every_kind_come_back() {
    comes_back(0_u8);
    comes_back(String::new());
    comes_back(Vec::<u32>::new());
    comes_back(None::<u32>);
    comes_back(());
    comes_back(false);
    comes_back((1_u8, "a".to_owned(), vec![1.5_f64]));
    comes_back([i128::MIN, i128::MAX]);
    comes_back((u64::MAX, f64::MIN_POSITIVE, -0.0_f64, 'ß'));
    comes_back(BTreeMap::from([("a".to_owned(), 1), (String::new(), 2)]));
    comes_back(HashMap::from([("a".to_owned(), vec![Some(1), None])]));
    // A set may come back in any order.
    (0..20).for_each(|n| comes_back(HashSet::from([n, n + 1])));
    comes_back(BTreeSet::from(["a".to_owned()]));
    comes_back(Err::<u8, String>("a result in a result".to_owned()));
    comes_back(serde_json::json!({"a": [1, 2.5, null, {"b": ""}], "c": u64::MAX}));
}

/// Each set is read into new ones, each with an order of its own, before and after the store is opened again.
#[test]
fn sets_come_back_from_a_store_that_was_opened_again() {
    type Results = (Vec<HashSet<u32>>, BTreeMap<u32, HashSet<u32>>, Vec<u32>);
    deadline::start();
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::builder().open(folder.path().join("idem.db")).unwrap();
    let set = |count: u32| (0..count).collect::<HashSet<u32>>();
    let results = |count: u32| -> Results {
        (vec![set(count), set(2)], BTreeMap::from([(count, set(40))]), vec![count; 100])
    };
    let store = open();
    for (count, key) in (0..=25).flat_map(|count| (0..4).map(move |key| (count, key))) {
        let made = call(NAME).store(&store).key(&(count, key)).run(|| Ok::<_, Error>(results(count)));
        assert_eq!(made.unwrap(), results(count));
    }
    store.close().unwrap();
    let store = open();
    for (count, key) in (0..=25).flat_map(|count| (0..8).map(move |key| (count, key % 4))) {
        let again = || -> Result<Results, Error> { panic!("a done call ran again") };
        let replayed = call(NAME).store(&store).key(&(count, key)).run(again);
        assert_eq!(replayed.unwrap(), results(count), "{count} elements");
    }
}

#[test]
fn a_value_that_json_cannot_carry_comes_back_through_bincode() {
    for value in [Some(None), Some(Some(1)), None::<Option<u8>>] {
        let [first, replay] = twice(Codec::Bincode, &value).map(Result::unwrap);
        assert_eq!((first, replay), (value, value));
    }
    let [first, replay] = twice(Codec::Bincode, &f64::NAN).map(Result::unwrap);
    assert!(first.is_nan() && replay.is_nan());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    gift: Option<u8>,
    count: u8,
    note: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, u32>,
}

// Field 12: bincode reads the first one back as `{Some(5), 65, "xyz"}` without a word.
#[test]
fn a_value_that_bincode_misreads_comes_back() {
    comes_back(Sparse { gift: None, count: 1, note: "A\u{3}xyz".to_owned() });
    comes_back(Sparse { gift: Some(1), count: 1, note: "A".to_owned() });
    comes_back(vec![Untagged::Number(1), Untagged::Text("1".to_owned())]);
    comes_back(Flat { id: 1, rest: BTreeMap::from([("x".to_owned(), 2)]) });
}

// Field 12: the first caller sees what later ones will.
#[test]
fn the_first_result_is_the_one_that_is_replayed() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Receipt {
        id: u32,
        #[serde(skip)]
        memo: Option<String>,
    }
    #[idempotent(name = "codec.receipt", key = id)]
    fn sync(id: u32) -> Result<Receipt, Error> {
        Ok(Receipt { id, memo: Some("only in memory".to_owned()) })
    }
    #[idempotent(name = "codec.receipt.json", key = id, codec = json)]
    async fn asynchronous(id: u32) -> Result<Receipt, Error> {
        Ok(Receipt { id, memo: Some("only in memory".to_owned()) })
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let stored = Receipt { id: 7, memo: None };
        assert_eq!([sync(7).unwrap(), sync(7).unwrap()], [stored.clone(), stored.clone()]);
        let made = || block_on(asynchronous(7)).unwrap();
        assert_eq!([made(), made()], [stored.clone(), stored]);
    });
}

/// Reads back as another value than was written.
#[derive(Clone, Debug, PartialEq)]
struct Forgetful(u32);

impl Serialize for Forgetful {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Forgetful {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Forgetful, D::Error> {
        u32::deserialize(deserializer).map(|n| Forgetful(n / 2))
    }
}

/// Cannot be written at all.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Mute(u32);

impl Serialize for Mute {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no luck"))
    }
}

// Rule 7. Field 13.
#[test]
fn a_result_that_cannot_be_stored_is_its_first_callers_and_gone_after() {
    fn check<T: Value + Clone + Debug + PartialEq + Send + Sync + 'static>(value: T) {
        in_every_form(move |form| {
            for codec in CODECS {
                let store = Store::temporary().unwrap();
                let made = || form.make(pay(&store).codec(codec), || Ok::<_, Error>(value.clone()));
                assert_eq!(made().unwrap(), value);
                let error = made().unwrap_err();
                assert_eq!((error.kind(), error.ran()), (ErrorKind::ResultGone, Ran::No));
                assert!(error.to_string().contains("could not be stored"), "{error}");
                assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().status(), Status::Done);
            }
        });
    }
    check(Mute(7));
    check(Forgetful(7));
    check("x".repeat((1 << 20) + 1));
}

// Rule 6: what cannot be decoded is an error, and the body is not run.
#[test]
fn a_type_that_changed_is_undecodable_and_never_a_rerun() {
    #[derive(Serialize, Deserialize)]
    struct Then {
        cents: u32,
        fee: u32,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Swapped {
        fee: u32,
        cents: u32,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wider {
        cents: u64,
        fee: u64,
    }
    #[derive(Serialize, Deserialize)]
    enum OldState {
        Paid,
        Failed,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum NewState {
        Pending,
        Paid,
        Failed,
    }
    let then = || Then { cents: 5, fee: 1 };
    let gone = Err(ErrorKind::Undecodable);
    assert_eq!(stored_then_read::<_, Swapped>(Codec::Bincode, then()).map(|_| ()), gone);
    assert_eq!(stored_then_read::<_, Wider>(Codec::Bincode, then()).map(|_| ()), gone);
    assert_eq!(stored_then_read::<_, NewState>(Codec::Bincode, OldState::Paid).map(|_| ()), gone);
    let _ = OldState::Failed;
    for codec in CODECS {
        assert_eq!(stored_then_read::<_, String>(codec, 7_u32), Err(ErrorKind::Undecodable));
        assert_eq!(stored_then_read::<_, (u8, u8)>(codec, vec![1_u8]), Err(ErrorKind::Undecodable));
    }
    // JSON stores names.
    assert_eq!(stored_then_read::<_, Swapped>(Codec::Json, then()), Ok(Swapped { fee: 1, cents: 5 }));
    assert_eq!(stored_then_read::<_, NewState>(Codec::Json, OldState::Paid), Ok(NewState::Paid));
}

/// A name for people and a number for machines, and those numbers may change places.
#[derive(Clone, Debug, PartialEq)]
enum Level<const LOW: u8> {
    Low,
    High,
}

impl<const LOW: u8> Serialize for Level<LOW> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_low = *self == Self::Low;
        if serializer.is_human_readable() {
            serializer.serialize_str(if is_low { "low" } else { "high" })
        } else {
            serializer.serialize_u8(if is_low { LOW } else { 1 - LOW })
        }
    }
}

impl<'de, const LOW: u8> Deserialize<'de> for Level<LOW> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_low = if deserializer.is_human_readable() {
            String::deserialize(deserializer)? == "low"
        } else {
            u8::deserialize(deserializer)? == LOW
        };
        Ok(if is_low { Self::Low } else { Self::High })
    }
}

// The map and the set have another order each time, so two rows never have the same bytes.
#[test]
fn a_list_whose_elements_changed_places_with_their_type_is_never_replayed() {
    type Report<const LOW: u8> = (Vec<Level<LOW>>, Vec<Vec<Level<LOW>>>, HashMap<u32, u32>, HashSet<u32>);
    fn report<const LOW: u8>(count: u32) -> Report<LOW> {
        let steps = vec![Level::Low, Level::High];
        (steps.clone(), vec![steps], (0..count).map(|n| (n, n)).collect(), (0..count).collect())
    }
    for count in [0, 2, 8, 40] {
        let read = || stored_then_read::<_, Report<1>>(Codec::Bincode, report::<0>(count));
        (0..5).for_each(|_| assert_eq!(read(), Err(ErrorKind::Undecodable), "{count} elements"));
        comes_back(report::<0>(count));
        assert_eq!(stored_then_read(Codec::Json, report::<0>(count)), Ok(report::<1>(count)));
    }
}

#[test]
fn a_result_with_another_order_each_time_reads_back_each_time() {
    fn as_set<S: Serializer>(list: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
        list.iter().collect::<HashSet<_>>().serialize(serializer)
    }
    #[derive(Serialize, Deserialize)]
    struct Tags(#[serde(serialize_with = "as_set")] Vec<u32>);
    deadline::start();
    let store = Store::temporary().unwrap();
    for key in 0..20 {
        for _ in 0..10 {
            let made = call(NAME).store(&store).key(&key).run(|| Ok::<_, Error>(Tags(vec![1, 2])));
            let mut tags = made.unwrap().0;
            tags.sort_unstable();
            assert_eq!(tags, [1, 2]);
        }
    }
}

#[test]
fn renaming_a_type_changes_nothing() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        cents: u32,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        cents: u32,
    }
    for codec in CODECS {
        assert_eq!(stored_then_read(codec, Before { cents: 5 }), Ok(After { cents: 5 }));
    }
}

// Field 14: a deploy that adds a field.
#[test]
fn json_survives_added_fields() {
    #[derive(Serialize, Deserialize)]
    struct Old {
        cents: u32,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        cents: u32,
        #[serde(default)]
        fee: u32,
    }
    assert_eq!(stored_then_read(Codec::Json, Old { cents: 5 }), Ok(New { cents: 5, fee: 0 }));
    let bincode = stored_then_read::<_, New>(Codec::Bincode, Old { cents: 5 });
    assert_eq!(bincode, Err(ErrorKind::Undecodable), "visible, and no garbage");
}

/// A type that bincode cannot carry, and what later versions of it read where they do not check.
mod fallback {
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Outcome {
        Paid { cents: u64 },
        Refused { code: u16 },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Later {
        Refunded { cents: u32 },
        Paid { cents: u64 },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Receipt {
        pub(super) charged: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) note: Option<String>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Renamed {
        #[serde(default)]
        pub(super) amount: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) note: Option<String>,
    }
}

#[test]
fn a_result_that_fell_back_to_json_is_never_replayed_as_another_value() {
    use fallback::{Later, Outcome, Receipt, Renamed};
    let paid = || Outcome::Paid { cents: 5 };
    let receipt = || Receipt { charged: 5, note: None };
    assert_eq!(stored_then_read::<_, Outcome>(Codec::default(), paid()), Ok(paid()));
    assert_eq!(stored_then_read::<_, Later>(Codec::default(), paid()), Err(ErrorKind::Undecodable));
    assert_eq!(stored_then_read::<_, Receipt>(Codec::default(), receipt()), Ok(receipt()));
    assert_eq!(stored_then_read::<_, Renamed>(Codec::default(), receipt()), Err(ErrorKind::Undecodable));
    // Whoever chose JSON gets what serde reads.
    assert_eq!(stored_then_read(Codec::Json, receipt()), Ok(Renamed { amount: 0, note: None }));
    assert_eq!(stored_then_read(Codec::Json, paid()), Ok(Later::Refunded { cents: 5 }));
}

#[test]
fn a_set_that_fell_back_to_json_is_replayed_in_any_order() {
    type Tagged = (HashSet<String>, Vec<HashSet<u32>>, fallback::Receipt);
    for count in [0, 1, 2, 5, 20, 21, 300] {
        let tags: HashSet<String> = (0..count).map(|n| n.to_string()).collect();
        let receipt = fallback::Receipt { charged: 5, note: None };
        let value: Tagged = (tags, vec![(0..count).collect(), HashSet::new()], receipt);
        for _ in 0..20 {
            let read = stored_then_read::<_, Tagged>(Codec::default(), value.clone());
            assert_eq!(read.as_ref(), Ok(&value), "{count} elements");
        }
        let mut listed = value.clone();
        listed.1.reverse();
        let read = stored_then_read::<_, Tagged>(Codec::default(), listed.clone());
        assert_eq!(read, Ok(listed), "the order of the list is kept");
    }
}

#[test]
fn rows_of_both_codecs_lie_side_by_side() {
    deadline::start();
    let store = Store::temporary().unwrap();
    let made = |key: u32, codec: Codec| {
        call(NAME).store(&store).key(&key).codec(codec).run(|| Ok::<u32, Error>(key))
    };
    for codec in [Codec::Bincode, Codec::Json] {
        made(1, Codec::Bincode).unwrap();
        made(2, Codec::Json).unwrap();
        assert_eq!([made(1, codec).unwrap(), made(2, codec).unwrap()], [1, 2], "the row says how it is read");
    }
}

#[test]
fn a_result_that_is_too_deep_is_gone_and_overflows_no_stack() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Deep {
        inner: Option<Box<Deep>>,
    }
    let deep = |levels: usize| {
        (0..levels).fold(Deep { inner: None }, |inner, _| Deep { inner: Some(Box::new(inner)) })
    };
    for codec in CODECS {
        let [first, replay] = twice(codec, &deep(20)).map(Result::unwrap);
        assert_eq!((&first, &replay), (&deep(20), &deep(20)));
        let [first, replay] = twice(codec, &deep(2_000));
        assert_eq!(first.unwrap(), deep(2_000));
        assert_eq!(replay.unwrap_err().kind(), ErrorKind::ResultGone);
    }
}

// Field 23.
#[test]
fn a_unit_result_is_a_result() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let runs = idem_tests::halt::Runs::new();
        for _ in 0..3 {
            form.make(pay(&store), || runs.count(|_| Ok::<(), Error>(()))).unwrap();
        }
        assert_eq!(runs.started(), 1);
    });
}
