//! Async calls need no runtime: no reactor, no timer and no thread of an executor.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, Store, idempotent, with_store_async};
use idem_tests::form::Form;
use idem_tests::halt::{Halt, pause};
use idem_tests::plain::{block_on, poll_once, yield_now};
use idem_tests::shared::call;

const NAME: &str = "executor.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// Starts a call on another thread that runs until the halt lets it go.
fn start(store: &Store) -> (Arc<Halt>, thread::JoinHandle<u32>) {
    let (halt, call) = (Halt::new(), pay(store));
    let stands = Arc::clone(&halt);
    let body = move || {
        stands.stand();
        Ok::<u32, Error>(1)
    };
    let running = thread::spawn(move || call.run(body).unwrap());
    halt.wait_for(1);
    (halt, running)
}

#[idempotent(name = "executor.annotated", key = id)]
async fn annotated(id: &str) -> Result<u32, Error> {
    yield_now().await;
    Ok(u32::from(!id.is_empty()))
}

#[test]
fn calls_run_and_replay_on_a_plain_executor() {
    let store = Store::temporary().unwrap();
    for _ in 0..3 {
        assert_eq!(block_on(with_store_async(&store, annotated("A-17"))).unwrap(), 1);
    }
    assert_eq!(store.stats().unwrap().records, 1);
}

#[test]
fn a_wait_times_out_without_a_timer_of_the_executor() {
    let store = Store::temporary().unwrap();
    let (halt, running) = start(&store);
    let short = pay(&store).wait(Duration::from_millis(50));
    let refused = block_on(short.run_async(async || Ok::<u32, Error>(2)));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Running);
    halt.let_all_go();
    running.join().unwrap();
}

/// Counts how often it is woken.
struct Counting {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

// Field 10: a waiter is woken, it does not poll.
#[test]
fn a_waiting_task_sleeps_until_it_is_woken() {
    let store = Store::temporary().unwrap();
    let (halt, running) = start(&store);
    let counting = Arc::new(Counting { thread: thread::current(), wakes: AtomicUsize::new(0) });
    let waker = Waker::from(Arc::clone(&counting));
    let mut context = Context::from_waker(&waker);
    let mut waiter = pin!(pay(&store).run_async(async || Ok::<u32, Error>(2)));
    assert!(waiter.as_mut().poll(&mut context).is_pending());
    // Longer than the store looks at a running call of its own.
    (0..8).for_each(|_| pause());
    assert_eq!(counting.wakes.load(Ordering::SeqCst), 0, "nothing has happened yet");
    halt.let_all_go();
    let answer = loop {
        match waiter.as_mut().poll(&mut context) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => thread::park_timeout(Duration::from_secs(1)),
        }
    };
    assert_eq!(answer.unwrap(), 1);
    assert!(counting.wakes.load(Ordering::SeqCst) <= 2);
    running.join().unwrap();
}

#[test]
fn a_task_may_be_polled_too_often_and_with_changing_wakers() {
    let store = Store::temporary().unwrap();
    let (halt, running) = start(&store);
    let mut waiter = Box::pin(pay(&store).run_async(async || Ok::<u32, Error>(2)));
    for _ in 0..100 {
        assert!(poll_once(waiter.as_mut()).is_pending());
    }
    // The waker of the last poll is the one that counts.
    let moved = thread::spawn(move || block_on(waiter));
    pause();
    halt.let_all_go();
    assert_eq!(moved.join().unwrap().unwrap(), 1);
    running.join().unwrap();
}

#[test]
fn sync_tokio_and_plain_callers_wait_for_each_other() {
    for first in Form::ALL {
        let store = Store::temporary().unwrap();
        let halt = Halt::new();
        let stands = Arc::clone(&halt);
        let running = first.spawn(pay(&store), move || {
            stands.stand();
            Ok::<u32, Error>(1)
        });
        halt.wait_for(1);
        let others: Vec<_> =
            Form::ALL.iter().map(|form| form.spawn(pay(&store), || Ok::<u32, Error>(2))).collect();
        pause();
        halt.let_all_go();
        for caller in others.into_iter().chain([running]) {
            assert_eq!(caller.join().unwrap().0.unwrap(), 1);
        }
    }
}

#[test]
fn futures_of_calls_go_to_other_threads() {
    fn is_send<F: Future + Send>(future: F) -> F {
        future
    }
    let store = Store::temporary().unwrap();
    let call = is_send(pay(&store).arg("cents", &5).run_async(async || Ok::<u32, Error>(1)));
    assert_eq!(block_on(call).unwrap(), 1);
    drop(is_send(with_store_async(&store, annotated("A-17"))));
}
