//! `on_err`: what an `Err` of the body means.

use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, OnErr, OnInterrupt, Status, Store, call, idempotent, on_err, with_store,
};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::{Runs, eventually};
use idem_tests::plain::block_on;
use serde::{Deserialize, Serialize};

const NAME: &str = "on_err.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// What a payment may end with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PayError {
    /// The answer is final.
    Declined { code: u16 },
    /// Nobody knows.
    TimedOut,
    /// Nothing happened.
    Busy,
    /// An error of ours.
    Idem(String),
}

impl From<Error> for PayError {
    fn from(error: Error) -> PayError {
        PayError::Idem(format!("{:?}", error.kind()))
    }
}

impl PayError {
    fn outcome(&self) -> OnErr {
        match self {
            PayError::Declined { .. } => OnErr::Remember,
            PayError::TimedOut | PayError::Idem(_) => OnErr::InDoubt,
            PayError::Busy => OnErr::Release,
        }
    }
}

fn declined() -> Result<u32, PayError> {
    Err(PayError::Declined { code: 51 })
}

fn status(store: &Store, name: &str) -> Option<Status> {
    store.get(name, "A-17").unwrap().map(|record| record.status())
}

// Field 8.
#[test]
fn a_released_error_frees_the_key() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let runs = Runs::new();
        for number in 1..=3 {
            let paid = form.make(pay(&store), || runs.count(|_| declined()));
            assert_eq!(paid, declined());
            assert_eq!((runs.started(), status(&store, NAME)), (number, None));
        }
        assert_eq!(form.make(pay(&store), || Ok::<u32, PayError>(7)), Ok(7));
        assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().attempt(), 1);
    });
}

// Field 8.
#[test]
fn a_remembered_error_is_replayed() {
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        let runs = Runs::new();
        for _ in 0..2 {
            // The second time from a store opened anew.
            let store = Store::open(&path).unwrap();
            for _ in 0..2 {
                let paid = form.make(pay(&store).on_err(on_err::Remember), || runs.count(|_| declined()));
                assert_eq!(paid, declined());
            }
            assert_eq!(status(&store, NAME), Some(Status::Failed));
            store.close().unwrap();
        }
        assert_eq!(runs.started(), 1);
    });
}

// Field 2.
#[test]
fn an_error_in_doubt_is_its_callers_and_nobody_repeats_the_call() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let in_doubt = || pay(&store).on_err(on_err::InDoubt);
        assert_eq!(form.make(in_doubt(), || Err::<u32, _>(PayError::TimedOut)), Err(PayError::TimedOut));
        let next = form.make(in_doubt(), || Ok::<u32, PayError>(1));
        assert_eq!(next, Err(PayError::Idem("InDoubt".to_owned())));
        let record = store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!(record.status(), Status::InDoubt);
        assert!(record.reason().unwrap().contains("returned an error"), "{:?}", record.reason());
        let rerun = in_doubt().on_interrupt(OnInterrupt::rerun());
        assert_eq!(form.make(rerun, || Ok::<u32, PayError>(2)), Ok(2));
    });
}

// Field 8: per error.
#[test]
fn each_error_is_classified() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let classified = || pay(&store).on_err(on_err::Classify(PayError::outcome));
        assert_eq!(form.make(classified(), || Err::<u32, _>(PayError::Busy)), Err(PayError::Busy));
        assert_eq!(status(&store, NAME), None);
        assert_eq!(form.make(classified(), declined), declined());
        assert_eq!(form.make(classified(), || Ok::<u32, PayError>(1)), declined(), "it is replayed");
        store.forget(NAME, "A-17").unwrap();
        assert_eq!(form.make(classified(), || Err::<u32, _>(PayError::TimedOut)), Err(PayError::TimedOut));
        assert_eq!(status(&store, NAME), Some(Status::InDoubt));
    });
}

#[test]
fn the_attribute_says_the_same() {
    #[idempotent(name = "on_err.release", key = id, skip(end))]
    fn releases(id: &str, end: Result<u32, PayError>) -> Result<u32, PayError> {
        end
    }
    #[idempotent(name = "on_err.remember", key = id, skip(end), on_err = remember)]
    fn remembers(id: &str, end: Result<u32, PayError>) -> Result<u32, PayError> {
        end
    }
    #[idempotent(name = "on_err.in_doubt", key = id, skip(end), on_err = in_doubt)]
    async fn doubts(id: &str, end: Result<u32, PayError>) -> Result<u32, PayError> {
        end
    }
    #[idempotent(name = "on_err.classify", key = id, skip(end), on_err = classify(|e: &PayError| e.outcome()))]
    async fn classifies(id: &str, end: Result<u32, PayError>) -> Result<u32, PayError> {
        end
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        releases("A-17", declined()).unwrap_err();
        assert_eq!(releases("A-17", Ok(1)), Ok(1));
        remembers("A-17", declined()).unwrap_err();
        assert_eq!(remembers("A-17", Ok(1)), declined());
        block_on(doubts("A-17", declined())).unwrap_err();
        assert_eq!(block_on(doubts("A-17", Ok(1))), Err(PayError::Idem("InDoubt".to_owned())));
        block_on(classifies("A-17", declined())).unwrap_err();
        assert_eq!(block_on(classifies("A-17", Ok(1))), declined());
    });
}

#[test]
fn an_error_of_ours_is_never_remembered() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(pay(&store));
        let remembering = || pay(&store).on_err(on_err::Remember);
        let refused = form.make(remembering(), || Ok::<u32, PayError>(1));
        assert_eq!(refused, Err(PayError::Idem("InDoubt".to_owned())));
        assert_eq!(status(&store, NAME), Some(Status::InDoubt));
        let rerun = remembering().on_interrupt(OnInterrupt::rerun());
        assert_eq!(form.make(rerun, || Ok::<u32, PayError>(2)), Ok(2));
    });
}

// Rule 7: the body has run, so the key is not freed.
#[test]
fn an_error_that_cannot_be_stored_is_gone_and_not_run_again() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Longwinded(String);
    impl From<Error> for Longwinded {
        fn from(error: Error) -> Longwinded {
            Longwinded(format!("{:?}", error.kind()))
        }
    }
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::builder().result_bytes_max(100).open(folder.path().join("idem.db")).unwrap();
        let remembering = || pay(&store).on_err(on_err::Remember);
        let first = form.make(remembering(), || Err::<u32, _>(Longwinded("x".repeat(1_000))));
        assert_eq!(first.unwrap_err().0.len(), 1_000, "the first caller gets its error");
        let next = form.make(remembering(), || Ok::<u32, Longwinded>(1));
        assert_eq!(next.unwrap_err().0, "ResultGone");
    });
}

#[test]
fn a_remembered_error_that_nobody_can_read_is_no_reason_to_run_again() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.make(pay(&store).on_err(on_err::Remember), declined).unwrap_err();
        let forgot_the_option = form.make(pay(&store), || Ok::<u32, Error>(1));
        assert_eq!(forgot_the_option.unwrap_err().kind(), ErrorKind::Undecodable);
        let other_type = form.make(pay(&store).on_err(on_err::Remember), || Ok::<u32, String>(1));
        assert!(other_type.unwrap_err().contains("cannot be read"));
    });
}

#[test]
fn a_remembered_error_ends_with_its_lifetimes() {
    in_every_form(|form| {
        let clock = idem_tests::hand_clock::HandClock::summer();
        let (_folder, store) = clock.store();
        let remembering = || {
            pay(&store)
                .on_err(on_err::Remember)
                .keep_result(Duration::from_secs(60))
                .ttl(Duration::from_secs(120))
        };
        form.make(remembering(), declined).unwrap_err();
        clock.pass(Duration::from_secs(61));
        let gone = form.make(remembering(), || Ok::<u32, PayError>(1));
        assert_eq!(gone, Err(PayError::Idem("ResultGone".to_owned())));
        clock.pass(Duration::from_secs(60));
        assert_eq!(form.make(remembering(), || Ok::<u32, PayError>(2)), Ok(2));
    });
}

/// A call that fails with an error of ours: its key is bad.
fn fails_inside(store: &Store) -> Result<u32, PayError> {
    call("on_err.inner").store(store).key("").run(|| Ok::<u32, Error>(1)).map_err(PayError::from)
}

/// What the record of the outer call says after an inner call failed with an error of ours.
fn after_inner_failure<P: on_err::ErrPolicy<PayError>>(form: Form, policy: P) -> Option<Status> {
    let store = Store::temporary().unwrap();
    let outer = form.make(pay(&store).on_err(policy), || fails_inside(&store));
    assert_eq!(outer, Err(PayError::Idem("BadKey".to_owned())));
    status(&store, NAME)
}

// Rule 10.
#[test]
fn an_error_that_an_inner_call_caused_is_released_or_in_doubt_and_never_remembered() {
    in_every_form(|form| {
        assert_eq!(after_inner_failure(form, on_err::Release), None);
        assert_eq!(after_inner_failure(form, on_err::Remember), Some(Status::InDoubt));
        assert_eq!(after_inner_failure(form, on_err::InDoubt), Some(Status::InDoubt));
        let remember_all = on_err::Classify(|_: &PayError| OnErr::Remember);
        assert_eq!(after_inner_failure(form, remember_all), Some(Status::InDoubt));
    });
}

// Rule 10: also through a call between the two.
#[test]
fn an_inner_failure_is_not_remembered_further_out() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let outer = form.make(pay(&store).on_err(on_err::Remember), || {
            call("on_err.between").store(&store).key("A-17").run(|| fails_inside(&store))
        });
        assert_eq!(outer, Err(PayError::Idem("BadKey".to_owned())));
        assert_eq!(status(&store, "on_err.between"), None, "the one between releases");
        assert_eq!(status(&store, NAME), Some(Status::InDoubt));
    });
}

// Rule 10: in an async body, where the scope goes with the polls.
#[test]
fn an_inner_failure_across_an_await_is_noticed() {
    let store = Store::temporary().unwrap();
    let outer = block_on(pay(&store).on_err(on_err::Remember).run_async(async || {
        idem_tests::plain::yield_now().await;
        let inner =
            call("on_err.inner").store(&store).key("").run_async(async || Ok::<u32, PayError>(1)).await;
        idem_tests::plain::yield_now().await;
        inner
    }));
    outer.unwrap_err();
    assert_eq!(status(&store, NAME), Some(Status::InDoubt));
}

#[test]
fn an_inner_failure_that_the_body_copes_with_is_no_matter() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let copes = form.make(pay(&store).on_err(on_err::Remember), || {
            Ok::<u32, PayError>(fails_inside(&store).unwrap_or(9))
        });
        assert_eq!(copes, Ok(9));
        assert_eq!(status(&store, NAME), Some(Status::Done));
    });
}

// Rule 10: an inner call that fails with an error of its own is the body's business.
#[test]
fn an_inner_error_of_its_own_is_remembered() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let outer = form.make(pay(&store).on_err(on_err::Remember), || {
            call("on_err.inner").store(&store).key("A-17").run(declined)
        });
        assert_eq!(outer, declined());
        eventually("the error is remembered", || status(&store, NAME) == Some(Status::Failed));
    });
}
