//! Opening, closing, dropping and opening again.
//!
//! The check of use after `fork` is not tested: the standard library cannot fork without `unsafe`.

use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store};
use idem_tests::form::Form;
use idem_tests::halt::{Halt, LONG, pause};
use idem_tests::subscriber::events;
use tracing::Level;

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, halting, not_run, replay, run, status};

#[test]
fn the_same_file_twice_is_the_same_store() {
    for form in FORMS {
        let place = Place::new();
        let (first, second) = (place.open(), place.open());
        assert_eq!(place.owner_files().len(), 1);
        run(form, &first, "k").unwrap();
        assert_eq!(replay(form, &second, "k").unwrap(), "value of k");
        // A duplicate through the other handle joins the call in memory.
        let halt = Halt::new();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| halting(form, &first, &halt, "joined", "one"));
            halt.wait_for(1);
            let joining = scope.spawn(|| replay(form, &second, "joined"));
            pause();
            halt.let_all_go();
            assert_eq!(
                (running.join().unwrap().unwrap(), joining.join().unwrap().unwrap()),
                ("one".into(), "one".into())
            );
        });
        // One handle fewer changes nothing for the other.
        drop(first);
        assert_eq!(replay(form, &second, "k").unwrap(), "value of k");
    }
}

#[test]
fn many_threads_that_open_one_file_get_one_store() {
    let place = Place::new();
    std::thread::scope(|scope| {
        let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| place.open())).collect();
        let stores: Vec<Store> = opened.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(place.owner_files().len(), 1);
        run(Form::Sync, &stores[0], "k").unwrap();
        assert_eq!(replay(Form::Tokio, &stores[7], "k").unwrap(), "value of k");
    });
}

#[test]
fn several_processes_that_make_one_store_at_once_make_one() {
    let place = Place::new();
    let mut workers: Vec<Worker> = (0..6).map(|_| Worker::start_unheard(&place.database(), &place)).collect();
    for worker in &mut workers {
        worker.hear("ready");
        worker.call("a", Form::Sync, "refuse", "k", "quick");
    }
    let values: Vec<String> = workers.iter_mut().map(|worker| worker.hear("a ok")).collect();
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    assert_eq!(place.effects("k").len(), 1);
    workers.into_iter().for_each(Worker::leave);
    assert!(place.owner_files().is_empty());
}

#[test]
fn closing_leaves_the_file_in_order() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        run(form, &store, "k").unwrap();
        assert!(place.beside("-wal").exists());
        store.close().unwrap();
        assert!(!place.beside("-wal").exists() && !place.beside("-shm").exists(), "the log is folded in");
        assert!(place.owner_files().is_empty());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = rusqlite::Connection::open_with_flags(place.database(), flags).unwrap();
        let owners: i64 = conn.query_row("SELECT count(*) FROM idem_owner", [], |row| row.get(0)).unwrap();
        assert_eq!(owners, 0);
        drop(conn);
        // The file alone is the store.
        std::fs::remove_dir_all(place.beside("-idem")).unwrap();
        assert_eq!(replay(form, &place.open(), "k").unwrap(), "value of k");
    }
}

#[test]
fn after_close_every_handle_is_closed_and_closing_again_is_fine() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        let other = store.clone();
        run(form, &store, "k").unwrap();
        store.close().unwrap();
        store.close().unwrap();
        other.close().unwrap();
        let error = effect(form, &other, "k", OnInterrupt::rerun(), LONG, not_run).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Closed, Ran::No));
        assert!(error.help().contains("Open the store again"), "{error:?}");
        assert_eq!(store.get(NAME, "k").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.stats().unwrap_err().kind(), ErrorKind::Closed);
        // The old handles stay closed beside a new one.
        let again = place.open();
        assert_eq!(replay(form, &again, "k").unwrap(), "value of k");
        assert_eq!(store.get(NAME, "k").unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn closing_waits_for_running_calls_and_everything_they_did_is_written() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        run(form, &store, "done").unwrap();
        let halt = Halt::new();
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|n| {
                    let (store, halt) = (&store, &halt);
                    scope.spawn(move || halting(form, store, halt, &format!("k{n}"), &n.to_string()))
                })
                .collect();
            halt.wait_for(4);
            let closing = scope.spawn(|| store.close());
            pause();
            assert!(!closing.is_finished());
            for key in ["done", "new"] {
                let error = replay(form, &store, key).unwrap_err();
                assert_eq!((error.kind(), error.ran()), (ErrorKind::Closed, Ran::No), "{key}");
            }
            halt.let_all_go();
            closing.join().unwrap().unwrap();
            for (n, call) in calls.into_iter().enumerate() {
                assert_eq!(call.join().unwrap().unwrap(), n.to_string());
            }
        });
        let store = place.open();
        assert!((0..4).all(|n| replay(form, &store, &format!("k{n}")).unwrap() == n.to_string()));
    }
}

// It takes the 30 s that closing waits.
#[test]
#[ignore = "takes 30 s"]
fn a_call_that_does_not_end_keeps_the_store_from_being_closed_and_nothing_is_lost() {
    let place = Place::new();
    let store = place.open();
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let store = &store;
        let running = scope.spawn(|| halting(Form::Sync, store, &halt, "k", "in the end"));
        halt.wait_for(1);
        let begun = Instant::now();
        let error = store.close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Running);
        assert!(begun.elapsed() >= Duration::from_secs(29));
        run(Form::Tokio, store, "meanwhile").unwrap();
        halt.let_all_go();
        assert_eq!(running.join().unwrap().unwrap(), "in the end");
    });
    store.close().unwrap();
}

#[test]
fn the_last_handle_that_is_dropped_closes_the_store() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        run(form, &store, "k").unwrap();
        let other = store.clone();
        drop(store);
        assert!(place.beside("-wal").exists());
        drop(other);
        assert!(!place.beside("-wal").exists() && place.owner_files().is_empty());
        assert_eq!(replay(form, &place.open(), "k").unwrap(), "value of k");
    }
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_body() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        let mut last = Some(store.clone());
        drop(store);
        let call = idem_tests::shared::call(NAME).store(last.as_ref().unwrap()).key("k");
        let made: Result<u32, Error> = form.make(call, || {
            drop(last.take());
            Ok(1)
        });
        assert_eq!(made.unwrap(), 1);
        assert_eq!(status(&place.open(), "k"), Status::Done);
    }
}

#[test]
fn a_temporary_store_goes_with_its_last_handle() {
    for form in FORMS {
        let store = Store::temporary().unwrap();
        let folder = store.path().parent().unwrap().to_owned();
        run(form, &store, "k").unwrap();
        let other = store.clone();
        drop(store);
        assert_eq!(replay(form, &other, "k").unwrap(), "value of k");
        drop(other);
        assert!(!folder.exists());
    }
    let (one, another) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    assert_ne!(one.path(), another.path());
}

// Field 1, 20: opening a store reports the calls that a crash left.
#[test]
fn opening_warns_of_calls_in_doubt() {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    worker.hold("a", Form::Sync, "refuse", "a");
    worker.hold("b", Form::Tokio, "refuse", "b");
    worker.kill();
    let mut opened = None;
    let heard = events(Level::WARN, || opened = Some(place.open()));
    let store = opened.unwrap();
    assert!(heard.iter().any(|text| text.contains("count=2") && text.contains("in doubt")), "{heard:?}");
    for key in ["a", "b"] {
        assert!(store.forget(NAME, key).unwrap());
    }
    store.close().unwrap();
    assert_eq!(events(Level::WARN, || drop(place.open())), [""; 0]);
}

// Rule 13.
#[test]
fn a_second_open_with_other_settings_is_an_error_that_names_them() {
    let place = Place::new();
    let first = || Store::builder().token_namespace("shop-eu").result_bytes_max(1_000);
    let store = first().open(place.database()).unwrap();
    let again = first().open(place.database()).unwrap();
    assert_eq!(store.path(), again.path());
    let second = Duration::from_secs(1);
    for (builder, differing) in [
        (Store::builder().result_bytes_max(1_000), "`token_namespace`"),
        (first().token_namespace("shop-us"), "`token_namespace`"),
        (first().result_bytes_max(2_000), "`result_bytes_max`"),
        (first().log_bytes(1 << 20), "`log_bytes`"),
        (first().record_within(second), "`record_within`"),
        (first().settle_window(second), "`settle_window`"),
        (first().clock(idem_tests::hand_clock::HandClock::summer()), "`clock`"),
        (first().shared(), "`shared`"),
        (first().record_within(second).settle_window(second), "`record_within`, `settle_window`"),
        (Store::builder(), "`token_namespace`, `result_bytes_max`"),
    ] {
        let error = builder.open(place.database()).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, Ran::No), "{error:?}");
        let words = format!("open in this process with other settings: {differing}");
        assert!(error.to_string().ends_with(&words), "{error}");
    }
    // Permissions of an open are no settings of a store.
    let permitted = first().accept_lost_records().allow_remote_mount();
    assert_eq!(permitted.open(place.database()).unwrap().path(), store.path());
    store.close().unwrap();
    place.open();
}

// Rule 13.
#[test]
fn the_one_that_opens_again() {
    let Some(words) = crate::support::role::words() else { return };
    let [path] = words.try_into().unwrap();
    let call = |key: &str| idem_tests::shared::call(NAME).key(key).run(|| Ok::<u32, Error>(1));
    for round in 0..3 {
        let store = Store::open(&path).unwrap();
        idem_runtime::init(store.clone()).unwrap();
        idem_runtime::init(store.clone()).unwrap();
        assert_eq!(call(&format!("k{round}")).unwrap(), 1);
        let other = Store::temporary().unwrap();
        assert!(idem_runtime::init(other).unwrap_err().to_string().contains("another store"));
        store.close().unwrap();
        assert_eq!(call("closed").unwrap_err().kind(), ErrorKind::Closed);
    }
    let store = idem_runtime::init_with(|| Store::open(&path)).unwrap();
    assert_eq!(call("k0").unwrap(), 1);
    assert_eq!(idem_runtime::init_with(Store::temporary).unwrap().path(), store.path());
    crate::support::role::say("done");
}

#[test]
fn a_closed_store_can_be_opened_and_be_the_default_store_again() {
    let place = Place::new();
    let path = place.database();
    let part = "store::lifecycle::the_one_that_opens_again";
    let mut program = crate::support::role::Program::start(part, &[path.to_str().unwrap()]);
    program.hear("done");
    assert!(program.leave().success());
}
