//! A loss of records that was accepted, and other things that an open notices about the life of a store.

use std::cell::Cell;
use std::fs;
use std::time::SystemTime;

use idem_runtime::{Clock, Error, ErrorKind, OnInterrupt, Status, Store, SystemClock, Verdict, current};
use idem_tests::form::Form;
use idem_tests::halt::eventually;
use idem_tests::hand_clock::HandClock;
use idem_tests::shared::call;
use idem_tests::subscriber::events;
use tracing::Level;

use crate::modes::recover::make;
use crate::support::place::Place;
use crate::support::role::{self, Program, skip};
use crate::support::worker::{FORMS, run, status};

const PAY: &str = "lost.pay";

fn pay(
    form: Form,
    store: &Store,
    key: &str,
    hook: impl FnOnce() -> Verdict<u32>,
    body: impl FnOnce() -> Result<u32, Error>,
) -> Result<u32, Error> {
    make(form, call(PAY).store(store).key(key), hook, body)
}

fn not_asked() -> Verdict<u32> {
    unreachable!("the hook was asked")
}

fn not_run() -> Result<u32, Error> {
    unreachable!("the body ran")
}

/// A store whose database is older than its call `lost`.
fn put_back(form: Form) -> Place {
    let place = Place::new();
    let store = place.open();
    assert_eq!(pay(form, &store, "kept", not_asked, || Ok(1)).unwrap(), 1);
    store.close().unwrap();
    fs::copy(place.database(), place.beside(".old")).unwrap();
    let store = place.open();
    assert_eq!(store.stats().unwrap().lost_records, None);
    assert_eq!(pay(form, &store, "lost", not_asked, || Ok(2)).unwrap(), 2);
    store.close().unwrap();
    fs::copy(place.beside(".old"), place.database()).unwrap();
    place
}

fn accept(place: &Place) -> Store {
    assert_eq!(Store::open(place.database()).unwrap_err().kind(), ErrorKind::LostRecords);
    Store::builder().accept_lost_records().open(place.database()).unwrap()
}

#[test]
fn after_an_accepted_loss_the_hook_is_asked_before_the_first_run_of_a_key() {
    for form in FORMS {
        let place = put_back(form);
        let store = accept(&place);
        for reopened in [false, true] {
            let store = if reopened {
                store.close().unwrap();
                place.open()
            } else {
                store.clone()
            };
            let key = |name: &str| format!("{name} {reopened}");
            let found = || {
                let call = current().unwrap();
                assert!(call.in_doubt_since().is_some(), "the hook learns since when records are missing");
                Verdict::Done(2)
            };
            assert_eq!(pay(form, &store, &key("lost"), found, not_run).unwrap(), 2);
            assert_eq!(pay(form, &store, &key("lost"), not_asked, not_run).unwrap(), 2, "it is recorded");
            let asked = Cell::new(0);
            let not_done = || {
                asked.set(asked.get() + 1);
                Verdict::NotDone
            };
            assert_eq!(pay(form, &store, &key("new"), not_done, || Ok(3)).unwrap(), 3);
            assert_eq!(asked.get(), 1);
            let unknown = pay(form, &store, &key("unknown"), || Verdict::Unknown, not_run).unwrap_err();
            assert_eq!(unknown.kind(), ErrorKind::InDoubt);
            let seen = || store.get(PAY, &key("unknown")).unwrap().unwrap().status();
            eventually("it is in doubt", || seen() == Status::InDoubt);
            // A record that is there needs no question, and a function without a hook cannot ask.
            assert_eq!(pay(form, &store, "kept", not_asked, not_run).unwrap(), 1);
            run(form, &store, &key("no hook")).unwrap();
            assert_eq!(status(&store, &key("no hook")), Status::Done);
        }
    }
}

#[test]
fn a_hook_that_is_cut_off_after_a_loss_leaves_the_call_in_doubt() {
    let place = put_back(Form::Sync);
    let store = accept(&place);
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pay(Form::Sync, &store, "lost", || panic!("on purpose"), not_run)
    }));
    assert!(cut.is_err());
    let refused: Result<u32, Error> =
        call(PAY).store(&store).key("lost").on_interrupt(OnInterrupt::Refuse).run(not_run);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InDoubt);
}

#[test]
fn an_accepted_loss_is_told_at_every_open_and_in_the_stats() {
    let place = put_back(Form::Sync);
    let mut opened = None;
    let is_loss = |text: &String| text.contains("the store has lost records");
    let heard = events(Level::WARN, || opened = Some(accept(&place)));
    assert!(heard.iter().any(is_loss), "{heard:?}");
    let store = opened.take().unwrap();
    let since = store.stats().unwrap().lost_records.unwrap();
    let since_ms = i64::try_from(since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let age_ms = SystemClock::new().wall_ms() - since_ms;
    assert!((-1_000..60_000).contains(&age_ms), "{age_ms}");
    store.close().unwrap();
    for _ in 0..2 {
        let heard = events(Level::WARN, || opened = Some(place.open()));
        assert!(heard.iter().any(is_loss), "{heard:?}");
        let store = opened.take().unwrap();
        assert!(store.stats().unwrap().lost_records.is_some());
        store.close().unwrap();
    }
}

#[test]
fn a_database_that_is_made_anew_or_lacks_records_has_lost_them() {
    // The database is gone.
    let place = put_back(Form::Sync);
    fs::remove_file(place.database()).unwrap();
    let store = accept(&place);
    assert!(store.stats().unwrap().lost_records.is_some());
    assert_eq!(pay(Form::Sync, &store, "lost", || Verdict::Done(2), not_run).unwrap(), 2);
    // The counter knows more records.
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "k").unwrap();
    store.close().unwrap();
    let clock = HandClock::summer();
    place.connect().execute("UPDATE idem_count SET records = records + 3", []).unwrap();
    let store = Store::builder().clock(clock).accept_lost_records().open(place.database()).unwrap();
    assert!(store.stats().unwrap().lost_records.is_some());
    store.close().unwrap();
    // Nothing is lost here.
    let place = Place::new();
    place.open().close().unwrap();
    let store = Store::builder().accept_lost_records().open(place.database()).unwrap();
    assert_eq!(store.stats().unwrap().lost_records, None);
}

#[test]
fn a_store_of_another_machine_is_noticed() {
    let place = Place::new();
    place.open().close().unwrap();
    let moved = "UPDATE idem_meta SET value = 'another' WHERE name = 'machine'";
    if place.connect().execute(moved, []).unwrap() == 0 {
        return skip("this machine has no id");
    }
    let is_moved = |text: &String| text.contains("on another machine");
    let heard = events(Level::WARN, || place.open().close().unwrap());
    assert!(heard.iter().any(is_moved), "{heard:?}");
    let heard = events(Level::WARN, || place.open().close().unwrap());
    assert!(!heard.iter().any(is_moved), "once: {heard:?}");
}

/// Two copies of SQLite in one process drop each other's locks.
#[cfg(target_os = "linux")]
#[test]
fn another_copy_of_the_library_in_the_process_is_noticed() {
    let place = Place::new();
    let store = place.open();
    let token = "0123456789abcdef";
    let copied = place.connect().execute(
        "INSERT INTO idem_owner (token, pid, pid_start, pid_space, boot_id, host)
         SELECT ?1, pid, pid_start, pid_space, boot_id, host FROM idem_owner",
        [token],
    );
    assert_eq!(copied.unwrap(), 1);
    store.close().unwrap();
    let file = fs::File::create(place.beside("-idem").join(format!("owner-{token}.lock"))).unwrap();
    file.lock().unwrap();
    let is_copy = |text: &String| text.contains("another copy of this library");
    let heard = events(Level::WARN, || place.open().close().unwrap());
    assert!(heard.iter().any(is_copy), "{heard:?}");
    file.unlock().unwrap();
    let heard = events(Level::WARN, || place.open().close().unwrap());
    assert!(!heard.iter().any(is_copy), "{heard:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_mount_that_does_not_survive_is_told() {
    let place = Place::new();
    let is_volatile = |text: &String| text.contains("does not survive");
    let heard = events(Level::WARN, || assert_eq!(place.open().stats().unwrap().volatile_mount, None));
    assert!(!heard.iter().any(is_volatile), "{heard:?}");
    for kind in ["tmpfs", "ramfs"] {
        let folder = tempfile::tempdir().unwrap();
        let mount = |program: &str, arguments: &[&str]| {
            std::process::Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
        };
        let path = folder.path().to_str().unwrap();
        if !mount("mount", &["-t", kind, "none", path]) {
            return skip("mounting needs root");
        }
        let mut found = None;
        let heard = events(Level::WARN, || {
            let store = Store::open(folder.path().join("idem.db")).unwrap();
            found = store.stats().unwrap().volatile_mount;
            store.close().unwrap();
        });
        assert!(mount("umount", &[path]));
        assert_eq!(found, Some(kind));
        let told = heard.iter().filter(|text| is_volatile(text)).count();
        assert!(told == 1 && heard.iter().any(|text| text.contains(kind)), "{heard:?}");
    }
}

#[test]
fn a_wal_that_is_missing_when_the_process_opens_the_store_again_is_named() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "k").unwrap();
    fs::remove_file(place.beside("-wal")).unwrap();
    assert_eq!(run(Form::Sync, &store, "l").unwrap_err().kind(), ErrorKind::Replaced);
    store.close().unwrap_err();
    drop(store);
    let error = Store::open(place.database()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LostRecords, "{error:?}");
    assert!(error.to_string().contains("idem.db-wal` is missing"), "{error:?}");
}

#[test]
fn the_one_with_a_shared_cache() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    idem_torture::shared_cache::enable_shared_cache();
    let store = Store::open(path).unwrap();
    let refused: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    (0..50).filter(|n| run(Form::Sync, store, &format!("{thread} {n}")).is_err()).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    role::say(&format!("refused {refused}"));
}

#[test]
fn a_shared_cache_of_the_program_refuses_no_calls() {
    let place = Place::new();
    let path = place.database();
    let part = "store::lost_records::the_one_with_a_shared_cache";
    let mut program = Program::start(part, &[path.to_str().unwrap()]);
    assert_eq!(program.hear("refused"), "0");
}
