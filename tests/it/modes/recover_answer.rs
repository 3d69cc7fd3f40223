//! One answer of the recovery hook serves every caller that waits for it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Ran, Store, Verdict};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::{Halt, LONG, Runs, pause_for};

use crate::modes::recover::{WINDOW, cut_off, interrupted, make, not_run, pay, refused};

const CALLERS: usize = 20;

/// Twenty callers of an interrupted call, whose first hook answers once the others wait.
fn crowd(
    form: Form,
    store: &Store,
    verdict: Result<Verdict<u32>, &'static str>,
) -> (Vec<Result<u32, Error>>, usize) {
    let (halt, asked) = (Halt::new(), Runs::new());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, halt, asked) = (store.clone(), Arc::clone(&halt), Arc::clone(&asked));
            thread::spawn(move || {
                let hook = || {
                    asked.count(|_| halt.stand());
                    verdict
                };
                make(form, pay(&store).wait(LONG), hook, not_run)
            })
        })
        .collect();
    halt.wait_for(1);
    pause_for(Duration::from_millis(300));
    halt.let_all_go();
    let answers = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    (answers, asked.started())
}

#[test]
fn one_not_done_within_the_window_answers_every_caller_that_waits() {
    in_every_form(|form| {
        let (_clock, _folder, store) = interrupted(form);
        let (answers, asked) = crowd(form, &store, Ok(Verdict::NotDone));
        assert_eq!(asked, 1, "the hook ran once");
        for answer in answers {
            let error = refused(answer, ErrorKind::InDoubt);
            assert_eq!((error.ran(), error.retry_after()), (Ran::Unknown, Some(WINDOW)), "{error}");
        }
        let (answers, asked) = crowd(form, &store, Ok(Verdict::NotDone));
        assert_eq!((asked, answers.len()), (1, CALLERS), "later callers ask again");
    });
}

#[test]
fn one_answer_without_knowledge_serves_every_caller_that_waits() {
    for verdict in [Ok(Verdict::Unknown), Err("no connection")] {
        in_every_form(move |form| {
            let (_clock, _folder, store) = interrupted(form);
            let (answers, asked) = crowd(form, &store, verdict);
            assert_eq!(asked, 1, "the hook ran once");
            for answer in answers {
                let error = refused(answer, ErrorKind::InDoubt);
                assert!(error.retry_after().is_some(), "{error:?}");
            }
        });
    }
}

#[test]
fn a_hook_that_is_cut_off_is_no_answer() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        cut_off(form, &store);
        let (halt, asked) = (Halt::new(), Runs::new());
        let dies = {
            let (store, halt, asked) = (store.clone(), Arc::clone(&halt), Arc::clone(&asked));
            thread::spawn(move || {
                let hook = || -> Verdict<u32> {
                    asked.count(|_| halt.stand());
                    panic!("the hook, on purpose")
                };
                drop(make(form, pay(&store), hook, not_run));
            })
        };
        halt.wait_for(1);
        let waits = {
            let (store, asked) = (store.clone(), Arc::clone(&asked));
            thread::spawn(move || {
                make(form, pay(&store).wait(LONG), || asked.count(|_| Verdict::Done(7)), not_run)
            })
        };
        pause_for(Duration::from_millis(100));
        halt.let_all_go();
        assert!(dies.join().is_err());
        assert_eq!(waits.join().unwrap().unwrap(), 7);
        assert_eq!(asked.started(), 2, "the waiter asks for itself");
    });
}
