//! Waiters in one process: the waiter that runs after the running call has ended.

use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use idem_runtime::{Call, ErrorKind, Store, on_err, with_store_async};
use idem_tests::form::{Form, in_every_form, kind, tokio_alone};
use idem_tests::halt::{Halt, LONG, Runs, pause};
use idem_tests::hand_clock::HandClock;
use idem_tests::plain::{self, poll_once};
use idem_tests::shared::call;

const NAME: &str = "turns.pay";
/// Longer than a test takes: a caller that waits it out was not woken.
const FOREVER: Duration = Duration::from_secs(600);

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").wait(FOREVER)
}

/// The result of a body of these tests.
type Paid = Result<usize, String>;

/// A store, the halt of the first body, and a count of the bodies.
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

    /// A body that stands at the halt and then ends by its number.
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
    answers: mpsc::Receiver<Paid>,
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
                // The test may have ended.
                let _ = sender.send(caller.join().unwrap().0);
            });
        }
        pause();
        Waiters { answers }
    }

    fn next(&self) -> Paid {
        self.answers.recv_timeout(LONG).expect("a waiter was never woken")
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is the end of a body")]
fn ok(number: usize) -> Paid {
    Ok(number)
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
        assert!(poll_once(waiter.as_mut()).is_pending(), "the future waits");
        // From now on every reading of the clock is an hour later than the one before.
        clock.step(Duration::from_secs(3_600));
        scene.halt.let_all_go();
        assert_eq!(first.join().unwrap().0, Ok(1));
        assert_eq!(plain::block_on(waiter), Ok(1), "the waiter gets what it waited for");
        assert_eq!(form.make(short(), || Ok(3_usize)), Ok(3), "who comes later runs");
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
        // The patient waiter must run next, so it alone waits when the first call ends.
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

// Field 10: a waiter that gives up takes no wake-up from the others.
#[test]
fn waiters_that_go_leave_the_wake_up_to_the_others() {
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
        // Two waiters go before the end and two after it. One of these may have been woken already.
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
fn a_task_that_waits_can_be_polled_on_any_thread() {
    let scene = Scene::new(Form::Sync);
    let first = scene.form.spawn(pay(&scene.store), scene.body(ok));
    scene.halt.wait_for(1);
    let mut duplicate = Box::pin(pay(&scene.store).run_async(async || Ok::<usize, String>(2)));
    assert!(poll_once(duplicate.as_mut()).is_pending());
    // From here on another thread polls it, with another waker.
    let moved = std::thread::spawn(move || plain::block_on(duplicate));
    pause();
    scene.halt.let_all_go();
    assert_eq!(first.join().unwrap().0, Ok(1));
    assert_eq!(moved.join().unwrap(), Ok(1));
    let mut late = Box::pin(pay(&scene.store).run_async(async || Ok::<usize, String>(3)));
    assert_eq!(poll_once(late.as_mut()), Poll::Ready(Ok(1)), "a replay is ready at once");
}
