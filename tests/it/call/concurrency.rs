//! Many threads and tasks at once.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, OnInterrupt, Store, idempotent, with_store};
use idem_tests::deadline;
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::Runs;
use idem_tests::shared::call;

fn pay(store: &Store, key: &str) -> Call {
    call("concurrency.pay").store(store).key(key).wait(Duration::from_secs(60))
}

/// Runs `body` on so many threads at once, with their numbers, and gives their answers.
fn together<T: Send + 'static>(threads: usize, body: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let (body, start) = (Arc::new(body), Arc::new(Barrier::new(threads)));
    let threads: Vec<_> = (0..threads)
        .map(|number| {
            let (body, start) = (Arc::clone(&body), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                body(number)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

// Rule 1. Field 18.
#[test]
fn fifty_first_calls_run_the_body_once() {
    in_every_form(|form| {
        let (store, runs) = (Store::temporary().unwrap(), Runs::new());
        let counted = Arc::clone(&runs);
        let answers = together(50, move |_| {
            form.make(pay(&store, "A-17"), || counted.count(Ok::<usize, Error>)).unwrap()
        });
        assert_eq!(answers, [1; 50]);
        assert_eq!(runs.started(), 1);
    });
}

// Rule 1. Field 18.
#[test]
fn fifty_tasks_on_one_runtime_run_the_body_once() {
    #[idempotent(name = "concurrency.task", key = id, skip(runs))]
    async fn task(id: u32, runs: Arc<Runs>) -> Result<usize, Error> {
        tokio::task::yield_now().await;
        runs.count(Ok)
    }
    let (store, runs) = (Store::temporary().unwrap(), Runs::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (store, runs) = (store.clone(), Arc::clone(&runs));
                tokio::spawn(async move { idem_runtime::with_store_async(&store, task(7, runs)).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), 1);
        }
    });
    assert_eq!(runs.started(), 1);
}

// Field 18.
#[test]
fn many_keys_by_many_callers_run_once_each() {
    in_every_form(|form| {
        let (store, runs) = (Store::temporary().unwrap(), Runs::new());
        let (counted, of_threads) = (Arc::clone(&runs), store.clone());
        let answers = together(8, move |_| {
            let key = |n: usize| format!("order {n}");
            let made = (0..20).map(|n| {
                form.make(pay(&of_threads, &key(n)), || counted.count(|_| Ok::<usize, Error>(n))).unwrap()
            });
            made.collect::<Vec<_>>()
        });
        for answer in answers {
            assert_eq!(answer, (0..20).collect::<Vec<_>>());
        }
        assert_eq!(runs.started(), 20);
        assert_eq!(store.stats().unwrap().records, 20);
    });
}

// Rule 3 and 5: a row that was read just before its call ended is no sign of a crash.
#[test]
fn released_calls_are_never_in_doubt() {
    in_every_form(|form| {
        let (store, runs) = (Store::temporary().unwrap(), Runs::new());
        let counted = Arc::clone(&runs);
        let kinds = together(8, move |_| {
            let release = || counted.count(|_| Err::<usize, _>(None::<ErrorKind>));
            let ours = |error: Error| Some(error.kind());
            let errors = (0..15).map(|_| form.make(pay(&store, "A-17").map_err(ours), release).unwrap_err());
            errors.flatten().collect::<Vec<ErrorKind>>()
        });
        assert_eq!(kinds.concat(), [], "every caller got the error of its own run");
        assert_eq!((runs.started(), runs.most_at_once()), (120, 1));
    });
}

// Rule 1: also where it is a rerun that is claimed.
#[test]
fn of_many_callers_that_may_rerun_one_does() {
    in_every_form(|form| {
        let (store, runs) = (Store::temporary().unwrap(), Runs::new());
        form.cut_off(pay(&store, "A-17"));
        let counted = Arc::clone(&runs);
        let answers = together(20, move |_| {
            let rerun = pay(&store, "A-17").on_interrupt(OnInterrupt::rerun());
            form.make(rerun, || counted.count(Ok::<usize, Error>)).unwrap()
        });
        assert_eq!(answers, [1; 20]);
        assert_eq!(runs.started(), 1);
    });
}

// Rule 1: the place of an expired record is taken once.
#[test]
fn of_many_callers_after_the_ttl_one_runs() {
    in_every_form(|form| {
        let clock = idem_tests::hand_clock::HandClock::summer();
        let (_folder, store) = clock.store();
        let runs = Runs::new();
        for round in 1..=3 {
            let (of_threads, counted) = (store.clone(), Arc::clone(&runs));
            let answers = together(12, move |_| {
                let short = pay(&of_threads, "A-17").ttl(Duration::from_secs(60));
                form.make(short, || counted.count(Ok::<usize, Error>)).unwrap()
            });
            assert_eq!(answers, vec![round; 12]);
            clock.pass(Duration::from_secs(61));
        }
        assert_eq!(runs.started(), 3);
    });
}

// Field 24.
#[test]
fn a_store_that_purges_under_load_loses_no_live_record() {
    let clock = idem_tests::hand_clock::HandClock::summer();
    let (_folder, store) = clock.store();
    let runs = Runs::new();
    let (of_threads, counted) = (store.clone(), Arc::clone(&runs));
    together(6, move |number| {
        for n in 0..25 {
            let key = format!("{number}/{n}");
            let (short, kept) = (format!("short {key}"), format!("kept {key}"));
            let short = pay(&of_threads, &short).ttl(Duration::from_secs(1));
            Form::Sync.make(short, || Ok::<usize, Error>(n)).unwrap();
            let paid = Form::Sync.make(pay(&of_threads, &kept), || counted.count(|_| Ok::<usize, Error>(n)));
            assert_eq!(paid.unwrap(), n);
            if number == 0 {
                clock.pass(Duration::from_secs(90));
                of_threads.purge_expired(50).unwrap();
            }
        }
    });
    let (counted, again) = (Arc::clone(&runs), store.clone());
    for (number, n) in (0..6).flat_map(|number| (0..25).map(move |n| (number, n))) {
        let call = pay(&again, &format!("kept {number}/{n}"));
        assert_eq!(call.run(|| counted.count(|_| Ok::<usize, Error>(999))).unwrap(), n);
    }
    assert_eq!(runs.started(), 150);
    assert_eq!(store.verify().unwrap(), Vec::<String>::new());
}

// Field 7: the same key of two names, and of two stores, are different calls.
#[test]
fn names_and_stores_share_no_keys() {
    deadline::start();
    let (one, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let made = |store: &Store, name: &'static str, n: usize| {
        with_store(store, || call(name).key("A-17").run(|| Ok::<usize, Error>(n)).unwrap())
    };
    assert_eq!(made(&one, "concurrency.a", 1), 1);
    assert_eq!(made(&one, "concurrency.b", 2), 2);
    assert_eq!(made(&other, "concurrency.a", 3), 3);
}
