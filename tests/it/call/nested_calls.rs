//! Calls inside calls: each has a record of its own.

use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Filter, Status, Store, idempotent, with_store, with_store_async};
use idem_tests::deadline;
use idem_tests::form::{in_every_form, kind, tokio_alone};
use idem_tests::halt::Runs;
use idem_tests::plain::{block_on, yield_now};
use idem_tests::shared::call;

#[idempotent(name = "nested.inner", key = id, skip(runs))]
fn inner(id: u32, runs: &Runs) -> Result<usize, Error> {
    let _ = id;
    runs.count(Ok)
}

#[idempotent(name = "nested.outer", key = id, skip(runs))]
fn outer(id: u32, runs: &Runs) -> Result<(usize, usize), Error> {
    Ok((inner(id, runs)?, inner(id + 1, runs)?))
}

#[idempotent(name = "nested.inner.async", key = id, skip(runs))]
async fn inner_async(id: u32, runs: &Runs) -> Result<usize, Error> {
    let _ = id;
    yield_now().await;
    runs.count(Ok)
}

#[idempotent(name = "nested.outer.async", key = id, skip(runs))]
async fn outer_async(id: u32, runs: &Runs) -> Result<(usize, usize), Error> {
    Ok((inner_async(id, runs).await?, inner_async(id + 1, runs).await?))
}

// Field 6.
#[test]
fn inner_and_outer_calls_have_records_of_their_own() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let runs = Runs::new();
        assert_eq!([outer(1, &runs).unwrap(), outer(1, &runs).unwrap()], [(1, 2); 2]);
        assert_eq!(inner(2, &runs).unwrap(), 2, "an inner call counts outside");
        assert_eq!(outer(2, &runs).unwrap(), (2, 3), "and the other way round");
        let runs = Runs::new();
        let made = |id| block_on(outer_async(id, &runs)).unwrap();
        assert_eq!([made(1), made(1), made(2)], [(1, 2), (1, 2), (2, 3)]);
    });
    let records = store.list(&Filter::new()).unwrap();
    assert!(records.iter().all(|record| record.status() == Status::Done));
    assert_eq!(records.len(), 10);
}

#[test]
fn a_call_that_reaches_itself_is_refused() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let me = || call("nested.me").store(&store).key("A-17").map_err(kind);
        let body = || {
            // Directly, and through another call; at once, and not after a wait.
            assert_eq!(me().run(|| Ok::<u32, _>(1)), Err(ErrorKind::Reentrant));
            let between = call("nested.between").store(&store).key("A-17").map_err(kind);
            assert_eq!(between.run(|| me().run(|| Ok::<u32, _>(1))), Err(ErrorKind::Reentrant));
            Ok(7)
        };
        assert_eq!(form.make(me(), body), Ok(7), "the body may cope with it");
        assert_eq!(form.make(me(), || Ok(8)), Ok(7));
    });
}

#[test]
fn recursion_with_another_key_is_fine() {
    #[idempotent(name = "nested.factorial", key = n)]
    fn factorial(n: u64) -> Result<u64, Error> {
        if n == 0 { Ok(1) } else { Ok(n * factorial(n - 1)?) }
    }
    #[idempotent(name = "nested.factorial.async", key = n)]
    async fn asynchronous(n: u64) -> Result<u64, Error> {
        if n == 0 { Ok(1) } else { Ok(n * Box::pin(asynchronous(n - 1)).await?) }
    }
    #[idempotent(name = "nested.loop", key = n % 3)]
    fn runs_into_itself(n: u64) -> Result<u64, Error> {
        runs_into_itself(n + 1)
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(factorial(10).unwrap(), 3_628_800);
        assert_eq!(block_on(asynchronous(10)).unwrap(), 3_628_800);
        assert_eq!(store.stats().unwrap().records, 22);
        // Other arguments, the same key: the mismatch is the first thing to say.
        assert_eq!(runs_into_itself(0).unwrap_err().kind(), ErrorKind::Mismatch);
    });
}

#[test]
fn siblings_inside_one_body_wait_for_each_other() {
    #[idempotent(name = "nested.siblings", key = id, skip(runs))]
    async fn siblings(id: u32, runs: &Runs) -> Result<Vec<usize>, Error> {
        let same = || inner_async(id, runs);
        let (a, b, c) = tokio::join!(same(), same(), same());
        Ok(vec![a?, b?, c?])
    }
    let (store, runs) = (Store::temporary().unwrap(), Runs::new());
    let made = tokio_alone().block_on(with_store_async(&store, siblings(1, &runs)));
    assert_eq!(made.unwrap(), [1, 1, 1], "the siblings are not inside each other");
}

#[test]
fn the_scope_of_a_body_ends_with_it() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let me = || call("nested.me").store(&store).key("A-17").map_err(kind);
        form.cut_off(call("nested.me").store(&store).key("A-17"));
        // Still on that thread: in doubt, and not inside of itself.
        assert_eq!(form.make(me(), || Ok::<u32, _>(1)), Err(ErrorKind::InDoubt));
        let mut pending = Box::pin(
            call("nested.other")
                .store(&store)
                .key("A-17")
                .run_async(async || std::future::pending::<Result<u32, Error>>().await),
        );
        for _ in 0..3 {
            assert!(idem_tests::plain::poll_once(pending.as_mut()).is_pending());
            idem_tests::halt::pause();
        }
        let none = Duration::ZERO;
        let beside = call("nested.other").store(&store).key("A-17").map_err(kind).wait(none);
        assert_eq!(form.make(beside, || Ok::<u32, _>(1)), Err(ErrorKind::Running), "between two polls");
    });
}

#[test]
fn a_thread_that_a_body_starts_is_not_inside_the_call() {
    deadline::start();
    let store = Store::temporary().unwrap();
    let me = || call("nested.me").store(&store).key("A-17").map_err(kind).wait(Duration::ZERO);
    let made = me().run(|| {
        let other = std::thread::scope(|scope| scope.spawn(|| me().run(|| Ok::<u32, _>(1))).join().unwrap());
        assert_eq!(other, Err(ErrorKind::Running));
        Ok(2)
    });
    assert_eq!(made, Ok(2));
}
