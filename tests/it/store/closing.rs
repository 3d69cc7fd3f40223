//! The last handle that is dropped, and a store that is closed inside of its own call.

use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, Ran, Store, current};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::{eventually, pause_for};
use idem_tests::shared::call;

use crate::support::place::Place;

/// Longer than a drop takes on a busy machine, and much shorter than the limit of closing.
const SOON: Duration = Duration::from_secs(5);

fn pay(store: &Store, key: &str) -> Result<u32, Error> {
    call("closing.pay").store(store).key(key).run(|| Ok(1))
}

#[test]
fn dropping_the_last_handle_does_not_wait_for_a_program_that_holds_the_write_lock() {
    let place = Place::new();
    let store = place.open();
    pay(&store, "k").unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    drop(store);
    assert!(started.elapsed() < SOON, "the drop took {:?}", started.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    eventually("the store is closed", || place.owner_files().is_empty());
    assert_eq!(pay(&place.open(), "k").unwrap(), 1);
}

#[test]
fn a_store_that_still_closes_after_its_last_handle_can_be_opened_again() {
    let place = Place::new();
    let store = place.open();
    pay(&store, "k").unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(store);
    let rollback = std::thread::spawn(move || {
        pause_for(Duration::from_millis(100));
        other.execute_batch("ROLLBACK").unwrap();
    });
    let again = place.open();
    assert_eq!(pay(&again, "k").unwrap(), 1);
    rollback.join().unwrap();
    drop(again);
    eventually("both are closed", || place.owner_files().is_empty());
}

#[test]
fn a_dropped_store_is_closed_before_the_drop_returns_if_nothing_holds_it_up() {
    let place = Place::new();
    let store = place.open();
    pay(&store, "k").unwrap();
    drop(store);
    assert!(place.owner_files().is_empty() && !place.beside("-wal").exists());
}

#[test]
fn closing_a_store_inside_of_its_own_call_is_refused_at_once() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let started = Instant::now();
        let body = || {
            assert!(current().is_some());
            let error = store.close().unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Running, Ran::No), "{error}");
            assert!(error.to_string().contains("inside"), "{error}");
            Ok::<u32, Error>(1)
        };
        let outer = || form.make(call("closing.outer").store(&store).key("k"), body);
        assert_eq!(outer().unwrap(), 1);
        assert!(started.elapsed() < SOON, "the call took {:?}", started.elapsed());
        assert_eq!(pay(&store, "later").unwrap(), 1, "the store is still open");
        store.close().unwrap();
    });
}

#[test]
fn a_call_can_close_another_store() {
    let (outer, inner) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let body = || {
        pay(&inner, "k")?;
        inner.close()?;
        Ok::<u32, Error>(1)
    };
    assert_eq!(Form::Sync.make(call("closing.outer").store(&outer).key("k"), body).unwrap(), 1);
    assert_eq!(pay(&inner, "k").unwrap_err().kind(), ErrorKind::Closed);
}
