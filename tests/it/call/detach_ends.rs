//! The ends of a detached call: an `Err`, a panic, the end of its runtime, and no runtime at all.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store, Verdict};
use idem_runtime::{drain, on_err, peek_async, settle_async};
use idem_tests::form::{Form, tokio_alone};
use idem_tests::halt::{LONG, Runs, eventually};
use idem_tests::plain::{self, yield_now};
use tokio::runtime::Builder;

use crate::call::detach::{Body, NAME, Paid, detached, not_run, pay, runtimes, status};

fn panics_quietly() -> Paid {
    std::panic::resume_unwind(Box::new("as asked"))
}

#[test]
fn without_a_runtime_detach_is_refused_before_the_claim() {
    let store = Store::temporary().unwrap();
    let error = plain::block_on(detached(&store).run_async(not_run)).unwrap_err();
    assert_eq!((error.kind(), error.ran()), (ErrorKind::NotInitialised, Ran::No));
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    assert_eq!(status(&store), None);
    assert_eq!(store.stats().unwrap().records, 0);
}

#[test]
fn a_panic_is_the_callers_and_leaves_the_call_in_doubt() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let panics = || async {
                yield_now().await;
                panics_quietly()
            };
            let calling = {
                let store = store.clone();
                tokio::spawn(async move { detached(&store).run_async(panics).await })
            };
            let panic = calling.await.unwrap_err().into_panic();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"as asked"));
            let error = detached(&store).run_async(not_run).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InDoubt);
            assert!(error.to_string().contains("the body panicked"), "{error}");
        });
    }
}

#[test]
fn an_err_after_the_caller_has_gone_means_what_on_err_says() {
    tokio_alone().block_on(async {
        for remembers in [false, true] {
            let store = Store::temporary().unwrap();
            let runs = Runs::new();
            let body = || {
                let runs = Arc::clone(&runs);
                move || async move {
                    let number = runs.count(|number| number);
                    yield_now().await;
                    if number == 1 { Err("declined".to_owned()) } else { Ok(number) }
                }
            };
            {
                let calling = pay(&store).on_err(on_err::Remember).detach().run_async(body());
                let released = detached(&store).run_async(body());
                let mut calling: std::pin::Pin<Box<dyn Future<Output = Result<usize, String>>>> =
                    if remembers { Box::pin(calling) } else { Box::pin(released) };
                tokio::select! {
                    biased;
                    paid = &mut calling => assert_eq!(paid, Err("declined".to_owned())),
                    () = async { while runs.started() == 0 { yield_now().await } } => {}
                }
            }
            let paid = pay(&store).on_err(on_err::Remember).detach().run_async(body()).await;
            let expected = if remembers { Err("declined".to_owned()) } else { Ok(2) };
            assert_eq!((paid, runs.started()), (expected, if remembers { 1 } else { 2 }));
        }
    });
}

#[test]
fn a_runtime_that_shuts_down_leaves_the_call_in_doubt() {
    let store = Store::temporary().unwrap();
    let body = Body::default();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let waiting = std::thread::spawn({
        let (store, body) = (store.clone(), body.clone());
        move || {
            let _inside = handle.enter();
            plain::block_on(detached(&store).run_async(move || body.run()))
        }
    });
    eventually("the body stands", || body.runs.started() == 1);
    runtime.shutdown_background();
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Unknown));
    assert!(error.to_string().contains("the tokio runtime shut down"), "{error}");
    assert!(error.help().contains("`drain`"), "{error:?}");
    assert_eq!((error.name(), error.key()), (Some(NAME), Some("A-17")));
    eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
    let rerun = pay(&store).on_interrupt(OnInterrupt::rerun()).detach();
    assert_eq!(tokio_alone().block_on(rerun.run_async(async || Ok::<_, Error>(2))).unwrap(), 2);
}

/// Shuts the runtime down while the body of a detached call stands.
fn cut_off_by_shutdown(store: &Store) {
    let body = Body::default();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn({
        let (store, body) = (store.clone(), body.clone());
        async move { detached(&store).run_async(move || body.run()).await }
    });
    eventually("the body stands", || body.runs.started() == 1);
    runtime.shutdown_background();
    eventually("it is in doubt", || status(store) == Some(Status::InDoubt));
}

#[test]
fn a_duplicate_of_a_call_that_a_shutdown_cut_off_is_told_that_the_runtime_ended() {
    let store = Store::temporary().unwrap();
    cut_off_by_shutdown(&store);
    for form in Form::ALL {
        let error = form.make(pay(&store), || -> Paid { unreachable!("the body ran") }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InDoubt);
        assert!(error.to_string().ends_with("the tokio runtime of the detached call shut down"), "{error}");
        assert!(error.help().contains("`drain`") && !error.help().contains("add `detach`"), "{error:?}");
    }
}

#[test]
fn an_error_of_a_call_in_doubt_says_whether_a_person_or_a_retry_decides() {
    let store = Store::temporary().unwrap();
    cut_off_by_shutdown(&store);
    let refused = tokio_alone().block_on(detached(&store).run_async(not_run)).unwrap_err();
    assert!(
        refused.help().starts_with("A person decides") && refused.help().contains("`settle`"),
        "{refused:?}"
    );
    assert_eq!(refused.retry_after(), None);
    let exhausted = detached_mode(&store, OnInterrupt::rerun_at_most(1));
    assert!(exhausted.help().starts_with("A person decides"), "{exhausted:?}");
    assert_eq!(exhausted.retry_after(), None);
    for verdict in [Ok(Verdict::NotDone), Ok(Verdict::Unknown), Err("no connection")] {
        let asked = plain::block_on(async {
            let recovered = pay(&store).recover_async(async || verdict).await;
            recovered.run_async(not_run).await.unwrap_err()
        });
        assert!(asked.help().starts_with("A retry decides"), "{asked:?}");
        assert!(asked.retry_after().is_some(), "{asked:?}");
    }
}

fn detached_mode(store: &Store, mode: OnInterrupt) -> Error {
    tokio_alone().block_on(pay(store).on_interrupt(mode).detach().run_async(not_run)).unwrap_err()
}

#[test]
fn a_detached_call_that_is_only_looked_at_says_that_there_is_no_runtime() {
    let store = Store::temporary().unwrap();
    let peeked = plain::block_on(peek_async(detached(&store).run_async(not_run))).map(drop);
    let settled =
        plain::block_on(settle_async(Verdict::Done(1), detached(&store).run_async(not_run))).map(drop);
    for looked in [peeked, settled] {
        let error = looked.unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::NotInitialised, Ran::No), "{error}");
        assert!(error.to_string().contains("tokio runtime"), "{error}");
    }
}

#[test]
fn drain_waits_for_calls_whose_callers_are_gone() {
    let runtime = tokio_alone();
    runtime.block_on(async {
        let store = Store::temporary().unwrap();
        let body = Body::default();
        let task = tokio::spawn({
            let (store, body) = (store.clone(), body.clone());
            async move { detached(&store).run_async(move || body.run()).await }
        });
        body.stands.notified().await;
        task.abort();
        // Other tests of this program may have some of their own.
        assert!(drain(Duration::ZERO).await >= 1);
        assert!(drain(Duration::from_millis(20)).await >= 1);
        body.go_on.notify_one();
        assert_eq!(drain(LONG).await, 0);
        // Drained means recorded.
        assert_eq!(status(&store), Some(Status::Done));
    });
    let outside = std::panic::catch_unwind(|| plain::block_on(drain(Duration::ZERO)));
    assert!(outside.is_err());
}

#[test]
fn a_panic_after_the_caller_has_gone_leaves_the_call_in_doubt() {
    let store = Store::temporary().unwrap();
    let runtime = tokio_alone();
    runtime.block_on(async {
        let body = Body::default();
        let panics = {
            let body = body.clone();
            move || async move {
                body.run().await?;
                panics_quietly()
            }
        };
        let task = tokio::spawn({
            let store = store.clone();
            async move { detached(&store).run_async(panics).await }
        });
        body.stands.notified().await;
        task.abort();
        body.go_on.notify_one();
        assert_eq!(drain(LONG).await, 0);
    });
    let after =
        std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(pay(&store).run_async(not_run))));
    assert_eq!(after.unwrap().unwrap_err().kind(), ErrorKind::InDoubt);
}

// Nobody who waits for the detached call would be waited for.
#[test]
fn a_detached_call_that_was_given_up_may_make_the_call_around_it() {
    for (runtime, outer_has_ended) in runtimes().into_iter().flat_map(|runtime| {
        let runtime = Arc::new(runtime);
        [(Arc::clone(&runtime), true), (runtime, false)]
    }) {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let body = Body::default();
            let inner_call = || pay(&store).key("inner");
            let outer = pay(&store).run_async(async || {
                let (inner_body, inner_store) = (body.clone(), store.clone());
                let inner = inner_call().detach().run_async(move || async move {
                    inner_body.stands.notify_one();
                    inner_body.go_on.notified().await;
                    pay(&inner_store).run_async(not_run).await
                });
                tokio::select! {
                    answer = inner => panic!("the detached call has ended: {answer:?}"),
                    () = body.stands.notified() => {}
                }
                if !outer_has_ended {
                    body.go_on.notify_one();
                    for _ in 0..10 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                Ok::<usize, Error>(7)
            });
            assert_eq!(outer.await.unwrap(), 7);
            body.go_on.notify_one();
            let joined: Paid = inner_call().run_async(not_run).await;
            assert_eq!(joined.unwrap(), 7, "the outer call had ended: {outer_has_ended}");
        });
    }
}
