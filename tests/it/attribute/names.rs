//! `name` and `was`: the identity of a function across refactors.

use idem_runtime::{Call, Error, ErrorKind, OnInterrupt, Ran, Status, Store, idempotent, with_store};
use idem_tests::deadline;
use idem_tests::form::{in_every_form, kind};
use idem_tests::halt::Halt;
use idem_tests::hand_clock::HandClock;
use idem_tests::plain::block_on;
use idem_tests::shared::call;

fn old(store: &Store) -> Call {
    call("names.old").store(store).key("A-17")
}

fn renamed(store: &Store) -> Call {
    call("names.new").was(&["names.old", "names.older"]).store(store).key("A-17")
}

// Field 14.
#[test]
fn records_of_earlier_names_count() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.make(old(&store), || Ok::<u32, Error>(1)).unwrap();
        assert_eq!(form.make(renamed(&store), || Ok::<u32, Error>(2)).unwrap(), 1);
        let older = call("names.older").store(&store).key("B-4");
        form.make(older, || Ok::<u32, Error>(3)).unwrap();
        assert_eq!(form.make(renamed(&store).key("B-4"), || Ok::<u32, Error>(4)).unwrap(), 3);
        assert_eq!(store.stats().unwrap().records, 2, "nothing was written anew");
        let forgotten = call("names.new").store(&store).key("A-17");
        assert_eq!(
            form.make(forgotten, || Ok::<u32, Error>(5)).unwrap(),
            5,
            "without `was` it is another call"
        );
    });
}

// Field 14.
#[test]
fn earlier_names_count_in_every_state() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(old(&store));
        assert_eq!(form.make(renamed(&store).map_err(kind), || Ok(1_u32)), Err(ErrorKind::InDoubt));
        let rerun = renamed(&store).on_interrupt(OnInterrupt::rerun());
        assert_eq!(form.make(rerun, || Ok::<u32, Error>(2)).unwrap(), 2);
        assert_eq!(store.get("names.old", "A-17").unwrap().unwrap().attempt(), 2, "the names mean one call");

        let (store, halt) = (Store::temporary().unwrap(), Halt::new());
        let stands = std::sync::Arc::clone(&halt);
        let running = form.spawn(old(&store), move || {
            stands.stand();
            Ok::<u32, Error>(3)
        });
        halt.wait_for(1);
        let waits = form.spawn(renamed(&store), || Ok::<u32, Error>(4));
        halt.let_all_go();
        assert_eq!(running.join().unwrap().0.unwrap(), 3);
        assert_eq!(waits.join().unwrap().0.unwrap(), 3);
    });
}

#[test]
fn an_expired_record_of_an_earlier_name_is_replaced() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let day = std::time::Duration::from_secs(86_400);
        form.make(old(&store).ttl(day), || Ok::<u32, Error>(1)).unwrap();
        clock.pass(day);
        for _ in 0..2 {
            assert_eq!(form.make(renamed(&store).ttl(day), || Ok::<u32, Error>(2)).unwrap(), 2);
        }
        assert_eq!(
            form.make(old(&store).ttl(day), || Ok::<u32, Error>(3)).unwrap(),
            2,
            "one record for both"
        );
        assert_eq!(store.stats().unwrap().records, 1);
    });
}

#[test]
fn other_arguments_are_found_under_earlier_names_too() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.make(old(&store).arg("cents", &1), || Ok::<u32, Error>(1)).unwrap();
        let other = renamed(&store).arg("cents", &2).map_err(kind);
        assert_eq!(form.make(other, || Ok(2_u32)), Err(ErrorKind::Mismatch));
    });
}

mod before {
    #[idempotent_runtime::idempotent(key = id)]
    pub(super) fn pay(id: u32, cents: u32) -> Result<u32, idempotent_runtime::Error> {
        let _ = id;
        Ok(cents)
    }
    use idem_runtime as idempotent_runtime;
}

// Field 14.
#[test]
fn the_attribute_keeps_its_history_over_a_rename() {
    #[idempotent(name = "names.pay", was("it::attribute::names::before::pay"), key = id, skip(cents))]
    async fn pay_now(id: u32, cents: u32) -> Result<u32, Error> {
        let _ = id;
        Ok(cents)
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(before::pay(1, 10).unwrap(), 10);
        assert_eq!(block_on(pay_now(1, 20)).unwrap(), 10);
    });
    assert!(
        store.get("it::attribute::names::before::pay", &1).unwrap().is_some(),
        "the default name is the path"
    );
}

// Field 7.
#[test]
fn a_second_function_of_one_name_is_refused() {
    #[idempotent(name = "names.twice", key = id)]
    fn first(id: u32) -> Result<u32, Error> {
        Ok(id)
    }
    #[idempotent(name = "names.twice", key = id)]
    async fn second(id: u32) -> Result<u32, Error> {
        Ok(id + 1)
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(first(1).unwrap(), 1);
        let error = block_on(second(2)).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::DuplicateName, Ran::No));
        let names = |function: &str| error.to_string().contains(function);
        assert!(names("names::a_second_function_of_one_name_is_refused::first`"), "{error}");
        assert!(names("names::a_second_function_of_one_name_is_refused::second`"), "{error}");
        assert_eq!(first(1).unwrap(), 1, "the first one goes on");
        assert_eq!(first(3).unwrap(), 3);
    });
}

#[test]
fn one_name_may_be_called_from_many_places_of_one_function_by_the_builder() {
    deadline::start();
    let by_hand = || idem_runtime::call("names.by_hand").key("A-17");
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(by_hand().run(|| Ok::<u32, Error>(1)).unwrap(), 1);
        assert_eq!(by_hand().run(|| Ok::<u32, Error>(2)).unwrap(), 1);
        assert_eq!(block_on(by_hand().run_async(async || Ok::<u32, Error>(3))).unwrap(), 1);
        let owned = idem_runtime::call(format!("names.{}", "by_hand")).key("A-17");
        assert_eq!(owned.run(|| Ok::<u32, Error>(4)).unwrap(), 1);
    });
    assert_eq!(store.get("names.by_hand", "A-17").unwrap().unwrap().status(), Status::Done);
}
