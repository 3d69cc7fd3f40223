//! `on_err`: the meaning of an `Err` of the body.

use std::time::Duration;

use idem_runtime::on_err::Unstored;
use idem_runtime::{
    Call, Error, ErrorKind, OnErr, OnInterrupt, Settled, Status, Store, Verdict, on_err, settle, with_store,
};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::{Runs, eventually};
use idem_tests::plain::block_on;
use idem_tests::shared::call;
use serde::{Deserialize, Serialize};

const NAME: &str = "on_err.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// The errors of a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PayError {
    /// The answer is final.
    Declined { code: u16 },
    /// The outcome is unknown.
    TimedOut,
    /// Nothing happened.
    Busy,
    /// An error of the store.
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

type Paid = Result<u32, PayError>;

fn declined() -> Paid {
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
            // The second time from a store that was opened again.
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
fn an_error_in_doubt_goes_to_its_caller_and_the_call_is_not_repeated() {
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

/// Functions with the attribute and their names: both forms for each policy.
mod by_attribute {
    use idem_runtime::idempotent;
    use idem_tests::plain::{block_on, yield_now};

    use super::{Paid, PayError};

    macro_rules! functions {
        ($($sync:ident $name:literal, $asynchronous:ident $other:literal: [$($policy:tt)*];)*) => {
            $(
                #[idempotent(name = $name, key = id, skip(end) $($policy)*)]
                fn $sync(id: &str, end: Paid) -> Paid {
                    end
                }

                #[idempotent(name = $other, key = id, skip(end) $($policy)*)]
                async fn $asynchronous(id: &str, end: Paid) -> Paid {
                    yield_now().await;
                    end
                }
            )*

            pub(super) const FUNCTIONS: &[(&str, fn(&str, Paid) -> Paid)] =
                &[$(($name, $sync), ($other, |id, end| block_on($asynchronous(id, end)))),*];
        };
    }

    functions! {
        release "on_err.release", release_async "on_err.release_async": [];
        remember "on_err.remember", remember_async "on_err.remember_async": [, on_err = remember];
        in_doubt "on_err.in_doubt", in_doubt_async "on_err.in_doubt_async": [, on_err = in_doubt];
        classify "on_err.classify", classify_async "on_err.classify_async":
            [, on_err = classify(|error: &PayError| error.outcome())];
    }
}

/// The meaning of an error under a policy, by the policy's name.
fn meaning(policy: &str, error: &PayError) -> OnErr {
    match policy.trim_start_matches("on_err.").trim_end_matches("_async") {
        "release" => OnErr::Release,
        "remember" => OnErr::Remember,
        "in_doubt" => OnErr::InDoubt,
        _ => error.outcome(),
    }
}

/// Makes a call that fails and the next call with its key.
fn check(
    what: &str,
    pay: impl Fn(Paid) -> Paid,
    status: impl Fn() -> Option<Status>,
    error: &PayError,
    is: OnErr,
) {
    assert_eq!(pay(Err(error.clone())), Err(error.clone()), "{what}: the caller gets the error itself");
    let (found, next) = match is {
        OnErr::Release => (None, Ok(7)),
        OnErr::Remember => (Some(Status::Failed), Err(error.clone())),
        OnErr::InDoubt => (Some(Status::InDoubt), Err(PayError::Idem("InDoubt".to_owned()))),
    };
    assert_eq!(status(), found, "{what}");
    assert_eq!(pay(Ok(7)), next, "{what}");
}

// Field 8: per error.
#[test]
fn each_error_means_what_its_policy_says() {
    for error in [PayError::Declined { code: 51 }, PayError::TimedOut, PayError::Busy] {
        let key = format!("{error:?}");
        for &(name, pay) in by_attribute::FUNCTIONS {
            let store = Store::temporary().unwrap();
            let status = || store.get(name, &key).unwrap().map(|record| record.status());
            let pay = |end| with_store(&store, || pay(&key, end));
            check(&format!("{name}, {error:?}"), pay, status, &error, meaning(name, &error));
        }
        in_every_form(move |form| {
            let store = Store::temporary().unwrap();
            let pay = |end| form.make(pay(&store).on_err(on_err::Classify(PayError::outcome)), || end);
            check(&format!("{error:?}"), pay, || status(&store, NAME), &error, error.outcome());
        });
    }
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
fn a_remembered_error_that_cannot_be_read_is_no_reason_to_run_again() {
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

/// A call that fails with an error of the store: it is in doubt.
fn fails_inside(store: &Store) -> Result<u32, PayError> {
    call("on_err.inner_in_doubt").store(store).key("A-17").run(|| Ok::<u32, Error>(1)).map_err(PayError::from)
}

/// The status of the outer record after an inner call failed with an error of the store.
fn after_inner_failure<P: on_err::ErrPolicy<PayError>>(
    form: Form,
    policy: P,
    inner: fn(&Store) -> Paid,
) -> Option<Status> {
    let store = Store::temporary().unwrap();
    form.cut_off(call("on_err.inner_in_doubt").store(&store).key("A-17"));
    let outer = form.make(pay(&store).on_err(policy), || inner(&store));
    assert_eq!(outer, inner(&store));
    status(&store, NAME)
}

/// An inner call that is in doubt. The body turns that error into a declined payment.
fn declines_inside(store: &Store) -> Paid {
    let inner = call("on_err.inner_in_doubt").store(store).key("A-17").run(|| Ok::<u32, Error>(1));
    assert_eq!(inner.as_ref().unwrap_err().kind(), ErrorKind::InDoubt);
    inner.or_else(|_| declined())
}

// Rule 10.
#[test]
fn an_error_that_an_inner_call_caused_is_released_or_in_doubt_and_never_remembered() {
    in_every_form(|form| {
        for inner in [fails_inside, declines_inside] {
            let classify = |class: OnErr| on_err::Classify(move |_: &PayError| class);
            assert_eq!(after_inner_failure(form, on_err::Release, inner), None);
            assert_eq!(after_inner_failure(form, on_err::Remember, inner), Some(Status::InDoubt));
            assert_eq!(after_inner_failure(form, on_err::InDoubt, inner), Some(Status::InDoubt));
            assert_eq!(after_inner_failure(form, classify(OnErr::Remember), inner), Some(Status::InDoubt));
            assert_eq!(after_inner_failure(form, classify(OnErr::Release), inner), None);
        }
    });
}

// Rule 10: also through a call between the two.
#[test]
fn an_inner_failure_is_not_remembered_further_out() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(call("on_err.inner_in_doubt").store(&store).key("A-17"));
        let outer = form.make(pay(&store).on_err(on_err::Remember), || {
            call("on_err.between").store(&store).key("A-17").run(|| fails_inside(&store))
        });
        assert_eq!(outer, Err(PayError::Idem("InDoubt".to_owned())));
        assert_eq!(status(&store, "on_err.between"), None, "the one between releases");
        assert_eq!(status(&store, NAME), Some(Status::InDoubt));
    });
}

// Rule 10: in an async body, whose scope is set at each poll.
#[test]
fn an_inner_failure_across_an_await_counts() {
    let store = Store::temporary().unwrap();
    Form::Plain.cut_off(call("on_err.inner_in_doubt").store(&store).key("A-17"));
    let outer = block_on(pay(&store).on_err(on_err::Remember).run_async(async || {
        idem_tests::plain::yield_now().await;
        let inner = call("on_err.inner_in_doubt").store(&store).key("A-17");
        let inner = inner.run_async(async || Ok::<u32, PayError>(1)).await;
        idem_tests::plain::yield_now().await;
        inner
    }));
    outer.unwrap_err();
    assert_eq!(status(&store, NAME), Some(Status::InDoubt));
}

#[test]
fn an_inner_failure_that_the_body_handles_does_not_count() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(call("on_err.inner_in_doubt").store(&store).key("A-17"));
        let copes = form.make(pay(&store).on_err(on_err::Remember), || {
            Ok::<u32, PayError>(fails_inside(&store).unwrap_or(9))
        });
        assert_eq!(copes, Ok(9));
        assert_eq!(status(&store, NAME), Some(Status::Done));
    });
}

/// An inner call that is refused for certain, one for each kind: nothing ran.
fn refused_inside(store: &Store, kind: ErrorKind) -> Result<u32, Error> {
    let inner = || call("on_err.inner").store(store);
    let refused: Result<u32, Error> = match kind {
        ErrorKind::BadKey => inner().key("").run(|| Ok(1)),
        ErrorKind::BadArgument => inner().key("A-17").arg("a", &1).arg("a", &1).run(|| Ok(1)),
        _ => {
            inner().key("taken").arg("a", &1).run(|| Ok::<u32, Error>(1)).unwrap();
            inner().key("taken").arg("a", &2).run(|| Ok(1))
        }
    };
    assert_eq!(refused.as_ref().unwrap_err().kind(), kind);
    refused
}

const CERTAIN: [ErrorKind; 3] = [ErrorKind::BadKey, ErrorKind::BadArgument, ErrorKind::Mismatch];

// Rule 10: such a refusal says that nothing ran, so the body's own answer is one.
#[test]
fn a_certain_refusal_that_the_body_handles_leaves_its_own_error_as_it_is() {
    in_every_form(|form| {
        for kind in CERTAIN {
            let store = Store::temporary().unwrap();
            let body = || refused_inside(&store, kind).map_or_else(|_| declined(), Ok);
            let classify = || on_err::Classify(PayError::outcome);
            assert_eq!(form.make(pay(&store).on_err(on_err::Remember), body), declined());
            assert_eq!(status(&store, NAME), Some(Status::Failed), "{kind:?}");
            let other = || call("on_err.classified").store(&store).key("A-17").on_err(classify());
            assert_eq!(form.make(other(), body), declined());
            assert_eq!(status(&store, "on_err.classified"), Some(Status::Failed), "{kind:?}");
            assert_eq!(form.make(other(), || Ok(1)), declined());
            // Also through a call between the two.
            let between = || call("on_err.between").store(&store).key("A-17").run(body);
            let outer = call("on_err.outer").store(&store).key("A-17").on_err(on_err::Remember);
            assert_eq!(form.make(outer, between), declined());
            assert_eq!(status(&store, "on_err.outer"), Some(Status::Failed), "{kind:?}");
        }
    });
}

/// An error that contains an error of the store.
#[derive(Serialize, Deserialize)]
struct Carries {
    #[serde(skip)]
    error: Option<Error>,
}

impl std::fmt::Debug for Carries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl From<Error> for Carries {
    fn from(error: Error) -> Carries {
        Carries { error: Some(error) }
    }
}

// Rule 10: the body did not handle it.
#[test]
fn a_certain_refusal_inside_the_error_of_the_body_is_never_remembered() {
    in_every_form(|form| {
        for kind in CERTAIN {
            let store = Store::temporary().unwrap();
            let body = || -> Result<u32, Carries> { Ok(refused_inside(&store, kind)?) };
            form.make(pay(&store).on_err(on_err::Remember), body).unwrap_err();
            assert_eq!(status(&store, NAME), Some(Status::InDoubt), "{kind:?}");
            let between = || call("on_err.between").store(&store).key("A-17").run(body);
            let outer = call("on_err.outer").store(&store).key("A-17").on_err(on_err::Remember);
            form.make(outer, between).unwrap_err();
            assert_eq!(status(&store, "on_err.outer"), Some(Status::InDoubt), "{kind:?}");
        }
    });
}

// One that was handled does not hide another that was not certain.
#[test]
fn a_certain_refusal_does_not_hide_a_doubt() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(call("on_err.inner_in_doubt").store(&store).key("A-17"));
        let outer = form.make(pay(&store).on_err(on_err::Remember), || {
            fails_inside(&store).unwrap_err();
            refused_inside(&store, ErrorKind::BadKey).unwrap_err();
            declined()
        });
        assert_eq!(outer, declined());
        assert_eq!(status(&store, NAME), Some(Status::InDoubt));
    });
}

// A consumer must not take a failure for a success.
#[test]
fn a_failure_whose_error_is_gone_says_that_the_call_failed() {
    in_every_form(|form| {
        let clock = idem_tests::hand_clock::HandClock::summer();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        let store = Store::builder().clock(clock.clone()).result_bytes_max(100).open(path).unwrap();
        let minute = Duration::from_secs(60);
        let keeps =
            [("zero", Duration::ZERO, "no"), ("large", minute, &*"x".repeat(1_000)), ("over", minute, "no")];
        for (key, keep, text) in keeps {
            let make = |remembers: bool, body: fn(&str) -> Result<u32, String>| {
                let call = call(NAME).store(&store).key(key).keep_result(keep).map_err(|error: Error| {
                    assert_eq!((error.kind(), error.failed()), (ErrorKind::ResultGone, true));
                    assert!(
                        error.help().contains("as failed") && error.detail().contains("failed"),
                        "{error:?}"
                    );
                    error.to_string()
                });
                match remembers {
                    true => form.make(call.on_err(on_err::Remember), || body(text)),
                    false => form.make(call, || body(text)),
                }
            };
            make(true, |text| Err(text.to_owned())).unwrap_err();
            clock.pass(minute);
            for remembers in [true, false] {
                let gone = make(remembers, |_| Ok(1)).unwrap_err();
                assert!(gone.contains("attempt 1 failed and its error is gone"), "{key}: {gone}");
            }
        }
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

#[test]
fn a_classifier_may_be_a_closure_over_its_surroundings() {
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

#[test]
fn a_classifier_that_panics_leaves_the_call_in_doubt() {
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
fn a_call_that_its_class_leaves_in_doubt_is_settled_like_any_other() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let classified = || pay(&store).on_err(on_err::Classify(PayError::outcome));
        let again = || form.make(classified(), || -> Paid { unreachable!("the body ran") });
        let timed_out = form.make(classified(), || -> Paid { Err(PayError::TimedOut) });
        assert_eq!(timed_out, Err(PayError::TimedOut));
        assert_eq!(settle(Verdict::Done(3_u32), again).unwrap(), Settled::Done);
        assert_eq!(again(), Ok(3));
    });
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
fn errors_that_cannot_be_stored_are_classified_too() {
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
