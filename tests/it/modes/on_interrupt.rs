//! `on_interrupt`: the next call after an attempt that was cut off.

use idem_runtime::{
    Call, Error, ErrorKind, OnInterrupt, Ran, Settled, Status, Store, Verdict, current, idempotent, observe,
    on_err, settle, with_store,
};
use idem_tests::form::{Form, in_every_form, kind};
use idem_tests::halt::{Runs, eventually};
use idem_tests::plain::block_on;
use idem_tests::shared::call;

const NAME: &str = "on_interrupt.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// A store where the call was cut off once.
fn interrupted(form: Form) -> Store {
    let store = Store::temporary().unwrap();
    form.cut_off(pay(&store));
    // The end of the body is with the writer.
    eventually("it is in doubt", || store.get(NAME, "A-17").unwrap().unwrap().status() == Status::InDoubt);
    store
}

// Rule 4. Field 1, 2.
#[test]
fn refuse_is_the_default_and_repeats_nothing() {
    in_every_form(|form| {
        let store = interrupted(form);
        for _ in 0..3 {
            let refused =
                form.make(pay(&store), || -> Result<u32, Error> { unreachable!("the body ran again") });
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Unknown));
            assert!(error.to_string().ends_with("attempt 1 is in doubt: the body panicked"), "{error}");
            for part in ["`settle`", "`on_interrupt = rerun`"] {
                assert!(error.help().contains(part), "{error:?}");
            }
        }
        let record = store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!((record.status(), record.attempt()), (Status::InDoubt, 1));
    });
}

// Rule 4. Field 1: the key is not locked for a lifetime.
#[test]
fn rerun_runs_the_body_again() {
    in_every_form(|form| {
        let store = interrupted(form);
        let rerun = || pay(&store).on_interrupt(OnInterrupt::rerun());
        let (paid, seen) = observe(|| form.make(rerun(), || Ok::<u32, Error>(2)));
        assert_eq!(paid.unwrap(), 2);
        assert_eq!(seen.unwrap().attempt, 2);
        // It is an ordinary done call from now on, for every mode.
        let (paid, seen) = observe(|| form.make(pay(&store), || Ok::<u32, Error>(3)));
        let seen = seen.unwrap();
        assert_eq!((paid.unwrap(), seen.attempt, seen.replayed.is_some()), (2, 2, true));
    });
}

fn attempts_in_all(form: Form, on_interrupt: OnInterrupt, tries: usize) -> usize {
    let store = Store::temporary().unwrap();
    let runs = Runs::new();
    for _ in 0..tries {
        let call = pay(&store).on_interrupt(on_interrupt);
        let body = || runs.count(|_| -> Result<u32, Error> { panic!("cut off on purpose") });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| form.make(call, body)));
        if let Ok(refused) = outcome {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InDoubt);
            assert!(error.to_string().contains("no further attempt"), "{error}");
        }
    }
    runs.started()
}

#[test]
fn attempts_are_counted_in_all() {
    in_every_form(|form| {
        assert_eq!(attempts_in_all(form, OnInterrupt::rerun(), 8), 5);
        assert_eq!(attempts_in_all(form, OnInterrupt::rerun_at_most(2), 4), 2);
        assert_eq!(attempts_in_all(form, OnInterrupt::rerun_unlimited(), 8), 8);
    });
}

#[test]
fn a_call_whose_attempts_are_spent_can_be_settled_or_allowed_more() {
    in_every_form(|form| {
        let store = interrupted(form);
        let twice = || pay(&store).on_interrupt(OnInterrupt::rerun_at_most(2));
        form.cut_off(twice());
        assert_eq!(form.make(twice().map_err(kind), || Ok(1)), Err(ErrorKind::InDoubt));
        let more = pay(&store).on_interrupt(OnInterrupt::rerun_at_most(3)).map_err(kind);
        assert_eq!(form.make(more, || Ok(3)), Ok(3));
    });
}

#[test]
fn a_rerun_that_is_released_leaves_no_record() {
    in_every_form(|form| {
        let store = interrupted(form);
        let rerun = pay(&store).on_interrupt(OnInterrupt::rerun());
        form.make(rerun, || Err::<u32, String>("declined".to_owned())).unwrap_err();
        assert!(store.get(NAME, "A-17").unwrap().is_none());
        assert_eq!(form.make(pay(&store), || Ok::<u32, Error>(4)).unwrap(), 4, "also for who refuses");
    });
}

// Rule 4: the record stores no mode.
#[test]
fn the_mode_of_the_present_caller_applies() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(pay(&store).on_interrupt(OnInterrupt::rerun()));
        assert_eq!(form.make(pay(&store).map_err(kind), || Ok(1)), Err(ErrorKind::InDoubt));
        form.cut_off(pay(&store).on_interrupt(OnInterrupt::rerun()));
        assert_eq!(form.make(pay(&store).map_err(kind), || Ok(1)), Err(ErrorKind::InDoubt));
        assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().attempt(), 2);
    });
}

// Rule 5: other arguments are found out before the doubt.
#[test]
fn other_arguments_are_a_mismatch_also_in_doubt() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        form.cut_off(pay(&store).arg("cents", &100));
        for mode in [OnInterrupt::Refuse, OnInterrupt::rerun()] {
            let other = pay(&store).arg("cents", &200).on_interrupt(mode).map_err(kind);
            assert_eq!(form.make(other, || Ok(1)), Err(ErrorKind::Mismatch));
        }
    });
}

#[test]
fn an_error_in_doubt_counts_as_an_interruption() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let doubts = || pay(&store).on_err(on_err::InDoubt);
        form.make(doubts(), || Err::<u32, String>("timed out".to_owned())).unwrap_err();
        assert_eq!(form.make(doubts().map_err(kind), || Ok(1)), Err(ErrorKind::InDoubt));
        let rerun = doubts().on_interrupt(OnInterrupt::rerun());
        assert_eq!(form.make(rerun, || Ok::<u32, Error>(2)).unwrap(), 2);
    });
}

// An outage of the other side must not use up the attempts of a message.
#[test]
fn an_attempt_that_returned_uses_up_no_attempt() {
    in_every_form(|form| {
        for mode in [OnInterrupt::rerun(), OnInterrupt::rerun_at_most(2)] {
            let store = Store::temporary().unwrap();
            let doubts = || pay(&store).on_err(on_err::InDoubt).on_interrupt(mode);
            for attempt in 1..=12 {
                form.make(doubts(), || Err::<u32, String>("timed out".to_owned())).unwrap_err();
                assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().attempt(), attempt, "it ran");
            }
            let body = || Ok::<u32, Error>(current().unwrap().attempt());
            assert_eq!(form.make(doubts(), body).unwrap(), 13, "the other side is back");
        }
    });
}

#[test]
fn attempts_that_did_not_return_are_counted_between_those_that_did() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let doubts = || pay(&store).on_err(on_err::InDoubt).on_interrupt(OnInterrupt::rerun_at_most(3));
        let returns = || form.make(doubts(), || Err::<u32, String>("timed out".to_owned())).unwrap_err();
        let is_in_doubt = || {
            eventually("it is in doubt", || {
                store.get(NAME, "A-17").unwrap().unwrap().status() == Status::InDoubt
            })
        };
        for _ in 0..3 {
            returns();
            returns();
            form.cut_off(doubts());
            is_in_doubt();
        }
        let refused = form.make(doubts(), || Ok::<u32, Error>(1)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InDoubt);
        assert!(refused.to_string().contains("attempt 9 is in doubt"), "{refused}");
        assert!(refused.to_string().contains("no further attempt"), "{refused}");
    });
}

// With a limit of one attempt, nothing is ever repeated.
#[test]
fn a_limit_of_one_attempt_repeats_nothing_that_returned_either() {
    in_every_form(|form| {
        for limit in [0, 1] {
            let store = Store::temporary().unwrap();
            let once = || pay(&store).on_err(on_err::InDoubt).on_interrupt(OnInterrupt::rerun_at_most(limit));
            form.make(once(), || Err::<u32, String>("timed out".to_owned())).unwrap_err();
            assert_eq!(form.make(once().map_err(kind), || Ok(1)), Err(ErrorKind::InDoubt));
        }
    });
}

/// The body is cut off in its first `N` runs.
fn first_fails<const N: usize>(runs: &Runs) -> Result<usize, Error> {
    runs.count(|number| if number <= N { panic!("cut off on purpose") } else { Ok(number) })
}

#[test]
fn the_attribute_takes_modes_and_expressions() {
    #[idempotent(name = "on_interrupt.rerun", key = id, skip(runs), on_interrupt = rerun)]
    fn reruns(id: &str, runs: &Runs) -> Result<usize, Error> {
        first_fails::<1>(runs)
    }
    #[idempotent(name = "on_interrupt.twice", key = id, skip(runs), on_interrupt = rerun(2))]
    fn twice(id: &str, runs: &Runs) -> Result<usize, Error> {
        first_fails::<9>(runs)
    }
    #[idempotent(name = "on_interrupt.unlimited", key = id, skip(runs), on_interrupt = rerun(unlimited))]
    async fn unlimited(id: &str, runs: &Runs) -> Result<usize, Error> {
        first_fails::<9>(runs)
    }
    #[idempotent(name = "on_interrupt.chosen", key = id, skip(runs, mode), on_interrupt = mode)]
    async fn chosen(id: &str, runs: &Runs, mode: OnInterrupt) -> Result<usize, Error> {
        first_fails::<1>(runs)
    }
    /// Calls until there is an answer; gives it with the number of runs.
    fn until_answered(
        mut call: impl FnMut(&Runs) -> Result<usize, Error>,
    ) -> (Result<usize, ErrorKind>, usize) {
        let runs = Runs::new();
        loop {
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(&runs)));
            if let Ok(answer) = made {
                return (answer.map_err(kind), runs.started());
            }
        }
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(until_answered(|runs| reruns("A-17", runs)), (Ok(2), 2));
        assert_eq!(until_answered(|runs| twice("A-17", runs)), (Err(ErrorKind::InDoubt), 2));
        assert_eq!(until_answered(|runs| block_on(unlimited("A-17", runs))), (Ok(10), 10));
        let refuse = OnInterrupt::Refuse;
        assert_eq!(
            until_answered(|runs| block_on(chosen("A-17", runs, refuse))),
            (Err(ErrorKind::InDoubt), 1)
        );
        let rerun = OnInterrupt::rerun();
        let runs = Runs::new();
        runs.count(|_| ());
        assert_eq!(block_on(chosen("A-17", &runs, rerun)).map_err(kind), Ok(2));
    });
}

#[test]
fn a_settled_call_is_no_longer_interrupted() {
    in_every_form(|form| {
        let store = interrupted(form);
        let made = || form.make(pay(&store).map_err(kind), || Ok::<u32, ErrorKind>(1));
        assert_eq!(settle(Verdict::Done(42_u32), made).unwrap(), Settled::Done);
        assert_eq!(made(), Ok(42));

        let store = interrupted(form);
        let made = || form.make(pay(&store).map_err(kind), || Ok::<u32, ErrorKind>(1));
        assert_eq!(settle(Verdict::<u32>::NotDone, made).unwrap(), Settled::NotDone);
        assert_eq!(made(), Ok(1));
        assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().attempt(), 1);
    });
}
