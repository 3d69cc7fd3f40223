//! The owner of a call: other processes notice its death at once, and only death or an operator takes the call from it.

use std::time::{Duration, Instant};

use idem_runtime::{ErrorKind, OnInterrupt, Ran, Status};
use idem_tests::form::Form;
use idem_tests::halt::{LONG, eventually, pause};
use rusqlite::OpenFlags;

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, holding, not_run, replay, status};

const SHORT: Duration = Duration::from_millis(100);

/// Changes a row beside the store.
fn tamper(place: &Place, sql: &str) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn = rusqlite::Connection::open_with_flags(place.database(), flags).unwrap();
    conn.busy_timeout(LONG).unwrap();
    assert_eq!(conn.execute(sql, []).unwrap(), 1);
}

/// The owner of a running call, without its lock file.
fn without_lock_file(form: Form) -> (Place, Worker) {
    let (place, owner) = holding(form);
    place.owner_files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
    (place, owner)
}

// Rule 3. Field 1.
#[test]
fn a_waiter_notices_the_death_of_the_owner_at_once() {
    let mut took: Vec<Duration> = Vec::new();
    for form in FORMS {
        for _ in 0..4 {
            let (place, mut owner) = holding(form);
            let store = place.open();
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let mut at = None;
                    let body = || {
                        at = Some(Instant::now());
                        Ok("again".to_owned())
                    };
                    effect(form, &store, "k", OnInterrupt::rerun(), LONG, body).unwrap();
                    at.unwrap()
                });
                pause();
                let killed = Instant::now();
                owner.kill();
                took.push(waiter.join().unwrap().duration_since(killed));
            });
            assert_eq!(store.get(NAME, "k").unwrap().unwrap().attempt(), 2);
        }
    }
    took.sort();
    eprintln!(
        "from SIGKILL to the next body: median {:?}, worst {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() / 2] < Duration::from_secs(2), "{took:?}");
}

// Rule 3, 4. Field 1, 2.
#[test]
fn the_calls_of_a_killed_owner_are_in_doubt_in_every_process_at_once() {
    for form in FORMS {
        let place = Place::new();
        let (mut owner, mut other) = (Worker::start(&place), Worker::start(&place));
        owner.hold("first", form, "refuse", "k");
        owner.hold("second", form, "refuse", "unwatched");
        other.call("waiter", form, "refuse", "k", "quick");
        pause();
        let store = place.open();
        owner.kill();
        let refusal = other.hear("waiter err InDoubt");
        assert!(refusal.contains("the process of the owner ended"), "{refusal}");
        // No call has touched this record. It reads as in doubt.
        assert_eq!(status(&store, "unwatched"), Status::InDoubt);
        let error = replay(form, &store, "unwatched").unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Unknown));
        assert_eq!(place.effects("k").len(), 1);
    }
}

/// The time of the doubt is written after the refusal. That write must not look like a running call.
#[test]
fn a_call_that_was_just_refused_as_in_doubt_can_be_forgotten_at_once() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        let mut owner = Worker::start(&place);
        let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
        for key in &keys {
            owner.hold(key, form, "refuse", key);
        }
        owner.kill();
        for key in &keys {
            let refused = effect(form, &store, key, OnInterrupt::Refuse, SHORT, not_run).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InDoubt);
            assert!(store.forget(NAME, key).unwrap());
        }
    }
}

// Rule 3: a running record of this owner is in doubt if the process does not know the call.
#[test]
fn a_store_opened_after_a_crash_settles_what_the_dead_left_and_nothing_of_the_living() {
    let place = Place::new();
    let (mut dead, mut living) = (Worker::start(&place), Worker::start(&place));
    dead.hold("first", Form::Sync, "refuse", "of-the-dead");
    living.hold("first", Form::Tokio, "refuse", "of-the-living");
    dead.kill();
    assert_eq!(place.owner_files().len(), 2);
    let store = place.open();
    assert_eq!(place.owner_files().len(), 2, "the dead one's file is removed, ours is there");
    assert_eq!(status(&store, "of-the-dead"), Status::InDoubt);
    assert_eq!(status(&store, "of-the-living"), Status::Running);
    living.tell("first end ok");
    living.hear("first ok");
}

// Rule 3. Field 4.
#[test]
fn a_paused_owner_is_never_taken_over() {
    for form in FORMS {
        let (place, mut owner) = holding(form);
        owner.pause();
        let store = place.open();
        let begun = Instant::now();
        let error = effect(form, &store, "k", OnInterrupt::rerun_unlimited(), SHORT, not_run).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Running, Ran::No));
        assert!(begun.elapsed() >= SHORT);
        assert_eq!(status(&store, "k"), Status::Running);
        // A store that is opened meanwhile leaves the call alone.
        drop(store);
        let store = place.open();
        owner.go_on();
        owner.tell("first end ok");
        let value = owner.hear("first ok");
        assert_eq!(replay(form, &store, "k").unwrap(), value);
        assert_eq!(place.effects("k").len(), 1);
    }
}

// Rule 3: without a lock file no death is proven.
#[test]
fn without_its_lock_file_a_living_owner_is_not_taken_over_and_the_refusal_names_steal() {
    for form in FORMS {
        let (place, _owner) = without_lock_file(form);
        let store = place.open();
        let error = effect(form, &store, "k", OnInterrupt::rerun_unlimited(), SHORT, not_run).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Running, Ran::No));
        assert!(error.help().contains("`Store::steal`"), "{error:?}");

        assert!(store.steal(NAME, "k").unwrap());
        let error = replay(form, &store, "k").unwrap_err();
        assert!(error.kind() == ErrorKind::InDoubt && error.to_string().contains("operator"), "{error}");
    }
}

// Rule 3: no lock file, but process id and start time are gone.
#[test]
fn without_its_lock_file_a_dead_owner_is_known_by_its_process_id() {
    for form in FORMS {
        let (place, mut owner) = holding(form);
        let store = place.open();
        std::thread::scope(|scope| {
            let waiter = scope
                .spawn(|| effect(form, &store, "k", OnInterrupt::rerun(), LONG, || Ok("again".to_owned())));
            pause();
            let ours = place.owner_files().len();
            assert_eq!(ours, 2);
            for file in place.owner_files() {
                // The file of this process goes too: a process knows itself without it.
                std::fs::remove_file(file).unwrap();
            }
            owner.kill();
            assert_eq!(waiter.join().unwrap().unwrap(), "again");
        });
        let later = Worker::start(&place);
        later.leave();
    }
}

// Rule 3: another process with the same id is not the owner.
#[test]
fn without_its_lock_file_an_owner_whose_process_id_was_given_away_is_dead() {
    let (place, _owner) = without_lock_file(Form::Sync);
    tamper(&place, "UPDATE idem_owner SET pid_start = pid_start - 1");
    let store = place.open();
    let error = replay(Form::Tokio, &store, "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InDoubt);
}

// Rule 3: no lock file, but another boot.
#[test]
fn without_its_lock_file_an_owner_of_another_boot_is_dead() {
    for form in FORMS {
        let (place, mut owner) = without_lock_file(form);
        tamper(&place, "UPDATE idem_owner SET boot_id = 'another boot'");
        let store = place.open();
        let error = replay(form, &store, "k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InDoubt);
        assert_eq!(
            effect(form, &store, "k", OnInterrupt::rerun(), LONG, || Ok("again".to_owned())).unwrap(),
            "again"
        );
        // The call of the owner that counted as dead is fenced and overwrites nothing.
        owner.tell("first end ok");
        owner.hear("first err Fenced");
        assert_eq!(replay(form, &store, "k").unwrap(), "again");
    }
}

// Rule 3: a process id of another container says nothing.
#[test]
fn without_its_lock_file_an_owner_in_another_container_stays_unknown() {
    let (place, mut owner) = without_lock_file(Form::Sync);
    tamper(&place, "UPDATE idem_owner SET pid_space = 'pid:[1]', pid_start = 1");
    owner.kill();
    let store = place.open();
    let error = effect(Form::Sync, &store, "k", OnInterrupt::rerun_unlimited(), SHORT, not_run).unwrap_err();
    assert!(error.kind() == ErrorKind::Running && error.help().contains("steal"), "{error:?}");
}

#[test]
fn a_killed_process_leaves_nothing_behind_once_the_store_was_opened_and_closed() {
    let (place, mut owner) = holding(Form::Sync);
    owner.kill();
    place.open().close().unwrap();
    eventually("no lock file is left", || place.owner_files().is_empty());
    assert!(!place.beside("-wal").exists() && !place.beside("-shm").exists());
}

// Rule 3: nothing proves such an owner dead.
#[test]
fn an_owner_whose_row_is_gone_is_neither_alive_nor_dead() {
    for form in FORMS {
        let (place, mut owner) = holding(form);
        let store = place.open();
        // This store has a row of its own. The owner of the call has the other one.
        tamper(
            &place,
            "DELETE FROM idem_owner WHERE number = (SELECT owner FROM idem_record WHERE key = 'k')",
        );
        let refused = effect(form, &store, "k", OnInterrupt::rerun(), SHORT, not_run).unwrap_err();
        assert_eq!((refused.kind(), refused.ran()), (ErrorKind::Running, Ran::No), "{refused}");
        assert!(refused.help().contains("`Store::steal`"), "{refused:?}");
        assert_eq!(status(&store, "k"), Status::Running);
        owner.kill();
    }
}
