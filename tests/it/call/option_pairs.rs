//! Pairs of options that no other test names. docs/design.md has the table of all pairs.

#![allow(clippy::unchecked_time_subtraction, reason = "between constants, to name the moment before")]

use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, Lifetime, OnInterrupt, Status, Store, call, observe, observe_async, on_err,
};
use idem_tests::form::{in_every_form, kind};
use idem_tests::halt::{Runs, eventually};
use idem_tests::hand_clock::HandClock;
use tokio::time::{sleep, timeout};

use crate::call::detach::{Body, runtimes};

const HOUR: Duration = Duration::from_secs(3_600);
const MS: Duration = Duration::from_millis(1);

fn old(store: &Store) -> Call {
    call("pairs.old").same_for_types().store(store).key("A-17")
}

fn renamed(store: &Store) -> Call {
    call("pairs.new").same_for_types().was(&["pairs.old"]).store(store).key("A-17")
}

fn status(store: &Store, name: &str) -> Option<Status> {
    store.get(name, "A-17").unwrap().map(|record| record.status())
}

fn not_run<E>() -> Result<u32, E> {
    unreachable!("the body ran")
}

/// Waits without blocking the runtime.
async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            sleep(MS).await;
        }
    };
    timeout(Duration::from_secs(60), holds).await.expect("the condition holds within a minute");
}

// `was` and `keep_result`.
#[test]
fn a_result_that_is_gone_under_an_earlier_name_is_no_second_run() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        form.make(old(&store).keep_result(HOUR), || Ok::<u32, Error>(1)).unwrap();
        assert_eq!(
            form.make(renamed(&store).keep_result(Lifetime::FOREVER), || Ok::<u32, Error>(2)).unwrap(),
            1
        );
        clock.pass(HOUR);
        assert_eq!(form.make(renamed(&store).map_err(kind), not_run), Err(ErrorKind::ResultGone));
    });
}

// `was` and `observe`.
#[test]
fn a_replay_of_an_earlier_name_is_observed_as_a_replay() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.make(old(&store), || Ok::<u32, Error>(1)).unwrap();
        let (made, seen) = observe(|| form.make(renamed(&store), not_run::<Error>));
        let seen = seen.unwrap();
        assert_eq!((made.unwrap(), seen.replayed.is_some(), seen.attempt), (1, true, 1));
    });
}

// `was` and `detach`.
#[test]
fn a_retry_under_the_new_name_joins_the_detached_call_of_the_old_one() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let body = Body::default();
            let runs = body.clone();
            let calling = old(&store).detach().run_async(move || runs.run());
            tokio::select! {
                paid = calling => panic!("the call ended: {paid:?}"),
                () = body.stands.notified() => {}
            }
            body.go_on.notify_one();
            let again = body.clone();
            assert_eq!(renamed(&store).detach().run_async(move || again.run()).await.unwrap(), 1);
            assert_eq!((body.runs.started(), store.stats().unwrap().records), (1, 1));
        });
    }
}

// `was` and `on_err`.
#[test]
fn an_error_under_an_earlier_name_means_what_its_policy_said() {
    in_every_form(|form| {
        let err = |text: &str| Err::<u32, String>(text.to_owned());
        let store = Store::temporary().unwrap();
        form.make(old(&store), || err("released")).unwrap_err();
        let remembering = || renamed(&store).on_err(on_err::Remember);
        assert_eq!(form.make(remembering(), || err("declined")), err("declined"));
        assert_eq!((status(&store, "pairs.old"), status(&store, "pairs.new")), (None, Some(Status::Failed)));

        let store = Store::temporary().unwrap();
        form.make(old(&store).on_err(on_err::Remember), || err("declined")).unwrap_err();
        assert_eq!(form.make(renamed(&store).on_err(on_err::Remember), not_run::<String>), err("declined"));

        let store = Store::temporary().unwrap();
        form.make(old(&store).on_err(on_err::InDoubt), || err("timed out")).unwrap_err();
        assert_eq!(form.make(renamed(&store).map_err(kind), not_run), Err(ErrorKind::InDoubt));
    });
}

// `was` and nested calls.
#[test]
fn a_body_that_reaches_itself_under_another_of_its_names_is_refused() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let inside = form.make(old(&store), || {
            Ok::<_, Error>(renamed(&store).map_err(kind).run(not_run) == Err(ErrorKind::Reentrant))
        });
        assert!(inside.unwrap());
    });
}

// `ttl` and `observe`.
#[test]
fn a_run_after_the_ttl_is_observed_as_a_first_run() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let hourly = |n| observe(|| form.make(old(&store).ttl(HOUR), || Ok::<u32, Error>(n)));
        hourly(1).0.unwrap();
        clock.pass(HOUR - MS);
        assert_eq!(hourly(2).1.unwrap().replayed, Some(HOUR - MS));
        clock.pass(MS);
        let (made, seen) = hourly(3);
        let seen = seen.unwrap();
        assert_eq!((made.unwrap(), seen.replayed, seen.attempt), (3, None, 1));
    });
}

// `ttl`, `keep_result` and `detach`.
#[test]
fn the_lifetimes_of_a_detached_call_begin_with_the_end_of_its_body() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let clock = HandClock::summer();
            let (_folder, store) = clock.store();
            let body = Body::default();
            let hourly = || old(&store).ttl(2 * HOUR).keep_result(HOUR);
            let runs = body.clone();
            let calling = hourly().detach().run_async(move || runs.run());
            tokio::select! {
                paid = calling => panic!("the call ended: {paid:?}"),
                () = body.stands.notified() => {}
            }
            clock.pass(10 * HOUR);
            body.go_on.notify_one();
            let again = || async {
                hourly().run_async(async || Ok::<usize, Error>(7)).await.map_err(|error| error.kind())
            };
            assert_eq!(again().await, Ok(1));
            clock.pass(HOUR - MS);
            assert_eq!(again().await, Ok(1));
            clock.pass(MS);
            assert_eq!(again().await, Err(ErrorKind::ResultGone));
            clock.pass(HOUR);
            assert_eq!(again().await, Ok(7));
        });
    }
}

// `ttl` and nested calls.
#[test]
fn an_inner_call_past_its_ttl_runs_again_in_an_outer_rerun() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let inner = Runs::new();
        let step = || {
            let step = call("pairs.step").same_for_types().store(&store).key("A-17").ttl(HOUR);
            step.run(|| inner.count(Ok::<usize, Error>)).unwrap()
        };
        let outer = || old(&store).on_interrupt(OnInterrupt::rerun());
        let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            form.make(outer(), || -> Result<usize, Error> {
                step();
                panic!("cut off on purpose")
            })
        }));
        assert!(cut.is_err());
        eventually("it is in doubt", || status(&store, "pairs.old") == Some(Status::InDoubt));
        clock.pass(HOUR);
        assert_eq!(form.make(outer(), || Ok::<usize, Error>(step())).unwrap(), 2);
        // A replay of the outer call makes no inner call.
        clock.pass(HOUR);
        assert_eq!(form.make(outer(), || -> Result<usize, Error> { unreachable!() }).unwrap(), 2);
        assert_eq!(inner.started(), 2);
    });
}

// `keep_result` and `observe`.
#[test]
fn a_refusal_without_a_result_is_observed_as_no_answer() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let unkept = || old(&store).keep_result(Lifetime::ZERO);
        let (made, seen) = observe(|| form.make(unkept(), || Ok::<u32, Error>(1)));
        assert_eq!((made.unwrap(), seen.unwrap().replayed), (1, None));
        let (made, seen) = observe(|| form.make(unkept().map_err(kind), not_run));
        assert_eq!((made, seen), (Err(ErrorKind::ResultGone), None));
    });
}

// `keep_result` and `detach`.
#[test]
fn a_detached_result_that_is_not_kept_is_its_callers_and_gone_for_a_retry() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let unkept = || old(&store).keep_result(Lifetime::ZERO);
            let body = Body::default();
            let runs = body.clone();
            let first = tokio::spawn({
                let call = unkept().detach();
                async move { call.run_async(move || runs.run()).await }
            });
            body.stands.notified().await;
            let retry = unkept().map_err(kind).run_async(async || not_run());
            let go_on = async { body.go_on.notify_one() };
            let (retried, ()) = tokio::join!(retry, go_on);
            assert_eq!(first.await.unwrap().unwrap(), 1);
            assert_eq!(retried, Err(ErrorKind::ResultGone));
        });
    }
}

// `keep_result`, `ttl` and `on_interrupt`.
#[test]
fn the_attempt_that_completes_decides_about_the_lifetimes() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        form.cut_off(old(&store).ttl(HOUR).keep_result(Lifetime::ZERO));
        eventually("it is in doubt", || status(&store, "pairs.old") == Some(Status::InDoubt));
        let rerun = old(&store).on_interrupt(OnInterrupt::rerun()).ttl(3 * HOUR).keep_result(2 * HOUR);
        assert_eq!(form.make(rerun, || Ok::<u32, Error>(2)).unwrap(), 2);
        clock.pass(2 * HOUR - MS);
        assert_eq!(form.make(old(&store), not_run::<Error>).unwrap(), 2);
        clock.pass(MS);
        assert_eq!(form.make(old(&store).map_err(kind), not_run), Err(ErrorKind::ResultGone));
        clock.pass(HOUR);
        assert_eq!(form.make(old(&store), || Ok::<u32, Error>(3)).unwrap(), 3);
    });
}

// `keep_result` and nested calls.
#[test]
fn an_inner_result_that_is_gone_leaves_the_outer_call_unknown() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let step =
            || call("pairs.step").same_for_types().store(&store).key("A-17").keep_result(Lifetime::ZERO);
        step().run(|| Ok::<u32, String>(1)).unwrap();
        let outer = || old(&store).on_err(on_err::Remember);
        form.make(outer(), || step().run(not_run::<String>)).unwrap_err();
        assert_eq!(status(&store, "pairs.old"), Some(Status::InDoubt), "it is not remembered");
    });
}

// `observe` and `on_err`.
#[test]
fn a_remembered_error_is_observed_as_a_replay() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let remembering = || old(&store).on_err(on_err::Remember);
        let err = || Err::<u32, String>("declined".to_owned());
        form.make(remembering(), err).unwrap_err();
        let (made, seen) = observe(|| form.make(remembering(), not_run::<String>));
        assert_eq!((made, seen.map(|seen| seen.replayed.is_some())), (err(), Some(true)));
    });
}

// `observe` and nested calls.
#[test]
fn what_is_observed_is_the_outer_call_and_not_a_call_inside_it() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let step = || call("pairs.step").same_for_types().store(&store).key("A-17");
        step().run(|| Ok::<u32, Error>(1)).unwrap();
        let (made, seen) = observe(|| form.make(old(&store), || step().run(not_run::<Error>)));
        assert_eq!((made.unwrap(), seen.unwrap().replayed), (1, None), "the outer body ran");
        let (_, inside) = observe(|| {
            form.make(old(&store).key("B-4"), || {
                let (_, inner) = observe(|| step().run(not_run::<Error>));
                Ok::<bool, Error>(inner.unwrap().replayed.is_some())
            })
        });
        assert_eq!(inside.unwrap().replayed, None, "an inner `observe` has its own answer");
    });
}

// `detach`, `on_interrupt` and nested calls.
#[test]
fn a_detached_inner_call_ends_though_the_call_around_it_was_dropped() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let body = Body::default();
            let outer = || old(&store).on_interrupt(OnInterrupt::rerun());
            let step = || call("pairs.step").same_for_types().store(&store).key("A-17").detach();
            let runs = body.clone();
            let calling = outer().run_async(|| step().run_async(move || runs.run()));
            tokio::select! {
                paid = calling => panic!("the call ended: {paid:?}"),
                () = body.stands.notified() => {}
            }
            body.go_on.notify_one();
            until(|| status(&store, "pairs.step") == Some(Status::Done)).await;
            until(|| status(&store, "pairs.old") == Some(Status::InDoubt)).await;
            let again = body.clone();
            let (made, seen) =
                observe_async(outer().run_async(|| step().run_async(move || again.run()))).await;
            assert_eq!((made.unwrap(), seen.unwrap().attempt, body.runs.started()), (1, 2, 1));
        });
    }
}
