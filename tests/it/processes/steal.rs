//! `steal`, late finishers and claim numbers: a call that was taken away never overwrites what came after it.

use idem_runtime::{ErrorKind, OnInterrupt, Ran, Settled, Status, Verdict, call, settle};
use idem_tests::form::Form;
use idem_tests::halt::{LONG, pause};
use rusqlite::OpenFlags;

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, not_run, once, replay, status};

/// The claim number of the one record of a key, as stored.
fn claim_number(place: &Place, key: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(place.database(), flags).unwrap();
    conn.query_row("SELECT claim FROM idem_record WHERE key = ?1", [key], |row| row.get(0)).unwrap()
}

// Waiters: stolen.
#[test]
fn a_steal_wakes_the_waiters_of_the_owners_process_and_of_a_third_one() {
    for form in FORMS {
        let place = Place::new();
        let (mut owner, mut thief, mut third) =
            (Worker::start(&place), Worker::start(&place), Worker::start(&place));
        owner.hold("first", form, "refuse", "k");
        owner.call("near", form, "refuse", "k", "quick");
        third.call("far", form, "refuse", "k", "quick");
        pause();
        thief.tell("theft steal k");
        assert_eq!(thief.hear("theft ok"), "true");
        for refusal in [owner.hear("near err InDoubt"), third.hear("far err InDoubt")] {
            assert!(refusal.contains("an operator took the call"), "{refusal}");
        }
        thief.tell("again steal k");
        assert_eq!(thief.hear("again ok"), "false", "it runs no more");
    }
}

// Rule 2.
#[test]
fn a_late_finish_counts_while_nobody_has_touched_the_stolen_call() {
    for form in FORMS {
        let place = Place::new();
        let mut owner = Worker::start(&place);
        owner.hold("first", form, "refuse", "k");
        let store = place.open();
        assert!(store.steal(NAME, "k").unwrap());
        assert_eq!(status(&store, "k"), Status::InDoubt);
        owner.tell("first end ok");
        let value = owner.hear("first ok");
        assert_eq!(replay(form, &store, "k").unwrap(), value);
    }
}

// Rule 2. Field 5.
#[test]
fn a_late_finisher_is_fenced_once_the_call_is_settled() {
    for form in FORMS {
        for ending in ["ok", "err"] {
            let place = Place::new();
            let mut owner = Worker::start(&place);
            owner.hold("first", form, "refuse", "k");
            let store = place.open();
            store.steal(NAME, "k").unwrap();
            let typed = || call(NAME).store(&store).key("k").run(not_run);
            assert_eq!(settle(Verdict::Done("by hand".to_owned()), typed).unwrap(), Settled::Done);
            owner.tell(&format!("first end {ending}"));
            match ending {
                "ok" => assert!(owner.hear("first err Fenced").contains("an operator took the call")),
                // An `Err` is the caller's whatever became of its record.
                _ => drop(owner.hear("first err Own")),
            }
            assert_eq!(replay(form, &store, "k").unwrap(), "by hand");
        }
    }
}

// Rule 2: steal, not done, claimed again in the same process.
#[test]
fn a_hung_call_does_not_overwrite_the_one_that_was_claimed_after_it_in_its_own_process() {
    for form in FORMS {
        for ending in ["ok", "err", "panic"] {
            let place = Place::new();
            let (mut owner, mut operator) = (Worker::start(&place), Worker::start(&place));
            owner.hold("hung", form, "refuse", "k");
            operator.tell("theft steal k");
            operator.hear("theft ok true");
            operator.tell("verdict settle k");
            operator.hear("verdict ok NotDone");
            owner.hold("new", form, "refuse", "k");

            owner.tell(&format!("hung end {ending}"));
            match ending {
                "ok" => drop(owner.hear("hung err Fenced")),
                "err" => drop(owner.hear("hung err Own")),
                // A thread that panicked says nothing; what it sent to the store is behind this call.
                _ => {
                    pause();
                    owner.call("behind", form, "refuse", "other", "quick");
                    owner.hear("behind ok");
                }
            }
            let store = place.open();
            assert_eq!(status(&store, "k"), Status::Running, "after {ending}");
            owner.tell("new end ok");
            let value = owner.hear("new ok");
            assert_eq!(place.effects("k").last(), Some(&value));
            operator.call("later", form, "refuse", "k", "quick");
            assert_eq!(operator.hear("later ok"), value, "after {ending}");
            assert_eq!(place.effects("k").len(), 2);
        }
    }
}

// Rule 2: never used twice.
#[test]
fn a_claim_number_is_never_used_twice() {
    let place = Place::new();
    let mut last = 0;
    let mut is_higher = |key: &str| {
        let claim = claim_number(&place, key);
        assert!(claim > last, "claim {claim} came after {last}");
        last = claim;
    };
    for _ in 0..3 {
        let store = place.open();
        let done = |key: &str| once(Form::Sync, &store, key, || Ok(String::new()));
        done("k").unwrap();
        is_higher("k");
        // A deleted record does not free its number, be it the highest one.
        assert!(store.forget(NAME, "k").unwrap());
        done("k").unwrap();
        is_higher("k");
        store.forget(NAME, "k").unwrap();
        assert!(store.record_done(NAME, "imported", &1_u32).unwrap());
        is_higher("imported");
        store.forget(NAME, "imported").unwrap();
        store.close().unwrap();
    }
    let mut owner = Worker::start(&place);
    owner.hold("first", Form::Tokio, "refuse", "k");
    is_higher("k");
    owner.kill();
    let store = place.open();
    effect(Form::Tokio, &store, "k", OnInterrupt::rerun(), LONG, || Ok(String::new())).unwrap();
    is_higher("k");
}

#[test]
fn a_stolen_call_that_ran_again_fences_the_first_one_wherever_it_runs() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        let mut other = Worker::start(&place);
        let first = once(form, &store, "k", || {
            other.tell("theft steal k");
            other.hear("theft ok true");
            other.call("again", form, "rerun", "k", "quick");
            Ok(other.hear("again ok"))
        });
        let error = first.unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Fenced, Ran::Yes));
        let stands = store.get(NAME, "k").unwrap().unwrap();
        assert_eq!((stands.status(), stands.attempt()), (Status::Done, 2));
    }
}
