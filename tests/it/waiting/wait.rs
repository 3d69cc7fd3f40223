//! `wait`: the time that a duplicate waits for a running call.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use idem_runtime::{Call, Error, ErrorKind, Store, idempotent, observe, with_store};
use idem_tests::form::{in_every_form, tokio_alone};
use idem_tests::halt::{Halt, pause};
use idem_tests::plain::block_on;
use idem_tests::shared::call;

const NAME: &str = "wait.pay";
const SHORT: Duration = Duration::from_millis(50);

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// Starts a call on another thread that runs until the halt lets it go.
fn start(store: &Store) -> (Arc<Halt>, JoinHandle<u32>) {
    let (halt, call) = (Halt::new(), pay(store));
    let stands = Arc::clone(&halt);
    let body = move || {
        stands.stand();
        Ok::<u32, Error>(1)
    };
    let running = std::thread::spawn(move || call.run(body).unwrap());
    halt.wait_for(1);
    (halt, running)
}

// Field 10.
#[test]
fn a_duplicate_waits_as_long_as_it_says() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let (halt, running) = start(&store);
        let begun = Instant::now();
        let error = form.make(pay(&store).wait(SHORT), || Ok::<u32, Error>(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Running);
        assert!(begun.elapsed() >= SHORT);
        assert!(error.to_string().contains("50ms"), "the error names the wait: {error}");
        halt.let_all_go();
        assert_eq!(running.join().unwrap(), 1);
        assert_eq!(form.make(pay(&store).wait(SHORT), || Ok::<u32, Error>(2)).unwrap(), 1);
    });
}

#[test]
fn the_time_waited_is_observed() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let (halt, running) = start(&store);
        let waiter = form.spawn(pay(&store), || Ok::<u32, Error>(2));
        pause();
        halt.let_all_go();
        let (paid, seen) = waiter.join().unwrap();
        let seen = seen.unwrap();
        assert_eq!((paid.unwrap(), seen.attempt, seen.replayed.is_some()), (1, 1, true));
        running.join().unwrap();
        let (_, seen) = observe(|| form.make(pay(&store), || Ok::<u32, Error>(2)));
        assert_eq!(seen.unwrap().waited, Duration::ZERO);
    });
}

#[test]
fn a_wait_of_zero_refuses_a_running_call_at_once() {
    #[idempotent(name = "wait.pay", key = id, wait = "0s", same_for_types)]
    fn sync(id: &str) -> Result<u32, Error> {
        Ok(id.len().try_into().unwrap_or(0))
    }
    #[idempotent(name = "wait.pay", key = id, wait = "0s")]
    async fn elsewhere(id: &str) -> Result<u32, Error> {
        Ok(id.len().try_into().unwrap_or(0))
    }
    let store = Store::temporary().unwrap();
    let (halt, running) = start(&store);
    with_store(&store, || {
        assert_eq!(sync("A-17").unwrap_err().kind(), ErrorKind::Running);
        // The second function of that name is refused for it, which comes first.
        assert_eq!(block_on(elsewhere("A-17")).unwrap_err().kind(), ErrorKind::DuplicateName);
    });
    let async_call = pay(&store).wait(Duration::ZERO).run_async(async || Ok::<u32, Error>(2));
    assert_eq!(block_on(async_call).unwrap_err().kind(), ErrorKind::Running);
    halt.let_all_go();
    running.join().unwrap();
}

#[test]
fn a_wait_of_zero_runs_and_replays() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = |n: u32| form.make(pay(&store).wait(Duration::ZERO), || Ok::<u32, Error>(n)).unwrap();
        assert_eq!([made(1), made(2)], [1, 1]);
    });
}

// A waiting task does not block its thread.
#[test]
fn a_waiting_task_leaves_its_thread_free() {
    let store = Store::temporary().unwrap();
    let (halt, running) = start(&store);
    let runtime = tokio_alone();
    let (waited, ()) = runtime.block_on(async {
        let ends_it = async {
            tokio::task::yield_now().await;
            halt.let_all_go();
        };
        tokio::join!(pay(&store).run_async(async || Ok::<u32, Error>(2)), ends_it)
    });
    assert_eq!(waited.unwrap(), 1);
    running.join().unwrap();
}
