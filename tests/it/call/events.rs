//! `tracing` events name the call and contain no secret.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Call, Error, OnInterrupt, Store, on_err};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::Halt;
use idem_tests::shared::call;
use idem_tests::subscriber;
use tracing::Level;

const NAME: &str = "events.pay";
/// What must be in no event.
const SECRET: &str = "4111-1111-1111-1111";

/// The events on this thread while `run` runs; no secret is in them.
fn events(run: impl FnOnce()) -> Vec<String> {
    let lines = subscriber::events(Level::TRACE, run);
    assert!(!lines.iter().any(|line| line.contains("4111")), "a secret is in: {lines:?}");
    lines
}

/// There is one event for each of these, in this order: all the parts of the first in the first, and so on.
#[track_caller]
fn are(lines: &[String], expected: &[&[&str]]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        for part in *parts {
            assert!(line.contains(part), "`{part}` is missing in: {line}");
        }
    }
}

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").arg("card", SECRET)
}

fn made(form: Form, call: Call) {
    // Other tests check the answer of the call.
    let _ = form.make(call, || Ok::<String, Error>(SECRET.to_owned()));
}

const WHO: [&str; 3] = ["name=events.pay", "key=A-17", "attempt=1"];

// Field 20: logs show names and keys.
#[test]
fn a_run_and_a_replay_are_events() {
    in_every_form(|form| {
        let clock = idem_tests::hand_clock::HandClock::summer();
        let (_folder, store) = clock.store();
        let first = events(|| made(form, pay(&store)));
        are(
            &first,
            &[
                &["DEBUG", "claimed", WHO[0], WHO[1], WHO[2], "claim=1"],
                &["DEBUG", "executed", WHO[0], WHO[1]],
            ],
        );
        clock.pass(Duration::from_secs(5));
        let again = events(|| made(form, pay(&store)));
        are(&again, &[&["DEBUG", "replayed", WHO[0], WHO[1], WHO[2], "5000"]]);
        let mismatch = events(|| made(form, call(NAME).store(&store).key("A-17").arg("card", "4111-2")));
        are(&mismatch, &[&["WARN", "mismatch", WHO[0], WHO[1], "card"]]);
    });
}

#[test]
fn a_refusal_in_doubt_is_an_event_with_its_reason() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let doubts = pay(&store).on_err(on_err::InDoubt);
        events(|| drop(form.make(doubts, || Err::<u32, _>(SECRET.to_owned()))));
        let refused = events(|| made(form, pay(&store)));
        are(&refused, &[&["WARN", "in doubt", WHO[0], WHO[1], WHO[2], "returned an error"]]);
        let rerun = events(|| made(form, pay(&store).on_interrupt(OnInterrupt::rerun())));
        are(&rerun, &[&["claimed", "attempt=2"], &["executed", "attempt=2"]]);
    });
}

#[test]
fn waiting_and_fencing_are_events() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let halt = Halt::new();
        let stands = Arc::clone(&halt);
        let call = pay(&store);
        let hung = std::thread::spawn(move || {
            events(|| {
                let fenced = form.make(call, || {
                    stands.stand();
                    Ok::<String, Error>(SECRET.to_owned())
                });
                fenced.unwrap_err();
            })
        });
        halt.wait_for(1);
        let waits = events(|| {
            let mut waiter = Box::pin(pay(&store).run_async(async || Ok::<String, Error>(SECRET.to_owned())));
            assert!(idem_tests::plain::poll_once(waiter.as_mut()).is_pending());
            store.steal(NAME, "A-17").unwrap();
            idem_tests::plain::block_on(waiter).unwrap_err();
        });
        are(&waits, &[&["DEBUG", "waited", WHO[0], WHO[1], "waited_ms="], &["WARN", "in doubt", "operator"]]);
        store.forget(NAME, "A-17").unwrap();
        halt.let_all_go();
        let hung = hung.join().unwrap();
        are(&hung, &[&["claimed"], &["WARN", "fenced", WHO[0], WHO[1], WHO[2]]]);
    });
}

#[test]
fn opening_a_store_reports_its_calls_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idem.db");
    let store = Store::open(&path).unwrap();
    assert!(events(|| drop(Store::open(&path).unwrap())).is_empty());
    for key in 0..3 {
        let doubts = call(NAME).store(&store).key(&key).on_err(on_err::InDoubt);
        doubts.run(|| Err::<u32, _>(SECRET.to_owned())).unwrap_err();
    }
    store.close().unwrap();
    let opened = events(|| drop(Store::open(&path).unwrap()));
    are(&opened, &[&["WARN", "in doubt", "count=3"]]);
}

// Field 13.
#[test]
fn a_result_that_cannot_be_stored_is_an_event() {
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::builder().result_bytes_max(10).open(folder.path().join("idem.db")).unwrap();
        let lines = events(|| made(form, pay(&store)));
        are(&lines, &[&["claimed"], &["ERROR", "larger than `10` bytes"], &["executed"]]);
    });
}
