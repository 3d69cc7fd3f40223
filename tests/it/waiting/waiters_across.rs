//! The contract's table of waiters between processes, in the cells that `processes.rs`, `stealing.rs` and `owners.rs`
//! leave: results that are not kept, remembered errors, and doubt that is no crash.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, Lifetime, OnInterrupt, Settled, Status, Store, Verdict, call, on_err, settle,
};
use idem_tests::form::Form;
use idem_tests::halt::pause;
use idem_tests::plain::{block_on, poll_once};

use crate::support::role::{self, Program};

const PART: &str = "waiting::waiters_across::the_program_that_waits";
const NAME: &str = "across.pay";
const FOREVER: Duration = Duration::from_secs(600);

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").wait(FOREVER)
}

fn number() -> u32 {
    role::say("ran");
    2
}

/// Makes the call once, as a duplicate of one that runs in another process.
#[test]
fn the_program_that_waits() {
    let Some(words) = role::words() else { return };
    let [path, how, form] = words.try_into().unwrap();
    let form = Form::ALL.into_iter().find(|known| format!("{known:?}") == form).unwrap();
    let store = Store::open(path).unwrap();
    let call = pay(&store).map_err(|error: Error| format!("{:?}", error.kind()));
    role::say("calls");
    let answer = match how.as_str() {
        "plain" => form.make(call, || Ok::<_, String>(number())),
        "unkept" => form.make(call.keep_result(Lifetime::ZERO), || Ok::<_, String>(number())),
        "remember" => form.make(call.on_err(on_err::Remember), || Ok::<_, String>(number())),
        "rerun" => form.make(call.on_interrupt(OnInterrupt::rerun()), || Ok::<_, String>(number())),
        _ => form.make(call.wait(Duration::ZERO), || Ok::<_, String>(number())),
    };
    role::say(&format!("got {answer:?}"));
}

/// A running call of this process, and programs that wait for it.
struct Scene {
    form: Form,
    folder: tempfile::TempDir,
    store: Store,
    programs: RefCell<Vec<Program>>,
}

impl Scene {
    fn new(form: Form) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("idem.db")).unwrap();
        Scene { form, folder, store, programs: RefCell::default() }
    }

    /// For the body: programs make the same call now.
    fn duplicates(&self, hows: &[&str]) {
        let path = self.folder.path().join("idem.db");
        let form = format!("{:?}", self.form);
        for how in hows {
            let mut program = Program::start(PART, &[path.to_str().unwrap(), how, &form]);
            program.hear("calls");
            self.programs.borrow_mut().push(program);
        }
        pause();
        for program in self.programs.borrow_mut().iter_mut() {
            assert!(!program.has_said("got") && !program.has_said("ran"), "it did not wait");
        }
    }

    /// What the programs got, and how many of them ran the body.
    fn answers(&self) -> (Vec<String>, usize) {
        let mut programs = self.programs.borrow_mut();
        let answers = programs.iter_mut().map(|program| program.hear("got")).collect();
        (answers, programs.iter_mut().filter_map(|program| program.has_said("ran").then_some(())).count())
    }
}

fn in_every_form(test: impl Fn(&Scene)) {
    for form in Form::ALL {
        test(&Scene::new(form));
    }
}

#[test]
fn a_result_that_is_not_kept_is_gone_for_waiters_of_other_processes() {
    in_every_form(|scene| {
        let unkept = pay(&scene.store).keep_result(Lifetime::ZERO);
        let first = scene.form.make(unkept, || {
            scene.duplicates(&["unkept", "plain"]);
            Ok::<u32, Error>(1)
        });
        assert_eq!(first.unwrap(), 1);
        let gone = "Err(\"ResultGone\")".to_owned();
        assert_eq!(scene.answers(), (vec![gone.clone(), gone], 0));
    });
}

#[test]
fn a_result_whose_lifetime_is_over_by_then_still_reaches_those_who_waited() {
    in_every_form(|scene| {
        let short = pay(&scene.store).keep_result(Duration::from_millis(1)).ttl(Duration::from_millis(1));
        let first = scene.form.make(short, || {
            scene.duplicates(&["plain", "plain"]);
            Ok::<u32, Error>(1)
        });
        assert_eq!(first.unwrap(), 1);
        let (answers, ran) = scene.answers();
        assert_eq!((answers, ran), (vec!["Ok(1)".to_owned(), "Ok(1)".to_owned()], 0));
    });
}

#[test]
fn a_remembered_error_is_that_of_waiters_of_other_processes() {
    in_every_form(|scene| {
        let first = scene.form.make(pay(&scene.store).on_err(on_err::Remember), || {
            scene.duplicates(&["remember", "remember"]);
            Err::<u32, _>("declined".to_owned())
        });
        assert_eq!(first, Err("declined".to_owned()));
        let declined = "Err(\"declined\")".to_owned();
        assert_eq!(scene.answers(), (vec![declined.clone(), declined], 0));
    });
}

#[test]
fn an_error_in_doubt_sends_every_waiter_its_own_way() {
    in_every_form(|scene| {
        let first = scene.form.make(pay(&scene.store).on_err(on_err::InDoubt), || {
            scene.duplicates(&["plain"]);
            Err::<u32, _>("timed out".to_owned())
        });
        assert!(first.is_err());
        assert_eq!(scene.answers(), (vec!["Err(\"InDoubt\")".to_owned()], 0));
    });
    in_every_form(|scene| {
        let first = scene.form.make(pay(&scene.store).on_err(on_err::InDoubt), || {
            scene.duplicates(&["rerun", "rerun"]);
            Err::<u32, _>("timed out".to_owned())
        });
        assert!(first.is_err());
        let twice = vec!["Ok(2)".to_owned(), "Ok(2)".to_owned()];
        assert_eq!(scene.answers(), (twice, 1), "one of them runs, the other gets its result");
    });
}

#[test]
fn a_dropped_future_and_a_panic_send_every_waiter_its_own_way() {
    let scene = Scene::new(Form::Plain);
    {
        let mut calling = std::pin::pin!(pay(&scene.store).run_async(async || {
            scene.duplicates(&["plain"]);
            std::future::pending::<Result<u32, Error>>().await
        }));
        while scene.programs.borrow().is_empty() {
            assert!(poll_once(calling.as_mut()).is_pending());
        }
    }
    assert_eq!(scene.answers(), (vec!["Err(\"InDoubt\")".to_owned()], 0));

    in_every_form(|scene| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            scene.form.make(pay(&scene.store), || -> Result<u32, Error> {
                scene.duplicates(&["rerun", "rerun"]);
                std::panic::resume_unwind(Box::new("as asked"))
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(scene.answers(), (vec!["Ok(2)".to_owned(), "Ok(2)".to_owned()], 1));
    });
}

#[test]
fn a_settled_call_wakes_waiters_of_other_processes() {
    in_every_form(|scene| {
        for (verdict, expected) in [
            (Verdict::Done(9_u32), ["Ok(9)", "Ok(9)"]),
            (Verdict::DoneWithoutResult, ["Err(\"ResultGone\")", "Err(\"ResultGone\")"]),
        ] {
            scene.programs.borrow_mut().clear();
            let first = scene.form.make(pay(&scene.store), || {
                scene.duplicates(&["rerun"]);
                let operator = std::thread::spawn({
                    let store = scene.store.clone();
                    // Between the two the waiter may already be on its way: it runs, or finds the verdict.
                    move || {
                        assert!(store.steal(NAME, "A-17").unwrap());
                        let settled = settle(verdict, || pay(&store).run(|| Ok::<u32, Error>(0)));
                        settled.map_err(|error| assert_eq!(error.kind(), ErrorKind::Running))
                    }
                });
                let settled = operator.join().unwrap();
                let (answers, ran) = scene.answers();
                match settled {
                    Ok(Settled::Done) if ran == 0 => assert_eq!(answers[0], expected[0]),
                    _ => assert_eq!((answers[0].as_str(), ran), ("Ok(2)", 1)),
                }
                Ok::<u32, Error>(1)
            });
            assert_eq!(first.unwrap_err().kind(), ErrorKind::Fenced);
            assert!(scene.store.forget(NAME, "A-17").unwrap());
        }
    });
}

#[test]
fn one_that_does_not_wait_disturbs_nothing() {
    in_every_form(|scene| {
        let first = scene.form.make(pay(&scene.store), || {
            let path = scene.folder.path().join("idem.db");
            let words = [path.to_str().unwrap(), "at once", &format!("{:?}", scene.form)];
            assert_eq!(Program::start(PART, &words).hear("got"), "Err(\"Running\")");
            assert_eq!(scene.store.get(NAME, "A-17").unwrap().unwrap().status(), Status::Running);
            Ok::<u32, Error>(1)
        });
        assert_eq!(first.unwrap(), 1);
        let replay = block_on(pay(&scene.store).run_async(async || -> Result<u32, Error> { unreachable!() }));
        assert_eq!(replay.unwrap(), 1);
    });
}
