//! A recovery hook that ends after an operator took or settled its call is told `Fenced`.

use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, Settled, Status, Store, Verdict, call, observe, settle};
use idem_tests::deadline;
use idem_tests::form::{Form, in_every_form};
use idem_tests::plain::block_on;

const NAME: &str = "recover_fenced.pay";

fn pay(store: &Store) -> Call {
    call(NAME).same_for_types().store(store).key("A-17")
}

/// A store without a settle window, with a call that was cut off.
fn interrupted() -> (tempfile::TempDir, Store) {
    deadline::start();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder().settle_window(Duration::ZERO).open(folder.path().join("idem.db")).unwrap();
    Form::Sync.cut_off(pay(&store));
    (folder, store)
}

type Hooked = Result<Verdict<u32>, String>;

fn verdicts() -> [Hooked; 5] {
    [
        Ok(Verdict::Done(5)),
        Ok(Verdict::DoneWithoutResult),
        Ok(Verdict::NotDone),
        Ok(Verdict::Unknown),
        Err("the bank does not answer".to_owned()),
    ]
}

fn recover(form: Form, store: &Store, hook: impl FnOnce() -> Hooked) -> Result<u32, Error> {
    match form {
        Form::Sync => pay(store).recover(hook).run(|| unreachable!("the body ran")),
        Form::Tokio | Form::Plain => block_on(async {
            let recovered = pay(store).recover_async(async || hook()).await;
            recovered.run_async(async || unreachable!("the body ran")).await
        }),
    }
}

#[test]
fn a_hook_whose_call_was_settled_meanwhile_is_fenced_whatever_its_verdict() {
    in_every_form(|form| {
        for verdict in verdicts() {
            let (_folder, store) = interrupted();
            let (answer, seen) = observe(|| {
                recover(form, &store, || {
                    assert!(store.steal(NAME, "A-17").unwrap());
                    let settled = settle(Verdict::Done(9_u32), || pay(&store).run(|| Ok::<u32, Error>(1)));
                    assert_eq!(settled.unwrap(), Settled::Done);
                    verdict.clone()
                })
            });
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fenced, "{verdict:?}: {error}");
            assert!(error.to_string().contains("recovery hook"), "{error}");
            assert!(seen.is_none(), "{verdict:?}");
            assert_eq!(pay(&store).run(|| Ok::<u32, Error>(1)).unwrap(), 9, "{verdict:?}");
        }
    });
}

#[test]
fn a_hook_whose_call_was_forgotten_meanwhile_is_fenced_and_the_next_call_runs() {
    in_every_form(|form| {
        for verdict in verdicts() {
            let (_folder, store) = interrupted();
            let answer = recover(form, &store, || {
                assert!(store.steal(NAME, "A-17").unwrap());
                assert!(store.forget(NAME, "A-17").unwrap());
                verdict.clone()
            });
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Fenced, "{verdict:?}");
            assert_eq!(pay(&store).run(|| Ok::<u32, Error>(1)).unwrap(), 1, "{verdict:?}");
            assert_eq!(store.stats().unwrap().running_here, 0);
        }
    });
}

// A stolen call is in doubt: its late end counts, and a second run of the body needs a new decision.
#[test]
fn a_hook_whose_call_was_stolen_may_not_begin_the_next_attempt() {
    in_every_form(|form| {
        let (_folder, store) = interrupted();
        let answer = recover(form, &store, || {
            assert!(store.steal(NAME, "A-17").unwrap());
            Ok(Verdict::NotDone)
        });
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Fenced);
        let record = store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!(record.status(), Status::InDoubt);
        assert!(record.reason().unwrap().contains("took the call"), "{:?}", record.reason());
        assert_eq!(store.stats().unwrap().running_here, 0);

        let late = recover(form, &store, || {
            assert!(store.steal(NAME, "A-17").unwrap());
            Ok(Verdict::Done(5))
        });
        assert_eq!(late.unwrap(), 5, "the late end counts while nobody has touched the call");
    });
}
