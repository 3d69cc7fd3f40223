//! What callers get who wait for a running call of the same process: the contract's table of waiters, cell by cell.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use idem_runtime::{
    Call, Error, ErrorKind, Lifetime, OnInterrupt, Ran, Store, call, on_err, with_store_async,
};
use idem_tests::form::{Form, in_every_form, kind, tokio_alone};
use idem_tests::halt::{Halt, LONG, Runs, pause};
use idem_tests::hand_clock::HandClock;
use idem_tests::plain::{self, poll_once};

const NAME: &str = "waiters.pay";
/// Longer than any test may take: whoever waits it out has not been woken.
const FOREVER: Duration = Duration::from_secs(600);

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").wait(FOREVER)
}

/// What a body of these tests returns.
type Paid = Result<usize, String>;

/// A store, a place where the first body stands, and a count of the bodies.
struct Scene {
    form: Form,
    store: Store,
    halt: Arc<Halt>,
    runs: Arc<Runs>,
}

impl Scene {
    fn new(form: Form) -> Scene {
        Scene { form, store: Store::temporary().unwrap(), halt: Halt::new(), runs: Runs::new() }
    }

    /// A body that stands at the halt and then ends as it is told by its number.
    fn body<R: 'static>(&self, end: fn(usize) -> R) -> impl FnOnce() -> R + Send + use<R> {
        let (halt, runs) = (Arc::clone(&self.halt), Arc::clone(&self.runs));
        move || {
            runs.count(|number| {
                halt.stand();
                end(number)
            })
        }
    }
}

/// Callers on threads of their own, and a channel of their answers.
struct Waiters {
    answers: mpsc::Receiver<(Paid, bool)>,
}

impl Waiters {
    fn new<P>(scene: &Scene, count: usize, call: impl Fn() -> Call<P>, end: fn(usize) -> Paid) -> Waiters
    where
        P: on_err::ErrPolicy<String> + Send + 'static,
    {
        let (sender, answers) = mpsc::channel();
        for _ in 0..count {
            let (sender, form, body) = (sender.clone(), scene.form, scene.body(end));
            let caller = form.spawn(call(), body);
            std::thread::spawn(move || {
                let (paid, seen) = caller.join().unwrap();
                let did_wait = seen.is_some_and(|seen| !seen.waited.is_zero());
                // The test may have ended.
                let _ = sender.send((paid, did_wait));
            });
        }
        pause();
        Waiters { answers }
    }

    fn next(&self) -> Paid {
        self.answers.recv_timeout(LONG).expect("a waiter was never woken").0
    }

    fn no_answer_yet(&self) {
        assert!(self.answers.try_recv().is_err(), "a waiter got an answer while a body runs");
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is the end of a body")]
fn ok(number: usize) -> Paid {
    Ok(number)
}

// Field 10, 18.
#[test]
fn every_waiter_gets_the_result_of_the_one_run() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let first = form.spawn(pay(&scene.store), scene.body(ok));
        scene.halt.wait_for(1);
        let waiters = Waiters::new(&scene, 8, || pay(&scene.store), ok);
        waiters.no_answer_yet();
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Ok(1));
        let mut waited = 0;
        for _ in 0..8 {
            let (paid, did_wait) = waiters.answers.recv_timeout(LONG).unwrap();
            assert_eq!(paid, Ok(1));
            waited += usize::from(did_wait);
        }
        assert_eq!(scene.runs.started(), 1);
        assert!(waited > 0, "nobody waited: the test shows nothing");
    });
}

#[test]
fn a_result_that_is_not_kept_is_gone_for_waiters_too() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let unkept = || pay(&scene.store).keep_result(Lifetime::ZERO).map_err(kind);
        let first = form.spawn(unkept(), scene.body(|_| Ok(1)));
        scene.halt.wait_for(1);
        let waiters: Vec<_> = (0..3).map(|_| form.spawn(unkept(), scene.body(|_| Ok(2)))).collect();
        pause();
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Ok(1), "the first caller gets its value");
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().0, Err(ErrorKind::ResultGone));
        }
        assert_eq!(scene.runs.started(), 1);
    });
}

#[test]
fn waiters_get_the_result_whatever_its_lifetimes_say_by_then() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let scene = Scene { store, ..Scene::new(form) };
        let short = || {
            let second = Duration::from_secs(1);
            pay(&scene.store).ttl(second).keep_result(second).map_err(kind)
        };
        let first = form.spawn(short(), scene.body(|_| Ok(1_usize)));
        scene.halt.wait_for(1);
        let mut waiter = Box::pin(short().run_async(async || Ok::<usize, ErrorKind>(2)));
        assert!(poll_once(waiter.as_mut()).is_pending(), "it takes its place among the waiters");
        // Whoever looks at the clock from now on finds an hour gone since the look before.
        clock.step(Duration::from_secs(3_600));
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Ok(1));
        assert_eq!(plain::block_on(waiter), Ok(1), "the waiter gets what it waited for");
        assert_eq!(form.make(short(), || Ok(3_usize)), Ok(3), "who comes later runs");
    });
}

#[test]
fn a_released_call_lets_exactly_one_waiter_run_and_the_others_wait_on() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let fails_first = |number| if number == 1 { Err("declined".to_owned()) } else { Ok(number) };
        let first = form.spawn(pay(&scene.store), scene.body(fails_first));
        scene.halt.wait_for(1);
        let waiters = Waiters::new(&scene, 8, || pay(&scene.store), fails_first);
        scene.halt.let_one_go();
        assert_eq!(first.join().unwrap().0, Err("declined".to_owned()));
        scene.halt.wait_for(2);
        pause();
        waiters.no_answer_yet();
        assert_eq!(scene.runs.started(), 2, "one waiter runs");
        scene.halt.let_all_go();
        for _ in 0..8 {
            assert_eq!(waiters.next(), Ok(2));
        }
        assert_eq!((scene.runs.started(), scene.runs.most_at_once()), (2, 1));
    });
}

#[test]
fn waiters_of_calls_that_all_fail_run_one_after_the_other() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let fails = |number: usize| Err(number.to_string());
        let first = form.spawn(pay(&scene.store), scene.body(fails));
        scene.halt.wait_for(1);
        let waiters = Waiters::new(&scene, 8, || pay(&scene.store), fails);
        scene.halt.let_all_go();
        first.join().unwrap().0.unwrap_err();
        let mut answers: Vec<_> = (0..8).map(|_| waiters.next().unwrap_err()).collect();
        answers.sort();
        assert_eq!(answers, ["2", "3", "4", "5", "6", "7", "8", "9"], "each got the error of its own run");
        assert_eq!(scene.runs.most_at_once(), 1);
    });
}

#[test]
fn waiters_behind_a_released_call_keep_to_their_own_wait() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let first =
            form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Err::<usize, _>(ErrorKind::Store)));
        scene.halt.wait_for(1);
        let patient = form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Ok(2)));
        pause();
        // The patient one must run next, so it alone waits when the first one ends.
        scene.halt.let_one_go();
        assert_eq!(first.join().unwrap().0, Err(ErrorKind::Store));
        scene.halt.wait_for(2);
        let short = Duration::from_millis(50);
        let hasty = form.spawn(pay(&scene.store).wait(short).map_err(kind), scene.body(|_| Ok(3)));
        let (answer, _) = hasty.join().unwrap();
        assert_eq!(answer, Err(ErrorKind::Running));
        scene.halt.let_all_go();
        assert_eq!(patient.join().unwrap().0, Ok(2));
    });
}

// Field 8.
#[test]
fn a_remembered_error_is_every_waiters_answer() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let remembering = || pay(&scene.store).on_err(on_err::Remember);
        let declined = |_| Err("declined".to_owned());
        let first = form.spawn(remembering(), scene.body(declined));
        scene.halt.wait_for(1);
        let waiters = Waiters::new(&scene, 8, remembering, declined);
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Err("declined".to_owned()));
        for _ in 0..8 {
            assert_eq!(waiters.next(), Err("declined".to_owned()));
        }
        assert_eq!(scene.runs.started(), 1);
    });
}

/// Starts a call that will be cut off by a panic once the halt lets it go.
fn start_a_doomed_call(scene: &Scene) -> std::thread::JoinHandle<()> {
    let (form, call) = (scene.form, pay(&scene.store));
    let body = scene.body(|_| -> Paid { panic!("cut off on purpose") });
    let doomed = std::thread::spawn(move || {
        assert!(catch_unwind(AssertUnwindSafe(|| form.make(call, body))).is_err());
    });
    scene.halt.wait_for(1);
    doomed
}

// Rule 4. Field 2.
#[test]
fn waiters_of_a_call_that_is_cut_off_refuse_at_once() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let doomed = start_a_doomed_call(&scene);
        let waiters: Vec<_> =
            (0..4).map(|_| form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Ok(2)))).collect();
        pause();
        scene.halt.let_all_go();
        doomed.join().unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().0, Err(ErrorKind::InDoubt));
        }
        assert_eq!(scene.runs.started(), 1);
    });
}

// Rule 4: the mode is the waiter's own.
#[test]
fn waiters_that_may_rerun_do_it_once_and_the_others_refuse_or_get_its_result() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let doomed = start_a_doomed_call(&scene);
        let rerun = || pay(&scene.store).on_interrupt(OnInterrupt::rerun());
        let waiters = Waiters::new(&scene, 6, rerun, ok);
        scene.halt.let_one_go();
        doomed.join().unwrap();
        scene.halt.wait_for(2);
        pause();
        waiters.no_answer_yet();
        scene.halt.let_all_go();
        for _ in 0..6 {
            assert_eq!(waiters.next(), Ok(2));
        }
        assert_eq!((scene.runs.started(), scene.runs.most_at_once()), (2, 1));
        assert_eq!(scene.store.get(NAME, "A-17").unwrap().unwrap().attempt(), 2);
    });
}

#[test]
fn waiters_of_a_stolen_call_go_on_as_their_on_interrupt_says() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let hung = form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Ok(1)));
        scene.halt.wait_for(1);
        let refuses = form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Ok(9)));
        pause();
        assert!(scene.store.steal(NAME, "A-17").unwrap());
        assert_eq!(refuses.join().unwrap().0, Err(ErrorKind::InDoubt));
        let again = pay(&scene.store).on_interrupt(OnInterrupt::rerun()).map_err(kind);
        let again = form.spawn(again, scene.body(|_| Ok(2)));
        scene.halt.wait_for(2);
        scene.halt.let_all_go();
        let (hung, again) = (hung.join().unwrap().0, again.join().unwrap().0);
        // Rule 2. Field 5: the late finisher is told and overwrites nothing.
        assert_eq!(hung, Err(ErrorKind::Fenced));
        assert_eq!(again, Ok(2));
        assert_eq!(form.make(pay(&scene.store).map_err(kind), || Ok(3)), Ok(2));
    });
}

// Field 9.
#[test]
fn waiters_of_a_dropped_future_go_on_at_once() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let (started, start) = mpsc::channel();
        let runner = pay(&scene.store).run_async(async || {
            started.send(()).unwrap();
            std::future::pending::<Paid>().await
        });
        let mut runner = Box::pin(runner);
        while start.try_recv().is_err() {
            assert!(poll_once(runner.as_mut()).is_pending());
        }
        let refuses = form.spawn(pay(&scene.store).map_err(kind), scene.body(|_| Ok(9)));
        let reruns = pay(&scene.store).on_interrupt(OnInterrupt::rerun()).map_err(kind);
        scene.halt.let_all_go();
        pause();
        drop(runner);
        assert!(matches!(refuses.join().unwrap().0, Err(ErrorKind::InDoubt)));
        assert_eq!(form.make(reruns, || Ok(2)), Ok(2));
    });
}

// Field 10.
#[test]
fn a_wait_that_is_over_disturbs_nothing() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let first = form.spawn(pay(&scene.store), scene.body(ok));
        scene.halt.wait_for(1);
        let before = scene.store.get(NAME, "A-17").unwrap().unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let begun = Instant::now();
            let refused = form.make(pay(&scene.store).wait(wait), || Err::<usize, _>(kind_is_not_used()));
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Running, Ran::No));
            assert!(error.retry_after().is_some());
            assert!(begun.elapsed() >= wait, "it gave up before its time");
        }
        let after = scene.store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!((before.status(), before.attempt()), (after.status(), after.attempt()));
        let waiters = Waiters::new(&scene, 2, || pay(&scene.store), ok);
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Ok(1));
        assert_eq!([waiters.next(), waiters.next()], [Ok(1), Ok(1)]);
        assert_eq!(scene.runs.started(), 1);
    });
}

fn kind_is_not_used() -> Error {
    unreachable!("the body of a duplicate must not run")
}

// Field 10: the one who gives up takes nobody's wake-up along.
#[test]
fn waiters_that_go_away_leave_the_wake_up_to_the_others() {
    in_every_form(|form| {
        let scene = Scene::new(form);
        let fails_first = |number| if number == 1 { Err("declined".to_owned()) } else { Ok(number) };
        let first = form.spawn(pay(&scene.store), scene.body(fails_first));
        scene.halt.wait_for(1);
        let stays = Waiters::new(&scene, 2, || pay(&scene.store), fails_first);
        let mut go_away = Vec::new();
        for _ in 0..4 {
            let mut duplicate = Box::pin(pay(&scene.store).run_async(async || Ok::<usize, String>(0)));
            assert!(poll_once(duplicate.as_mut()).is_pending());
            go_away.push(duplicate);
        }
        // Two leave before the end, two after it: one of these may have been woken already.
        go_away.drain(..2);
        scene.halt.let_one_go();
        first.join().unwrap().0.unwrap_err();
        pause();
        drop(go_away);
        scene.halt.let_all_go();
        assert_eq!([stays.next(), stays.next()], [Ok(2), Ok(2)]);
    });
}

#[test]
fn tasks_of_one_thread_wait_for_each_other() {
    let store = Store::temporary().unwrap();
    let runs = Runs::new();
    let paid = tokio_alone().block_on(with_store_async(&store, async {
        let one = || async {
            let call = call(NAME).key("A-17").wait(FOREVER);
            let body = async || {
                runs.count(|_| ());
                tokio::task::yield_now().await;
                Ok::<usize, String>(7)
            };
            call.run_async(body).await
        };
        tokio::join!(one(), one(), one(), one())
    }));
    assert_eq!(paid, (Ok(7), Ok(7), Ok(7), Ok(7)));
    assert_eq!(runs.started(), 1);
}

#[test]
fn a_task_that_waits_can_be_polled_by_anybody() {
    let scene = Scene::new(Form::Sync);
    let first = scene.form.spawn(pay(&scene.store), scene.body(ok));
    scene.halt.wait_for(1);
    let mut duplicate = Box::pin(pay(&scene.store).run_async(async || Ok::<usize, String>(2)));
    assert!(poll_once(duplicate.as_mut()).is_pending());
    // From here on another thread, with another waker.
    let moved = std::thread::spawn(move || plain::block_on(duplicate));
    pause();
    scene.halt.let_all_go();
    assert_eq!(first.join().unwrap().0, Ok(1));
    assert_eq!(moved.join().unwrap(), Ok(1));
    let mut late = Box::pin(pay(&scene.store).run_async(async || Ok::<usize, String>(3)));
    assert_eq!(poll_once(late.as_mut()), Poll::Ready(Ok(1)), "a replay is ready at once");
}
