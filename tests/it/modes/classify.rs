//! `on_err = classify(…)`: every `Err` is judged by a look at it.

use idem_runtime::on_err::Unstored;
use idem_runtime::{
    Error, ErrorKind, OnErr, OnInterrupt, Settled, Status, Store, Verdict, call, idempotent, on_err, settle,
    with_store,
};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::Runs;
use idem_tests::plain::{block_on, yield_now};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum PayError {
    Declined,
    TimedOut,
    Busy,
    Ours,
}

impl From<Error> for PayError {
    fn from(_: Error) -> PayError {
        PayError::Ours
    }
}

impl PayError {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "`classify` lends the error")]
    fn outcome(&self) -> OnErr {
        match self {
            PayError::Declined => OnErr::Remember,
            PayError::TimedOut | PayError::Ours => OnErr::InDoubt,
            PayError::Busy => OnErr::Release,
        }
    }
}

type Paid = Result<u32, PayError>;

#[idempotent(name = "classify.sync", key = id, skip(body), on_err = classify(PayError::outcome))]
fn pay_sync(id: u32, body: &dyn Fn() -> Paid) -> Paid {
    body()
}

#[idempotent(name = "classify.async", key = id, skip(body), on_err = classify(|error: &PayError| error.outcome()))]
async fn pay_async(id: u32, body: &dyn Fn() -> Paid) -> Paid {
    yield_now().await;
    body()
}

type Pay = fn(u32, &dyn Fn() -> Paid) -> Paid;

/// By the attribute, in both of its forms.
fn pays() -> [(&'static str, Pay); 2] {
    [("classify.sync", pay_sync), ("classify.async", |id, body| block_on(pay_async(id, body)))]
}

// Field 8.
#[test]
fn each_error_means_what_its_class_says() {
    let cases = [
        (PayError::Declined, Some(Status::Failed), Err(PayError::Declined)),
        (PayError::TimedOut, Some(Status::InDoubt), Err(PayError::Ours)),
        (PayError::Busy, None, Ok(7)),
    ];
    for (name, pay) in pays() {
        let store = Store::temporary().unwrap();
        with_store(&store, || {
            for (id, (error, status, next)) in (0..).zip(cases) {
                assert_eq!(pay(id, &|| Err(error)), Err(error), "its own caller gets the error itself");
                let found = store.get(name, &id).unwrap().map(|record| record.status());
                assert_eq!(found, status, "{error:?}");
                assert_eq!(pay(id, &|| Ok(7)), next, "{error:?}");
            }
        });
    }
}

#[test]
fn a_judge_may_be_a_closure_over_what_is_around() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let judged = Runs::new();
        let final_codes = ["51", "54"];
        let classify = || {
            on_err::Classify(|error: &String| {
                judged.count(|_| {
                    if final_codes.contains(&error.as_str()) { OnErr::Remember } else { OnErr::Release }
                })
            })
        };
        let pay = |error: &'static str| {
            let call = call("classify.closure").store(&store).key("A-17").on_err(classify());
            form.make(call, || Err::<u32, _>(error.to_owned()))
        };
        assert_eq!(pay("91"), Err("91".to_owned()));
        assert_eq!(pay("51"), Err("51".to_owned()));
        assert_eq!(pay("91"), Err("51".to_owned()), "the answer is final");
        assert_eq!(judged.started(), 2, "a replay is not judged");
    });
}

// Rule 10.
#[test]
fn an_error_that_comes_of_an_inner_failure_of_ours_is_in_doubt_instead_of_remembered() {
    in_every_form(|form| {
        for (class, status) in [(OnErr::Remember, Some(Status::InDoubt)), (OnErr::Release, None)] {
            let store = Store::temporary().unwrap();
            form.cut_off(call("classify.inner").store(&store).key("A-17"));
            let outer = call("classify.outer")
                .store(&store)
                .key("A-17")
                .on_err(on_err::Classify(|_: &PayError| class));
            let paid = form.make(outer, || -> Paid {
                let inner = call("classify.inner").store(&store).key("A-17").run(|| Ok::<u32, Error>(1));
                assert_eq!(inner.as_ref().unwrap_err().kind(), ErrorKind::InDoubt);
                // It makes a declined payment of our trouble.
                inner.map_err(|_| PayError::Declined)
            });
            assert_eq!(paid, Err(PayError::Declined));
            let found = store.get("classify.outer", "A-17").unwrap().map(|record| record.status());
            assert_eq!(found, status, "{class:?}");
        }
    });
}

#[test]
fn a_judge_that_panics_leaves_the_call_in_doubt() {
    for form in Form::ALL {
        let store = Store::temporary().unwrap();
        let pay = || call("classify.panics").store(&store).key("A-17");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let call =
                pay().on_err(on_err::Classify(|_: &PayError| -> OnErr { panic!("the judge, on purpose") }));
            form.make(call, || -> Paid { Err(PayError::Busy) })
        }));
        assert!(panicked.is_err());
        let refused = form.make(pay(), || Ok::<u32, Error>(1)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InDoubt);
        let rerun = pay().on_interrupt(OnInterrupt::rerun());
        assert_eq!(form.make(rerun, || Ok::<u32, Error>(2)).unwrap(), 2);
    }
}

#[test]
fn what_is_in_doubt_by_its_class_is_settled_like_any_other() {
    for (_, pay) in pays() {
        let store = Store::temporary().unwrap();
        with_store(&store, || {
            assert_eq!(pay(1, &|| Err(PayError::TimedOut)), Err(PayError::TimedOut));
            let settled = settle(Verdict::Done(3_u32), || pay(1, &|| unreachable!("the body ran")));
            assert_eq!(settled.unwrap(), Settled::Done);
            assert_eq!(pay(1, &|| unreachable!("the body ran")), Ok(3));
        });
    }
}

/// It holds what cannot be stored.
#[derive(Debug)]
enum Unstorable {
    Busy(std::thread::ThreadId),
    TimedOut,
    Ours(ErrorKind),
}

impl From<Error> for Unstorable {
    fn from(error: Error) -> Unstorable {
        Unstorable::Ours(error.kind())
    }
}

#[test]
fn errors_that_cannot_be_stored_are_judged_too() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let classify = || {
            on_err::Classify(|error: &Unstorable| match error {
                Unstorable::Busy(_) => Unstored::Release,
                _ => Unstored::InDoubt,
            })
        };
        let pay = |body: fn() -> Result<u32, Unstorable>| {
            form.make(call("classify.unstorable").store(&store).key("A-17").on_err(classify()), body)
        };
        for _ in 0..2 {
            let busy = pay(|| Err(Unstorable::Busy(std::thread::current().id())));
            assert!(matches!(busy, Err(Unstorable::Busy(id)) if id == std::thread::current().id()));
        }
        assert!(matches!(pay(|| Err(Unstorable::TimedOut)), Err(Unstorable::TimedOut)));
        assert!(matches!(pay(|| unreachable!()), Err(Unstorable::Ours(ErrorKind::InDoubt))));
    });
}
