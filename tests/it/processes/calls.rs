//! Several processes on one store: one effect per key, and every waiter gets the outcome.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use idem_runtime::{ErrorKind, OnInterrupt, Status};
use idem_tests::form::Form;
use idem_tests::halt::pause;

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, holding, not_run, once, replay, status, word};

// Rule 1. Field 4, 18.
#[test]
fn four_processes_with_eight_threads_each_have_one_effect_per_key() {
    let place = Place::new();
    let mut workers: Vec<Worker> = (0..4).map(|_| Worker::start(&place)).collect();
    for (worker, form) in workers.iter_mut().zip(FORMS.iter().cycle()) {
        worker.tell(&format!("all storm {} 8 25", word(*form)));
    }
    let answers: BTreeSet<String> = workers.iter_mut().map(|worker| worker.hear("all ok")).collect();
    assert_eq!(answers.len(), 1, "the processes got different values: {answers:?}");
    for n in 0..25 {
        let effects = place.effects(&format!("k{n}"));
        assert_eq!(effects.len(), 1, "k{n} had {effects:?}");
        assert!(
            answers.first().unwrap().contains(&format!("k{n}={}", effects[0])),
            "k{n} was answered otherwise"
        );
    }
    workers.into_iter().for_each(Worker::leave);
}

// Waiters: `Ok`. Field 10.
#[test]
fn waiters_in_other_processes_get_the_result() {
    for form in FORMS {
        let place = Place::new();
        let (mut owner, mut other) = (Worker::start(&place), Worker::start(&place));
        owner.hold("first", form, "refuse", "k");
        for waiter in ["a", "b"] {
            other.call(waiter, form, "refuse", "k", "quick");
            owner.call(waiter, form, "refuse", "k", "quick");
        }
        let store = place.open();
        std::thread::scope(|scope| {
            let here = scope.spawn(|| replay(form, &store, "k"));
            pause();
            assert!(
                !here.is_finished() && !other.has_said("a ") && !owner.has_said("a "),
                "no caller waited"
            );
            owner.tell("first end ok");
            let value = owner.hear("first ok");
            for worker in [&mut owner, &mut other] {
                assert_eq!((worker.hear("a ok"), worker.hear("b ok")), (value.clone(), value.clone()));
            }
            assert_eq!(here.join().unwrap().unwrap(), value);
            assert_eq!(place.effects("k"), [value]);
        });
    }
}

// Waiters: a released `Err`. Field 10.
#[test]
fn after_a_released_err_one_waiter_of_all_processes_runs_and_the_others_get_its_result() {
    for form in FORMS {
        let place = Place::new();
        let mut workers = [Worker::start(&place), Worker::start(&place), Worker::start(&place)];
        workers[0].hold("first", form, "refuse", "k");
        for worker in &mut workers {
            worker.call("a", form, "refuse", "k", "quick");
            worker.call("b", form, "refuse", "k", "quick");
        }
        pause();
        workers[0].tell("first end err");
        workers[0].hear("first err Own");
        let answers: BTreeSet<String> =
            workers.iter_mut().flat_map(|worker| [worker.hear("a ok"), worker.hear("b ok")]).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(place.effects("k").len(), 2, "the one that failed, and one more");
        assert_eq!(place.effects("k").last(), answers.first());
    }
}

// Waiters: cut off. Field 2.
#[test]
fn after_a_panic_waiters_in_other_processes_go_on_as_their_own_on_interrupt_says() {
    for form in FORMS {
        let place = Place::new();
        let (mut owner, mut other) = (Worker::start(&place), Worker::start(&place));
        owner.hold("first", form, "refuse", "k");
        other.call("careful", form, "refuse", "k", "quick");
        pause();
        owner.tell("first end panic");
        let refusal = other.hear("careful err InDoubt");
        assert!(refusal.contains("the body panicked"), "{refusal}");
        assert_eq!(place.effects("k").len(), 1);

        other.call("bold", form, "rerun", "k", "quick");
        let value = other.hear("bold ok");
        assert_eq!(place.effects("k").last(), Some(&value));
        owner.call("later", form, "refuse", "k", "quick");
        assert_eq!(owner.hear("later ok"), value);
    }
}

// Waiters: `wait` is over. Field 10.
#[test]
fn a_waiter_of_another_process_whose_wait_is_over_disturbs_nothing() {
    for form in FORMS {
        let (place, mut owner) = holding(form);
        let store = place.open();
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let begun = Instant::now();
            let error = effect(form, &store, "k", OnInterrupt::rerun(), wait, not_run).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Running);
            assert!(error.retry_after().is_some() && begun.elapsed() >= wait);
        }
        owner.tell("first end ok");
        let value = owner.hear("first ok");
        assert_eq!(replay(form, &store, "k").unwrap(), value);
    }
}

#[test]
fn a_store_is_closed_and_opened_while_another_process_has_it() {
    let place = Place::new();
    let mut other = Worker::start(&place);
    other.call("a", Form::Sync, "refuse", "a", "quick");
    let value = other.hear("a ok");
    for round in 0..3 {
        let store = place.open();
        assert_eq!(replay(Form::Tokio, &store, "a").unwrap(), value);
        let key = format!("here {round}");
        assert_eq!(once(Form::Sync, &store, &key, || Ok(key.clone())).unwrap(), key);
        store.close().unwrap();
        other.call("b", Form::Tokio, "refuse", &format!("there{round}"), "quick");
        other.hear("b ok");
    }
    other.leave();
    let store = place.open();
    assert_eq!(store.stats().unwrap().records, 7);
    assert!(store.verify().unwrap().is_empty());
}

#[test]
fn a_call_that_runs_elsewhere_can_be_seen_and_cannot_be_forgotten() {
    let (place, mut owner) = holding(Form::Sync);
    let store = place.open();
    let seen = store.get(NAME, "k").unwrap().unwrap();
    assert_eq!(seen.status(), Status::Running);
    assert!(seen.owner().unwrap().contains(&owner.pid().to_string()), "{:?}", seen.owner());
    assert_eq!(store.forget(NAME, "k").unwrap_err().kind(), ErrorKind::Running);
    owner.tell("first end ok");
    owner.hear("first ok");
    assert_eq!(status(&store, "k"), Status::Done);
}
