//! Calls that do not end. A call that is dropped before the first poll of its body is released. A call that is dropped in
//! its body is in doubt. After the body has returned, its outcome is recorded. (Rule 9.)

use std::cell::Cell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, OnInterrupt, Ran, Snapshot, Status, Store, idempotent, on_err, with_store,
};
use idem_tests::deadline;
use idem_tests::form::in_every_form;
use idem_tests::halt::{Halt, eventually};
use idem_tests::plain::{block_on, poll_once};
use idem_tests::shared::call;

use crate::support::place::Place;

const NAME: &str = "cut_off.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

fn not_run() -> Result<u32, Error> {
    panic!("the body ran again")
}

fn record(store: &Store) -> Option<Snapshot> {
    store.get(NAME, "A-17").unwrap()
}

/// The next caller refuses: the call is in doubt for this reason, after its first attempt.
fn assert_in_doubt(store: &Store, reason: &str) {
    let refused = pay(store).run(not_run);
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Unknown));
    assert!(error.to_string().contains(reason), "{error}");
    let record = record(store).unwrap();
    assert_eq!((record.status(), record.attempt()), (Status::InDoubt, 1));
    assert!(record.reason().unwrap().contains(reason));
}

/// Nothing happened: the next caller runs, as the first attempt.
fn assert_released(store: &Store) {
    eventually("the record is gone", || record(store).is_none());
    assert_eq!(pay(store).run(|| Ok::<u32, Error>(5)).unwrap(), 5);
    assert_eq!(record(store).unwrap().attempt(), 1);
}

/// Polls once while the write lock is taken, so that the writer thread cannot answer before the poll is over.
fn poll_while_nobody_writes<F: Future>(place: &Place, mut future: Pin<&mut F>) {
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(poll_once(future.as_mut()).is_pending());
    other.execute_batch("ROLLBACK").unwrap();
}

// Rule 9. Field 2.
#[test]
fn a_panic_leaves_the_call_in_doubt() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(pay(&store));
        assert_in_doubt(&store, "the body panicked");
    });
}

#[test]
fn a_panic_reaches_the_caller_as_it_is() {
    #[idempotent(name = "cancellation.sync", key = id)]
    fn sync(id: u32) -> Result<u32, Error> {
        std::panic::panic_any(id)
    }
    #[idempotent(name = "cancellation.asynchronous", key = id)]
    async fn asynchronous(id: u32) -> Result<u32, Error> {
        std::panic::panic_any(id)
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let caught = catch_unwind(|| sync(7)).unwrap_err();
        assert_eq!(caught.downcast_ref::<u32>(), Some(&7));
        let caught = catch_unwind(AssertUnwindSafe(|| block_on(asynchronous(8)))).unwrap_err();
        assert_eq!(caught.downcast_ref::<u32>(), Some(&8));
        // The store is none the worse for it.
        for again in [sync(7).unwrap_err(), block_on(asynchronous(8)).unwrap_err()] {
            assert_eq!(again.kind(), ErrorKind::InDoubt);
        }
    });
}

#[test]
fn a_panic_of_an_inner_call_leaves_both_in_doubt() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let inner = pay(&store);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            form.make(call("cut_off.outer").store(&store).key("A-17"), || {
                inner.run(|| -> Result<u32, Error> { panic!("cut off on purpose") })
            })
        }));
        assert!(caught.is_err());
        assert_in_doubt(&store, "the body panicked");
        let outer = call("cut_off.outer").store(&store).key("A-17").run(|| Ok::<u32, Error>(1));
        assert_eq!(outer.unwrap_err().kind(), ErrorKind::InDoubt);
    });
}

// Rule 9.
#[test]
fn a_future_that_is_never_polled_leaves_no_trace() {
    let store = Store::temporary().unwrap();
    drop(pay(&store).run_async(async || Ok::<u32, Error>(1)));
    assert!(record(&store).is_none());
    assert_released(&store);
}

// Rule 9: no body was started, so the call stays in doubt with its reason and its attempts.
#[test]
fn a_rerun_dropped_before_the_first_poll_of_the_body_changes_nothing() {
    in_every_form(|form| {
        let place = Place::new();
        let store = place.open();
        form.cut_off(pay(&store));
        assert_in_doubt(&store, "the body panicked");
        let rerun = pay(&store).on_interrupt(OnInterrupt::rerun());
        let mut future = Box::pin(rerun.run_async(async || not_run()));
        poll_while_nobody_writes(&place, future.as_mut());
        eventually("it is claimed again", || record(&store).unwrap().status() == Status::Running);
        drop(future);
        eventually("it is in doubt again", || record(&store).unwrap().status() == Status::InDoubt);
        assert_in_doubt(&store, "the body panicked");
    });
}

// Rule 9.
#[test]
fn a_future_dropped_after_its_body_returned_has_the_outcome_of_the_body() {
    fn drop_after<P: on_err::ErrPolicy<String>>(call: Call<P>, end: Result<u32, &str>) {
        let returned = Cell::new(false);
        let mut future = Box::pin(call.run_async(async || {
            returned.set(true);
            end.map_err(str::to_owned)
        }));
        eventually("the body returned", || poll_once(future.as_mut()).is_ready() || returned.get());
    }
    for _ in 0..20 {
        let store = Store::temporary().unwrap();
        drop_after(pay(&store), Ok(7));
        assert_eq!(pay(&store).run(not_run).unwrap(), 7);
    }
    let store = Store::temporary().unwrap();
    drop_after(pay(&store), Err("declined"));
    assert_released(&store);

    let store = Store::temporary().unwrap();
    let remembering = || pay(&store).on_err(on_err::Remember);
    drop_after(remembering(), Err("declined"));
    assert_eq!(remembering().run(|| Ok::<u32, String>(1)), Err("declined".to_owned()));

    let store = Store::temporary().unwrap();
    drop_after(pay(&store).on_err(on_err::InDoubt), Err("declined"));
    assert_in_doubt(&store, "returned an error");
}

/// Under a paused clock tokio moves time on as soon as it has nothing to do, which is when a call waits for its claim:
/// the timeout can come at any await. At each of them the call is released or in doubt, never stuck.
#[test]
fn a_timeout_under_a_paused_clock_never_leaves_the_call_stuck() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for _ in 0..20 {
        let store = Store::temporary().unwrap();
        let started = Cell::new(false);
        let timed = runtime.block_on(async {
            let body = async || {
                started.set(true);
                tokio::time::sleep(Duration::from_secs(7_200)).await;
                Ok::<u32, Error>(1)
            };
            tokio::time::timeout(Duration::from_secs(3_600), pay(&store).run_async(body)).await
        });
        assert!(timed.is_err());
        if started.get() { assert_in_doubt(&store, "dropped the future") } else { assert_released(&store) }
    }
}

#[test]
fn a_paused_clock_times_no_waiter_out() {
    let store = Store::temporary().unwrap();
    let halt = Halt::new();
    let (of_body, of_store) = (std::sync::Arc::clone(&halt), store.clone());
    let runner = std::thread::spawn(move || {
        pay(&of_store).run(|| {
            of_body.stand();
            Ok::<u32, Error>(1)
        })
    });
    halt.wait_for(1);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let duplicate = runtime.block_on(async {
        let ends_it = async {
            // A day by tokio's clock, and no time at all.
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            halt.let_all_go();
        };
        tokio::join!(pay(&store).run_async(async || Ok::<u32, Error>(2)), ends_it).0
    });
    assert_eq!(duplicate.unwrap(), 1);
    assert_eq!(runner.join().unwrap().unwrap(), 1);
}

// A leaked future is never dropped: the call runs until an operator steals it.
#[test]
fn the_call_of_a_leaked_future_can_be_stolen() {
    let store = Store::temporary().unwrap();
    let started = Cell::new(false);
    let mut future = Box::pin(pay(&store).run_async(async || {
        started.set(true);
        pending::<Result<u32, Error>>().await
    }));
    eventually("the body started", || {
        assert!(poll_once(future.as_mut()).is_pending(), "the future is ready too early");
        started.get()
    });
    let refused = pay(&store).wait(Duration::ZERO).run(|| Ok::<u32, Error>(2));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Running);
    assert!(store.steal(NAME, "A-17").unwrap());
    assert_in_doubt(&store, "operator");
    // Its late drop changes nothing about that.
    drop(future);
    assert_in_doubt(&store, "");
}

#[test]
fn a_replay_takes_no_second_poll() {
    deadline::start();
    let store = Store::temporary().unwrap();
    pay(&store).run(|| Ok::<u32, Error>(3)).unwrap();
    let mut replay = Box::pin(pay(&store).run_async(async || Ok::<u32, Error>(4)));
    assert!(matches!(poll_once(replay.as_mut()), Poll::Ready(Ok(3))));
}
