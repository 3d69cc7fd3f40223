//! `steal`: the late outcome of a stolen call never overwrites a newer one.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use idem_runtime::{ErrorKind, OnInterrupt, Ran, Settled, Status, Store, Verdict, settle};
use idem_tests::form::Form;
use idem_tests::halt::{LONG, pause};
use idem_tests::shared::call;
use rusqlite::OpenFlags;

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, not_run, once};

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
        assert_eq!(thief.hear("again ok"), "false", "the call no longer runs");
    }
}

/// Where the call runs that is stolen.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Here(Form),
    Elsewhere(Form),
}

const OWNERS: [Owner; 5] = [
    Owner::Here(Form::Sync),
    Owner::Here(Form::Tokio),
    Owner::Here(Form::Plain),
    Owner::Elsewhere(Form::Sync),
    Owner::Elsewhere(Form::Tokio),
];

/// What happens between the steal and the end of the stolen call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Nothing,
    SettledAsDone,
    /// Settled as not done, and claimed again by its own process, which still runs it.
    ClaimedAgain,
    /// Claimed again by `rerun` in its own process, which still runs it.
    Rerun,
}

/// A call that stands in its body. Its answer has the form of a worker's.
enum Held {
    Here { end: Sender<&'static str>, answer: JoinHandle<String> },
    Elsewhere { worker: Arc<Mutex<Worker>>, tag: &'static str },
}

impl Held {
    fn start(owner: Owner, worker: Option<&Arc<Mutex<Worker>>>, store: &Store, tag: &'static str) -> Held {
        match owner {
            Owner::Here(form) => Held::start_here(form, store.clone(), tag == "rerun"),
            Owner::Elsewhere(form) => {
                let worker = Arc::clone(worker.unwrap());
                let mode = if tag == "rerun" { "rerun" } else { "refuse" };
                worker.lock().unwrap().hold(tag, form, mode, "k");
                Held::Elsewhere { worker, tag }
            }
        }
    }

    fn start_here(form: Form, store: Store, rerun: bool) -> Held {
        let (end, told) = channel();
        let (started, start) = channel();
        let answer = thread::spawn(move || {
            let mode = if rerun { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
            let call = call(NAME).store(&store).key("k").on_interrupt(mode);
            let call = call.map_err(|error| format!("{:?}", error.kind()));
            let body = || {
                started.send(()).unwrap();
                match told.recv_timeout(LONG).unwrap() {
                    "ok" => Ok(format!("{:?}", thread::current().id())),
                    "err" => Err("Own".to_owned()),
                    _ => std::panic::resume_unwind(Box::new("as asked")),
                }
            };
            match form.make(call, body) {
                Ok(value) => format!("ok {value}"),
                Err(error) => format!("err {error}"),
            }
        });
        start.recv_timeout(LONG).unwrap();
        Held::Here { end, answer }
    }

    /// Ends the body; gives the answer of its caller, `panicked` if it is none.
    fn end(self, how: &'static str) -> String {
        match self {
            Held::Here { end, answer } => {
                end.send(how).unwrap();
                answer.join().unwrap_or_else(|_| "panicked".to_owned())
            }
            Held::Elsewhere { worker, tag } => {
                let mut worker = worker.lock().unwrap();
                worker.tell(&format!("{tag} end {how}"));
                if how == "panic" {
                    // A thread that panics says nothing. The store handles its end before the next call.
                    pause();
                    worker.call("behind", Form::Sync, "refuse", "other", "quick");
                    worker.hear("behind ok");
                    return "panicked".to_owned();
                }
                let answer = worker.hear(tag);
                let mut words = answer.split(' ');
                format!("{} {}", words.next().unwrap(), words.next().unwrap())
            }
        }
    }
}

/// Steals a running call, does `then`, and ends the stolen call.
fn steal(owner: Owner, then: Then, end: &'static str) {
    let what = format!("{owner:?}, {then:?}, {end}");
    let place = Place::new();
    let worker = matches!(owner, Owner::Elsewhere(_)).then(|| Arc::new(Mutex::new(Worker::start(&place))));
    let store = place.open();
    let again = || call(NAME).store(&store).key("k").run(not_run);
    assert!(!store.steal(NAME, "k").unwrap(), "the record is absent");
    let stolen = Held::start(owner, worker.as_ref(), &store, "stolen");
    assert!(store.steal(NAME, "k").unwrap());
    assert!(!store.steal(NAME, "k").unwrap(), "the call no longer runs");
    let record = store.get(NAME, "k").unwrap().unwrap();
    assert_eq!(record.status(), Status::InDoubt, "{what}");
    assert!(record.reason().unwrap().contains("operator"), "{what}: {:?}", record.reason());
    let newer = match then {
        Then::Nothing => None,
        Then::SettledAsDone => {
            assert_eq!(settle(Verdict::Done("by hand".to_owned()), again).unwrap(), Settled::Done);
            None
        }
        Then::ClaimedAgain => {
            assert_eq!(settle(Verdict::NotDone, again).unwrap(), Settled::NotDone);
            Some(Held::start(owner, worker.as_ref(), &store, "newer"))
        }
        Then::Rerun => Some(Held::start(owner, worker.as_ref(), &store, "rerun")),
    };
    let late = stolen.end(end);
    let fenced = if then == Then::Nothing { "ok" } else { "err Fenced" };
    match end {
        "ok" => assert!(late.starts_with(fenced), "{what}: {late}"),
        // The caller gets its `Err` in every case.
        "err" => assert_eq!(late, "err Own", "{what}"),
        _ => assert_eq!(late, "panicked", "{what}"),
    }
    let value = match newer {
        Some(newer) => {
            let record = store.get(NAME, "k").unwrap().unwrap();
            let attempt = if then == Then::Rerun { 2 } else { 1 };
            assert_eq!((record.status(), record.attempt()), (Status::Running, attempt), "{what}");
            newer.end("ok").split_off(3)
        }
        None if then == Then::SettledAsDone => "by hand".to_owned(),
        None => late.split_at(3).1.to_owned(),
    };
    if worker.is_some() {
        let effects = 1 + usize::from(matches!(then, Then::ClaimedAgain | Then::Rerun));
        assert_eq!(place.effects("k").len(), effects, "{what}");
    }
    assert_eq!(again().unwrap(), value, "{what}: something was overwritten");
    assert!(!store.steal(NAME, "k").unwrap(), "{what}: a done call was stolen");
}

// Rule 2. Field 5.
#[test]
fn a_late_finish_counts_while_nobody_has_touched_the_stolen_call() {
    for owner in OWNERS {
        steal(owner, Then::Nothing, "ok");
    }
}

// Rule 2. Field 5: neither the success nor the failure of a late finisher touches what came after it.
#[test]
fn a_late_finisher_is_fenced_once_the_call_was_settled_or_claimed_again() {
    for owner in OWNERS {
        for then in [Then::SettledAsDone, Then::ClaimedAgain, Then::Rerun] {
            for end in ["ok", "err", "panic"] {
                steal(owner, then, end);
            }
        }
    }
}

// Rule 2.
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
        assert!(error.to_string().contains("an operator took the call"), "{error}");
        let stands = store.get(NAME, "k").unwrap().unwrap();
        assert_eq!((stands.status(), stands.attempt()), (Status::Done, 2));
    }
}
