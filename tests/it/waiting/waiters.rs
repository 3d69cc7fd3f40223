//! The contract's table of waiters: the answer of a caller that waits for a running call, as a thread or a task of the
//! same process and as another process.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use idem_runtime::{Call, Error, ErrorKind, Lifetime, OnInterrupt, Ran, Settled, Status, Store, Verdict};
use idem_runtime::{observe, on_err, settle};
use idem_tests::form::Form;
use idem_tests::halt::{Halt, LONG, Runs, eventually, pause};
use idem_tests::plain::poll_once;
use idem_tests::shared::call;

use crate::support::role::{self, Program};

const WAITS: &str = "waiting::waiters::the_program_that_waits";
const NAME: &str = "waiters.pay";
/// Longer than a test takes: a caller that waits it out was not woken.
const FOREVER: Duration = Duration::from_secs(600);

type Paid = Result<u32, String>;

/// How a caller makes the call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Plain,
    /// Its result is not kept.
    Unkept,
    /// Its result and its record expire at once.
    Short,
    Remember,
    InDoubt,
    Rerun,
    /// It does not wait.
    AtOnce,
}

impl How {
    const ALL: [How; 7] =
        [How::Plain, How::Unkept, How::Short, How::Remember, How::InDoubt, How::Rerun, How::AtOnce];

    fn make(self, form: Form, store: &Store, body: impl FnOnce() -> Paid) -> Paid {
        let call = pay(store).map_err(|error: Error| format!("{:?}", error.kind()));
        let instant = Duration::from_millis(1);
        match self {
            How::Plain => form.make(call, body),
            How::Unkept => form.make(call.keep_result(Lifetime::ZERO), body),
            How::Short => form.make(call.keep_result(instant).ttl(instant), body),
            How::Remember => form.make(call.on_err(on_err::Remember), body),
            How::InDoubt => form.make(call.on_err(on_err::InDoubt), body),
            How::Rerun => form.make(call.on_interrupt(OnInterrupt::rerun()), body),
            How::AtOnce => form.make(call.wait(Duration::ZERO), body),
        }
    }
}

/// How the running call ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Ok,
    Err,
    Panic,
    /// Its future is dropped.
    Dropped,
    /// An operator steals it; its body returns `Ok` after that.
    Stolen,
}

/// Where the waiters are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    /// Threads or tasks of this process.
    Here,
    /// Another process each.
    Elsewhere,
}

#[cfg(unix)]
const SIDES: &[Side] = &[Side::Here, Side::Elsewhere];
#[cfg(not(unix))]
const SIDES: &[Side] = &[Side::Here];

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").wait(FOREVER)
}

/// Makes the call once, as a duplicate of one that runs in another process.
#[test]
fn the_program_that_waits() {
    let Some(words) = role::words() else { return };
    let [path, how, form] = words.try_into().unwrap();
    let how = How::ALL.into_iter().find(|known| format!("{known:?}") == how).unwrap();
    let form = Form::ALL.into_iter().find(|known| format!("{known:?}") == form).unwrap();
    let store = Store::open(path).unwrap();
    role::say("calls");
    let answer = how.make(form, &store, || {
        role::say("ran");
        role::listen();
        Ok(2)
    });
    role::say(&format!("got {answer:?}"));
}

/// A store with a running call, and callers that wait for it.
struct Scene {
    form: Form,
    folder: tempfile::TempDir,
    store: Store,
    /// Where the running call stands in its body.
    first: Arc<Halt>,
    waiters: Waiters,
}

enum Waiters {
    Here { answers: Vec<Receiver<(Paid, Option<Duration>)>>, halt: Arc<Halt>, runs: Arc<Runs> },
    Elsewhere(Vec<Program>),
}

impl Scene {
    fn new(form: Form, side: Side) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("idem.db")).unwrap();
        let waiters = match side {
            Side::Here => Waiters::Here { answers: Vec::new(), halt: Halt::new(), runs: Runs::new() },
            Side::Elsewhere => Waiters::Elsewhere(Vec::new()),
        };
        Scene { form, folder, store, first: Halt::new(), waiters }
    }

    /// Starts the call and waits until it stands in its body.
    fn start(&self, how: How, end: End) -> JoinHandle<Paid> {
        let (form, store, halt) = (self.form, self.store.clone(), Arc::clone(&self.first));
        let running = thread::spawn(move || match end {
            End::Dropped => {
                let body = async || {
                    drop(thread::spawn({
                        let halt = Arc::clone(&halt);
                        move || halt.stand()
                    }));
                    std::future::pending::<Paid>().await
                };
                let mut future = Box::pin(pay(&store).run_async(body));
                eventually("the body starts", || {
                    assert!(poll_once(future.as_mut()).is_pending());
                    halt.arrived() > 0
                });
                halt.stand();
                Err("dropped".to_owned())
            }
            _ => how.make(form, &store, || {
                halt.stand();
                match end {
                    End::Ok | End::Stolen => Ok(1),
                    End::Err => Err("declined".to_owned()),
                    End::Panic | End::Dropped => resume_unwind(Box::new("as asked")),
                }
            }),
        });
        self.first.wait_for(if end == End::Dropped { 2 } else { 1 });
        running
    }

    /// Starts callers that make the same call.
    fn wait(&mut self, hows: &[How]) {
        let (form, path) = (self.form, self.folder.path().join("idem.db"));
        match &mut self.waiters {
            Waiters::Here { answers, halt, runs, .. } => {
                for how in hows.iter().copied().cycle().take(6) {
                    let (sender, receiver) = channel();
                    let (store, halt, runs) = (self.store.clone(), Arc::clone(halt), Arc::clone(runs));
                    thread::spawn(move || {
                        let body = || {
                            runs.count(|_| halt.stand());
                            Ok(2)
                        };
                        let (paid, seen) = observe(|| how.make(form, &store, body));
                        // The test may have ended.
                        let _ = sender.send((paid, seen.map(|seen| seen.waited)));
                    });
                    answers.push(receiver);
                }
            }
            Waiters::Elsewhere(programs) => {
                for how in hows.iter().cycle().take(2) {
                    let words = [path.to_str().unwrap(), &format!("{how:?}"), &format!("{form:?}")];
                    let mut program = Program::start(WAITS, &words);
                    program.hear("calls");
                    programs.push(program);
                }
            }
        }
        pause();
    }

    /// Whether no waiter has an answer.
    fn all_wait(&mut self) -> bool {
        match &mut self.waiters {
            Waiters::Here { answers, .. } => answers.iter().all(|answer| answer.try_recv().is_err()),
            Waiters::Elsewhere(programs) => !programs.iter_mut().any(|program| program.has_said("got")),
        }
    }

    /// How many waiters have run the body.
    fn ran(&mut self) -> usize {
        match &mut self.waiters {
            Waiters::Here { runs, .. } => runs.started(),
            Waiters::Elsewhere(programs) => {
                programs.iter_mut().filter_map(|program| program.has_said("ran").then_some(())).count()
            }
        }
    }

    /// Lets the bodies of waiters end, and gives the answers of the waiters.
    fn answers(&mut self) -> Vec<Paid> {
        match &mut self.waiters {
            Waiters::Here { answers, halt, runs, .. } => {
                halt.let_all_go();
                let got =
                    answers.iter().map(|answer| answer.recv_timeout(LONG).expect("a waiter was not woken"));
                let (got, waited): (Vec<_>, Vec<_>) = got.unzip();
                let observed: Vec<_> = waited.into_iter().flatten().collect();
                let did_wait = observed.is_empty() || observed.iter().any(|waited| !waited.is_zero());
                assert!(did_wait, "no caller waited: the test shows nothing");
                assert!(runs.most_at_once() <= 1, "two bodies ran side by side");
                got
            }
            Waiters::Elsewhere(programs) => {
                programs.iter_mut().for_each(Program::end_input);
                programs.iter_mut().map(|program| paid(&program.hear("got"))).collect()
            }
        }
    }

    /// The answer of a later call that does not run.
    fn later(&self) -> Paid {
        How::AtOnce.make(self.form, &self.store, || Err("the body ran".to_owned()))
    }
}

/// The answer that a program has printed.
fn paid(answer: &str) -> Paid {
    let inner = |rest: &str| rest.trim_end_matches(')').trim_matches('"').to_owned();
    match answer.split_once('(').unwrap() {
        ("Ok", rest) => Ok(inner(rest).parse().unwrap()),
        (_, rest) => Err(inner(rest)),
    }
}

/// One cell of the table.
struct Cell {
    first: How,
    end: End,
    /// The answer of the running call; `None` if it panics.
    gets: Option<Paid>,
    /// All of these get `answer`.
    waiters: &'static [How],
    answer: Paid,
    /// How many waiters run the body.
    runs: usize,
}

fn refused(kind: ErrorKind) -> Paid {
    Err(format!("{kind:?}"))
}

fn declined() -> Paid {
    Err("declined".to_owned())
}

/// Runs a test for every form of the running call and every side of the waiters, on a thread that is named by them.
fn everywhere(test: impl Fn(&mut Scene) + Send + Sync + 'static) {
    let test = Arc::new(test);
    for &side in SIDES {
        for form in Form::ALL {
            let test = Arc::clone(&test);
            let named = thread::Builder::new().name(format!("{form:?}, waiters {side:?}"));
            let run = named.spawn(move || test(&mut Scene::new(form, side))).unwrap();
            assert!(run.join().is_ok(), "failed in the form {form:?} with waiters {side:?}");
        }
    }
}

fn check(cell: Cell) {
    everywhere(move |scene| {
        let running = scene.start(cell.first, cell.end);
        scene.wait(cell.waiters);
        assert!(scene.all_wait(), "a waiter got an answer while the body runs");
        assert_eq!(scene.ran(), 0, "two bodies ran side by side");
        if cell.end == End::Stolen {
            assert!(scene.store.steal(NAME, "A-17").unwrap());
        } else {
            scene.first.let_all_go();
        }
        if cell.runs > 0 {
            eventually("a waiter runs", || scene.ran() > 0);
            pause();
            assert!(scene.all_wait(), "a waiter got an answer while another runs");
            assert_eq!(scene.store.get(NAME, "A-17").unwrap().unwrap().status(), Status::Running);
        }
        let answers = scene.answers();
        scene.first.let_all_go();
        assert!(answers.iter().all(|answer| *answer == cell.answer), "{answers:?}, not {:?}", cell.answer);
        assert_eq!(scene.ran(), cell.runs, "bodies that ran");
        assert_eq!(running.join().ok(), cell.gets, "the caller of the running call");
        if cell.waiters == [How::Rerun] {
            assert_eq!(scene.store.get(NAME, "A-17").unwrap().unwrap().attempt(), 2);
            assert_eq!(scene.later(), Ok(2));
        }
    });
}

// Field 10, 18.
#[test]
fn every_waiter_gets_the_result_of_the_one_run() {
    let (first, waiters) = (How::Plain, &[How::Plain]);
    check(Cell { first, end: End::Ok, gets: Some(Ok(1)), waiters, answer: Ok(1), runs: 0 });
}

#[test]
fn a_result_that_is_not_kept_is_gone_for_waiters_too() {
    let (first, waiters) = (How::Unkept, &[How::Unkept, How::Plain]);
    let answer = refused(ErrorKind::ResultGone);
    check(Cell { first, end: End::Ok, gets: Some(Ok(1)), waiters, answer, runs: 0 });
}

#[test]
fn a_result_whose_lifetime_is_over_by_then_still_reaches_those_who_waited() {
    let (first, waiters) = (How::Short, &[How::Plain]);
    check(Cell { first, end: End::Ok, gets: Some(Ok(1)), waiters, answer: Ok(1), runs: 0 });
}

// Field 10.
#[test]
fn a_released_call_lets_exactly_one_waiter_run_and_the_others_wait_on() {
    let (first, waiters) = (How::Plain, &[How::Plain]);
    check(Cell { first, end: End::Err, gets: Some(declined()), waiters, answer: Ok(2), runs: 1 });
}

// Field 8.
#[test]
fn a_remembered_error_is_every_waiters_answer() {
    let (first, waiters) = (How::Remember, &[How::Remember]);
    check(Cell { first, end: End::Err, gets: Some(declined()), waiters, answer: declined(), runs: 0 });
}

// Rule 4. Field 2.
#[test]
fn waiters_of_a_call_that_is_cut_off_refuse_at_once() {
    let (first, waiters, answer) = (How::Plain, &[How::Plain], refused(ErrorKind::InDoubt));
    check(Cell { first, end: End::Panic, gets: None, waiters, answer, runs: 0 });
}

// Rule 4: the mode is the waiter's own.
#[test]
fn waiters_that_may_rerun_do_it_once_and_the_others_get_its_result() {
    let (first, waiters) = (How::Plain, &[How::Rerun]);
    check(Cell { first, end: End::Panic, gets: None, waiters, answer: Ok(2), runs: 1 });
}

// Rule 4.
#[test]
fn waiters_of_an_error_in_doubt_do_as_their_on_interrupt_says() {
    let (first, end) = (How::InDoubt, End::Err);
    let answer = refused(ErrorKind::InDoubt);
    check(Cell { first, end, gets: Some(declined()), waiters: &[How::Plain], answer, runs: 0 });
    check(Cell { first, end, gets: Some(declined()), waiters: &[How::Rerun], answer: Ok(2), runs: 1 });
}

// Field 9.
#[test]
fn waiters_of_a_dropped_future_do_as_their_on_interrupt_says() {
    let (first, end, gets) = (How::Plain, End::Dropped, Some(Err("dropped".to_owned())));
    let answer = refused(ErrorKind::InDoubt);
    check(Cell { first, end, gets: gets.clone(), waiters: &[How::Plain], answer, runs: 0 });
    check(Cell { first, end, gets, waiters: &[How::Rerun], answer: Ok(2), runs: 1 });
}

// Rule 2. Field 5: the late outcome is fenced and overwrites nothing.
#[test]
fn waiters_of_a_stolen_call_do_as_their_on_interrupt_says() {
    let (first, end) = (How::Plain, End::Stolen);
    let answer = refused(ErrorKind::InDoubt);
    check(Cell { first, end, gets: Some(Ok(1)), waiters: &[How::Plain], answer, runs: 0 });
    let gets = Some(refused(ErrorKind::Fenced));
    check(Cell { first, end, gets, waiters: &[How::Rerun], answer: Ok(2), runs: 1 });
}

// Field 10.
#[test]
fn a_caller_whose_wait_is_over_disturbs_nothing() {
    everywhere(|scene| {
        let running = scene.start(How::Plain, End::Ok);
        let before = scene.store.get(NAME, "A-17").unwrap().unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let begun = Instant::now();
            let body = || -> Result<u32, Error> { unreachable!("the body of a duplicate ran") };
            let error = scene.form.make(pay(&scene.store).wait(wait), body).unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Running, Ran::No));
            assert!(error.retry_after().is_some());
            assert!(begun.elapsed() >= wait, "the caller gave up before its time");
        }
        scene.wait(&[How::Plain, How::AtOnce]);
        let after = scene.store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!((before.status(), before.attempt()), (after.status(), after.attempt()));
        scene.first.let_all_go();
        assert_eq!(running.join().unwrap(), Ok(1));
        for (number, answer) in scene.answers().into_iter().enumerate() {
            let expected = if number % 2 == 0 { Ok(1) } else { refused(ErrorKind::Running) };
            assert_eq!(answer, expected);
        }
        assert_eq!((scene.ran(), scene.later()), (0, Ok(1)));
    });
}

#[test]
fn a_settled_call_wakes_its_waiters() {
    for (verdict, expected) in
        [(Verdict::Done(9), Ok(9)), (Verdict::DoneWithoutResult, refused(ErrorKind::ResultGone))]
    {
        everywhere(move |scene| {
            let running = scene.start(How::Plain, End::Stolen);
            scene.wait(&[How::Rerun]);
            assert!(scene.store.steal(NAME, "A-17").unwrap());
            // Between the two a waiter may already be on its way: it runs, or finds the verdict.
            let settled = settle(verdict, || pay(&scene.store).run(|| Ok::<u32, Error>(0)));
            let answers = scene.answers();
            let expected =
                if settled.as_ref().is_ok_and(|_| scene.ran() == 0) { expected.clone() } else { Ok(2) };
            assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}, not {expected:?}");
            match settled {
                Ok(settled) => assert_eq!((settled, scene.ran()), (Settled::Done, scene.ran().min(1))),
                Err(error) => assert_eq!((error.kind(), scene.ran()), (ErrorKind::Running, 1)),
            }
            scene.first.let_all_go();
            assert_eq!(running.join().unwrap(), refused(ErrorKind::Fenced));
        });
    }
}
