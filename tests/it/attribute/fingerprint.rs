//! `skip` and `fingerprint`: the arguments that a later call with the same key must repeat.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use idem_runtime::{
    Argument, Call, Error, ErrorKind, Lifetime, Ran, Status, Store, idempotent, on_err, with_store,
};
use idem_tests::form::in_every_form;
use idem_tests::halt::Halt;
use idem_tests::plain::block_on;
use idem_tests::shared::call;
use serde::{Serialize, Serializer};

const NAME: &str = "fingerprint.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

#[derive(Clone, Serialize)]
struct Order {
    id: &'static str,
    cents: u32,
}

impl Order {
    #[idempotent(name = "fingerprint.order.pay", key = self.id)]
    fn pay(&self) -> Result<u32, Error> {
        Ok(self.cents)
    }
}

/// Whether a call with `second` is taken for the one with `first`.
fn is_same(first: &(impl Argument + ?Sized), second: &(impl Argument + ?Sized)) -> bool {
    let store = Store::temporary().unwrap();
    pay(&store).arg("value", first).run(|| Ok::<u32, Error>(1)).unwrap();
    match pay(&store).arg("value", second).run(|| Ok::<u32, Error>(2)) {
        Ok(replayed) => replayed == 1,
        Err(error) => {
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Mismatch, Ran::No));
            false
        }
    }
}

// Field 11.
#[test]
fn another_argument_is_a_mismatch_that_names_it() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = |cents: u32, note: &str| {
            let call = pay(&store).arg("cents", &cents).arg("note", note).arg("same", &1);
            form.make(call, || Ok::<u32, Error>(cents))
        };
        assert_eq!(made(100, "a").unwrap(), 100);
        let error = made(200, "a").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`cents` differs, or its type changed"), "{text}");
        assert!(
            error.help().contains("`fingerprint = …`") && error.help().contains("`skip(…)`"),
            "{error:?}"
        );
        assert!(!text.contains("`note`") && !text.contains("`same`"), "{text}");
        assert_eq!(error.differing(), ["cents"]);
        let both = made(200, "b").unwrap_err();
        assert_eq!(both.differing(), ["cents", "note"]);
        let both = both.to_string();
        assert!(both.contains("`cents`, `note`") && !both.contains("`same`"), "{both}");
        assert_eq!(made(100, "a").unwrap(), 100, "the record is as it was");
    });
}

// Rule 5. Field 11: no state of the record hides it.
#[test]
fn a_mismatch_is_found_in_every_state_of_the_record() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let kind = |key: &str| {
            let other = call(NAME).store(&store).key(key).arg("cents", &200);
            form.make(other, || -> Result<u32, Error> { panic!("it ran") }).unwrap_err().kind()
        };
        let first = |key: &str| call(NAME).store(&store).key(key).arg("cents", &100);

        form.make(first("done"), || Ok::<u32, Error>(1)).unwrap();
        assert_eq!(kind("done"), ErrorKind::Mismatch);
        form.make(first("gone").keep_result(Lifetime::ZERO), || Ok::<u32, Error>(1)).unwrap();
        assert_eq!(kind("gone"), ErrorKind::Mismatch);
        form.make(first("failed").on_err(on_err::Remember), || Err::<u32, _>("no".to_owned())).unwrap_err();
        assert_eq!(kind("failed"), ErrorKind::Mismatch);
        form.make(first("doubt").on_err(on_err::InDoubt), || Err::<u32, _>("no".to_owned())).unwrap_err();
        assert_eq!(kind("doubt"), ErrorKind::Mismatch);
        form.cut_off(first("cut off"));
        assert_eq!(kind("cut off"), ErrorKind::Mismatch);

        let halt = Halt::new();
        let stands = std::sync::Arc::clone(&halt);
        let running = form.spawn(first("running"), move || {
            stands.stand();
            Ok::<u32, Error>(1)
        });
        halt.wait_for(1);
        assert_eq!(store.get(NAME, "running").unwrap().unwrap().status(), Status::Running);
        assert_eq!(kind("running"), ErrorKind::Mismatch, "at once, and not after a wait");
        halt.let_all_go();
        assert_eq!(running.join().unwrap().0.unwrap(), 1);
    });
}

// Field 16.
#[test]
fn the_order_of_a_map_does_not_matter() {
    let forwards: HashMap<_, _> = (0..100).map(|n| (format!("key {n}"), n)).collect();
    let backwards: HashMap<_, _> = (0..100).rev().map(|n| (format!("key {n}"), n)).collect();
    let sorted: BTreeMap<_, _> = forwards.clone().into_iter().collect();
    assert!(is_same(&forwards, &backwards));
    assert!(is_same(&forwards, &sorted));
    let mut other = forwards.clone();
    other.insert("key 7".to_owned(), 8);
    assert!(!is_same(&forwards, &other));
    // Nested in the request of a client.
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert!(is_same(
        &json(r#"{"a":{"x":1,"y":[1,2]},"b":null}"#),
        &json(r#"{"b":null,"a":{"y":[1,2],"x":1}}"#)
    ));
    assert!(!is_same(&json(r#"{"y":[1,2]}"#), &json(r#"{"y":[2,1]}"#)));
}

#[test]
fn arguments_that_look_alike_differ() {
    assert!(!is_same(&1_u32, &2_u32));
    assert!(!is_same("", &None::<&str>));
    assert!(!is_same(&0, &None::<u32>));
    assert!(!is_same(&("a", "bc"), &("ab", "c")));
    assert!(!is_same(&vec![1], &vec![1, 1]));
    assert!(!is_same(&vec![vec![1], vec![2]], &vec![vec![1, 2]]));
    assert!(!is_same("1", &1), "a changed type is a mismatch");
    assert!(!is_same(&1.0, &1.5));
}

#[test]
fn the_names_of_types_do_not_matter_and_those_of_fields_do() {
    mod renamed {
        #[derive(serde::Serialize)]
        pub(super) struct Purchase {
            pub(super) id: &'static str,
            pub(super) cents: u32,
        }
        #[derive(serde::Serialize)]
        pub(super) struct Relabelled {
            pub(super) id: &'static str,
            pub(super) amount: u32,
        }
    }
    let order = Order { id: "A-17", cents: 5 };
    assert!(is_same(&order, &renamed::Purchase { id: "A-17", cents: 5 }));
    assert!(!is_same(&order, &renamed::Relabelled { id: "A-17", amount: 5 }));
    assert!(is_same(&order, &&order) && is_same(&order, &Box::new(order.clone())), "wrappers do not count");
}

#[test]
fn an_argument_that_only_one_of_both_knows_is_left_out() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.make(pay(&store).arg("old", &1).arg("both", &2), || Ok::<u32, Error>(1)).unwrap();
        let deployed = || pay(&store).arg("both", &2).arg("new", &3);
        assert_eq!(form.make(deployed(), || Ok::<u32, Error>(2)).unwrap(), 1);
        let differs = form.make(pay(&store).arg("both", &9).arg("new", &3), || Ok::<u32, Error>(2));
        assert_eq!(differs.unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(form.make(pay(&store), || Ok::<u32, Error>(2)).unwrap(), 1, "nothing is compared");
    });
}

#[test]
fn the_attribute_compares_all_arguments_but_the_skipped() {
    #[idempotent(name = "fingerprint.all", key = id)]
    fn all(id: &str, cents: u32) -> Result<u32, Error> {
        let _ = id;
        Ok(cents)
    }
    #[idempotent(name = "fingerprint.skip", key = id, skip(received_at))]
    async fn skips(id: &str, cents: u32, received_at: u32) -> Result<u32, Error> {
        let _ = (id, received_at);
        Ok(cents)
    }
    #[idempotent(name = "fingerprint.expr", key = order.id, fingerprint = order.cents)]
    fn expression(order: &Order, received_at: u32) -> Result<u32, Error> {
        Ok(order.cents + received_at - received_at)
    }
    #[idempotent(name = "fingerprint.none", key = id, fingerprint = none)]
    async fn none(id: &str, cents: u32) -> Result<u32, Error> {
        let _ = id;
        Ok(cents)
    }
    let kind = |made: Result<u32, Error>| made.map_err(|error| error.kind());
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(kind(all("A-17", 1)), Ok(1));
        assert_eq!(kind(all("A-17", 2)), Err(ErrorKind::Mismatch));
        // Field 16: volatile values are left out.
        assert_eq!(kind(block_on(skips("A-17", 1, 1_000))), Ok(1));
        assert_eq!(kind(block_on(skips("A-17", 1, 2_000))), Ok(1));
        assert_eq!(kind(block_on(skips("A-17", 2, 2_000))), Err(ErrorKind::Mismatch));
        let order = |cents| Order { id: "A-17", cents };
        assert_eq!(kind(expression(&order(1), 1_000)), Ok(1));
        assert_eq!(kind(expression(&order(1), 2_000)), Ok(1));
        assert_eq!(kind(expression(&order(2), 2_000)), Err(ErrorKind::Mismatch));
        assert_eq!(kind(block_on(none("A-17", 1))), Ok(1));
        assert_eq!(kind(block_on(none("A-17", 2))), Ok(1));
    });
}

#[test]
fn self_is_an_argument_like_any_other() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let order = |cents| Order { id: "A-17", cents };
        assert_eq!(order(1).pay().unwrap(), 1);
        let text = order(2).pay().unwrap_err().to_string();
        assert!(text.contains("`self` differs"), "{text}");
    });
}

// Field 15: the given argument is compared, not the value that the body made of it.
#[test]
fn arguments_are_compared_as_the_caller_gave_them() {
    #[idempotent(name = "fingerprint.mutates", key = id)]
    fn mutates(id: &str, mut lines: Vec<u32>) -> Result<usize, Error> {
        let _ = id;
        lines.clear();
        Ok(lines.len())
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(mutates("A-17", vec![1, 2]).unwrap(), 0);
        assert_eq!(mutates("A-17", vec![1, 2]).unwrap(), 0);
        assert_eq!(mutates("A-17", vec![]).unwrap_err().kind(), ErrorKind::Mismatch);
    });
}

/// A set of 100 elements: each has an order of its own.
fn hundred() -> HashSet<String> {
    (0..100).map(|n| n.to_string()).collect()
}

#[test]
fn the_order_of_a_set_does_not_matter_at_any_depth() {
    #[derive(Serialize)]
    struct Tagged {
        id: u32,
        tags: HashSet<String>,
        more: Option<std::sync::Arc<HashSet<BTreeSet<u32>>>>,
    }
    let more = || Some(std::sync::Arc::new((0..50).map(|n| BTreeSet::from([n, n + 1])).collect()));
    let tagged = || Tagged { id: 7, tags: hundred(), more: more() };
    assert!(is_same(&hundred(), &hundred()));
    assert!(is_same(&tagged(), &tagged()));
    assert!(is_same(&vec![Some(tagged())], &vec![Some(tagged())]));
    assert!(is_same(&HashMap::from([(1, hundred())]), &HashMap::from([(1, hundred())])));
    let sets = || (hundred(), [hundred(), HashSet::new()]);
    assert!(is_same(&sets(), &sets()));
    // A set of sets: the inner ones are ordered first.
    #[derive(PartialEq, Eq, Serialize)]
    struct Inner(HashSet<String>);
    impl std::hash::Hash for Inner {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.len().hash(state);
        }
    }
    let of_sets = || HashSet::from([Inner(hundred()), Inner(HashSet::from(["a".to_owned()]))]);
    assert!(is_same(&of_sets(), &of_sets()));
}

#[test]
fn other_sets_are_other_arguments() {
    let other = |change: fn(&mut HashSet<String>)| {
        let mut set = hundred();
        change(&mut set);
        set
    };
    assert!(!is_same(&hundred(), &other(|set| assert!(set.remove("7")))));
    assert!(!is_same(&hundred(), &other(|set| assert!(set.insert("100".to_owned())))));
    assert!(!is_same(&(HashSet::from([1]), HashSet::from([2])), &(HashSet::from([2]), HashSet::from([1]))));
    // The order of a list counts, also of a list of sets.
    assert!(!is_same(&vec![1, 2], &vec![2, 1]));
    let lists = [HashSet::from([1]), HashSet::from([2])];
    assert!(!is_same(&lists.to_vec(), &[lists[1].clone(), lists[0].clone()].to_vec()));
    assert!(!is_same(&HashSet::from([vec![1, 2]]), &HashSet::from([vec![2, 1]])));
}

#[test]
fn a_set_is_an_argument_of_the_attribute() {
    #[idempotent(name = "fingerprint.set", key = id)]
    fn tag(id: u32, tags: HashSet<String>) -> Result<usize, Error> {
        Ok(tags.len())
    }
    with_store(&Store::temporary().unwrap(), || {
        assert_eq!(tag(7, hundred()).unwrap(), 100);
        assert_eq!(tag(7, hundred()).unwrap(), 100);
        assert_eq!(tag(7, HashSet::new()).unwrap_err().kind(), ErrorKind::Mismatch);
    });
}

#[test]
fn both_zeros_are_one_argument() {
    assert!(is_same(&0.0_f64, &-0.0_f64));
    assert!(is_same(&0.0_f32, &-0.0_f32));
    assert!(is_same(&vec![Some((1, -0.0))], &vec![Some((1, 0.0))]));
    assert!(is_same(&HashMap::from([("a", 0.0)]), &HashMap::from([("a", -0.0)])));
    assert!(!is_same(&0.0_f64, &0.0_f32));
    assert!(!is_same(&0.0, &f64::MIN_POSITIVE));
    assert!(is_same(&f64::NAN, &f64::NAN));
}

#[test]
fn arguments_of_which_none_can_be_compared_are_a_mismatch() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = |call: Call| form.make(call, || Ok::<u32, Error>(1));
        made(pay(&store).arg("cents", &100).arg("to", "Ann")).unwrap();
        let error = made(pay(&store).arg("amount", &100).arg("payee", "Bob")).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Mismatch, Ran::No));
        assert!(error.to_string().ends_with("the record has no argument named `amount`, `payee`"), "{error}");
        assert_eq!(error.differing(), ["amount", "payee"]);
        // One that both know is enough, and a side without any argument compares nothing.
        made(pay(&store).arg("cents", &100).arg("payee", "Bob")).unwrap();
        made(pay(&store)).unwrap();
        made(call(NAME).store(&store).key("none")).unwrap();
        made(call(NAME).store(&store).key("none").arg("cents", &100)).unwrap();
    });
}

#[test]
fn an_argument_that_cannot_be_compared_is_refused_before_the_claim() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no luck"))
        }
    }
    #[derive(Serialize)]
    struct Deep(Option<Box<Deep>>);
    let deep = |levels: usize| (0..levels).fold(Deep(None), |inner, _| Deep(Some(Box::new(inner))));
    in_every_form(move |form| {
        let store = Store::temporary().unwrap();
        let refused = |call: Call, what: &str| {
            let made = form.make(call, || -> Result<u32, Error> { panic!("it ran") });
            let error = made.unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::BadArgument, Ran::No));
            assert_eq!((error.name(), error.key()), (Some(NAME), Some("A-17")));
            let text = error.to_string();
            assert!(text.contains("`order`") && text.contains(what), "{text}");
            assert!(error.help().contains("`skip(…)`"), "{error:?}");
        };
        refused(pay(&store).arg("order", &Fails), "no luck");
        refused(pay(&store).arg("order", &1).arg("order", &2), "twice");
        refused(pay(&store).arg("order", &vec![deep(300)]), "deep");
        assert_eq!(store.stats().unwrap().records, 0);
    });
}
