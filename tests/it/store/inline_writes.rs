//! A blocked caller that is alone commits its own records.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, OnInterrupt, Store, current};
use idem_tests::form::Form;
use idem_tests::halt::{Halt, LONG, eventually, pause};
use idem_tests::shared::call;
use idem_tests::subscriber::OnEvent;
use rusqlite::{Connection, OpenFlags};
use tracing::subscriber::with_default;
use tracing::{Event, Level};

use crate::support::place::Place;
use crate::support::worker::{NAME, Worker, effect, halting, once};

/// Longer than the test takes, and shorter than the wait for an outcome.
const SOON: Duration = Duration::from_secs(20);

fn pay(store: &Store, key: &str) -> Result<String, Error> {
    once(Form::Sync, store, key, || Ok(key.to_owned()))
}

#[test]
fn two_processes_that_write_inline_have_one_effect_per_key() {
    let place = Place::new();
    let mut workers = [Worker::start(&place), Worker::start(&place)];
    for worker in &mut workers {
        worker.tell("all storm sync 1 150");
    }
    let [one, other] = workers.each_mut().map(|worker| worker.hear("all ok"));
    assert_eq!(one, other, "the processes got different values");
    for n in 0..150 {
        assert_eq!(place.effects(&format!("k{n}")).len(), 1, "k{n}");
    }
    workers.into_iter().for_each(Worker::leave);
    assert!(place.open().verify().unwrap().is_empty());
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// No caller waits, no record is written, and the store can be opened again.
fn assert_ended(place: &Place, store: Store) {
    assert_eq!(pay(&store, "later").unwrap_err().kind(), ErrorKind::Store);
    let begun = Instant::now();
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Store);
    assert!(begun.elapsed() < SOON);
    drop(store);
    let store = place.open();
    assert_eq!(pay(&store, "later").unwrap(), "later");
    store.close().unwrap();
}

/// Lets a caller panic while it writes `key` inline: the subscriber panics at the event of the taken write lock.
fn break_down(place: &Place, store: &Store, key: &str) -> Error {
    let lock = Connection::open_with_flags(place.database(), OpenFlags::default()).unwrap();
    lock.busy_timeout(LONG).unwrap();
    let begun = Instant::now();
    let mut attempt = 0;
    loop {
        attempt += 1;
        assert!(begun.elapsed() < 2 * SOON, "the caller was never alone");
        // At times the writer thread has work of its own and writes instead.
        pay(store, &format!("before {attempt}")).unwrap();
        pause();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let panicking = OnEvent(Level::WARN, |_: &Event<'_>| panic!("a subscriber that panics"));
        let soon =
            || effect(Form::Sync, store, key, OnInterrupt::Refuse, Duration::ZERO, || Ok(String::new()));
        let error = with_default(panicking, soon).unwrap_err();
        lock.execute_batch("ROLLBACK").unwrap();
        if error.to_string().contains("ended unexpectedly") {
            return error;
        }
    }
}

#[test]
fn a_panic_in_an_inline_write_ends_the_store() {
    let place = Place::new();
    let store = place.open();
    let begun = Instant::now();
    assert_eq!(break_down(&place, &store, "k").kind(), ErrorKind::Store);
    assert!(begun.elapsed() < SOON);
    assert_ended(&place, store);
    assert!(place.open().get(NAME, "k").unwrap().is_none());
}

#[test]
fn a_waker_that_panics_in_an_inline_write_harms_no_other_waiter() {
    let place = Place::new();
    let store = place.open();
    // The writer thread has work after the first commit, and then once a second at most.
    pay(&store, "before").unwrap();
    pause();
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let store = &store;
        let paying = scope.spawn(|| halting(Form::Sync, store, &halt, "k", "paid"));
        halt.wait_for(1);
        let again = || {
            let call = call(NAME).store(store).key("k");
            call.run_async(async || Ok::<String, Error>("again".to_owned()))
        };
        let mut waiters = [again(), again()].map(Box::pin);
        let calm = Arc::new(Woken::default());
        let wakers = [Waker::from(Arc::new(Panicking)), Waker::from(Arc::clone(&calm))];
        for (waiter, waker) in waiters.iter_mut().zip(&wakers) {
            assert!(waiter.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        halt.let_all_go();
        assert_eq!(paying.join().unwrap().unwrap(), "paid");
        eventually("the other one is woken", || calm.0.load(Ordering::SeqCst));
    });
    assert_eq!(pay(&store, "later").unwrap(), "later");
    store.close().unwrap();
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls its task on the thread that wakes it.
struct Inline(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut task = self.0.lock().unwrap();
        if let Some(future) = task.as_mut()
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *task = None;
        }
    }
}

#[test]
fn a_task_that_an_inline_write_wakes_is_not_inside_its_call() {
    let place = Place::new();
    let store = place.open();
    let (tell, found) = std::sync::mpsc::channel();
    let there = store.clone();
    let task = async move {
        let inner = call("lone.inner").store(&there).key("k").run_async(async || Ok::<u32, Error>(1)).await;
        let stands_in = current().map(|call| call.name().to_owned());
        let outer = call("lone.outer").store(&there).key("k").wait(Duration::ZERO);
        let outer = outer.run_async(async || Ok::<u32, Error>(3)).await.map_err(|error| error.kind());
        tell.send((inner.unwrap(), stands_in, outer)).unwrap();
    };
    let task = Arc::new(Inline(Mutex::new(Some(Box::pin(task)))));
    let outer: Result<u32, Error> = call("lone.outer").store(&store).key("k").run(|| {
        call("lone.inner").store(&store).key("k").run(|| {
            let task = Arc::clone(&task);
            // The task waits for this very call, and the end of the call wakes it.
            std::thread::spawn(move || task.wake()).join().unwrap();
            Ok(1)
        })
    });
    assert_eq!(outer.unwrap(), 1);
    assert_eq!(found.recv_timeout(SOON).unwrap(), (1, None, Err(ErrorKind::Running)));
}

#[test]
fn a_call_that_ends_after_a_broken_store_was_closed_is_answered_at_once() {
    let place = Place::new();
    let store = place.open();
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let store = &store;
        let paying = scope.spawn(|| halting(Form::Sync, store, &halt, "k", "paid"));
        halt.wait_for(1);
        break_down(&place, store, "other");
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Store);
        let begun = Instant::now();
        halt.let_all_go();
        assert_eq!(paying.join().unwrap().unwrap_err().kind(), ErrorKind::NotRecorded);
        assert!(begun.elapsed() < SOON);
    });
}
