//! The store of a call: its own, the one in scope, or the default store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use idem_runtime::{Error, ErrorKind, Store, idempotent, init, init_with, with_store, with_store_async};
use idem_tests::deadline;
use idem_tests::plain::{block_on, yield_now};
use idem_tests::shared::call;

#[idempotent(name = "scoped.sync", key = id)]
fn sync(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[idempotent(name = "scoped.async", key = id)]
async fn asynchronous(id: u32) -> Result<u32, Error> {
    yield_now().await;
    Ok(id)
}

fn count(store: &Store) -> u64 {
    store.stats().unwrap().records
}

#[test]
fn the_innermost_scope_applies_and_ends_with_its_closure() {
    let (a, b) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    with_store(&a, || {
        sync(1).unwrap();
        with_store(&b, || sync(2).unwrap());
        sync(3).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| with_store(&b, || panic!("on purpose"))));
        assert!(panicked.is_err());
        sync(4).unwrap();
    });
    assert_eq!((count(&a), count(&b)), (3, 1));
}

#[test]
fn a_store_that_is_named_counts_more_than_the_scope() {
    deadline::start();
    #[idempotent(name = "scoped.named", key = id, store = store, skip(store))]
    fn named(id: u32, store: &Store) -> Result<u32, Error> {
        Ok(id)
    }
    let (a, b) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    with_store(&a, || {
        named(1, &b).unwrap();
        call("scoped.builder").store(&b).key(&1).run(|| Ok::<u32, Error>(1)).unwrap();
        let shared = std::sync::Arc::new(b.clone());
        call("scoped.builder").store(shared).key(&2).run(|| Ok::<u32, Error>(1)).unwrap();
    });
    assert_eq!((count(&a), count(&b)), (0, 3));
}

#[test]
fn tasks_on_one_thread_keep_their_scopes_apart() {
    let (a, b) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    idem_tests::form::tokio_alone().block_on(async {
        let three = |store: Store, from: u32| async move {
            for n in from..from + 3 {
                yield_now().await;
                asynchronous(n).await.unwrap();
            }
            drop(store);
        };
        let in_a = with_store_async(&a, three(a.clone(), 0));
        let in_b = with_store_async(&b, async {
            three(b.clone(), 10).await;
            // The scope of a scope.
            with_store_async(&a, asynchronous(99)).await.unwrap();
            sync(13).unwrap();
        });
        tokio::join!(in_a, in_b);
    });
    assert_eq!((count(&a), count(&b)), (4, 4));
}

#[test]
fn a_task_keeps_its_scope_on_every_thread() {
    let store = Store::temporary().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..16)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    with_store_async(&store, async {
                        for _ in 0..5 {
                            tokio::task::yield_now().await;
                            asynchronous(n).await.unwrap();
                        }
                    })
                    .await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(count(&store), 16);
}

#[test]
fn a_scope_does_not_reach_other_threads_and_spawned_tasks() {
    deadline::start();
    in_a_process_of_its_own("call::store_in_scope::other_threads_have_no_scope");
}

#[test]
fn a_program_has_one_store() {
    in_a_process_of_its_own("call::store_in_scope::the_program_has_one_default_store");
}

/// The program's store lasts as long as the process, so these tests get a process each.
fn in_a_process_of_its_own(test: &str) {
    deadline::start();
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--ignored", "--exact", test]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
#[ignore = "run by `a_scope_does_not_reach_other_threads_and_spawned_tasks`"]
fn other_threads_have_no_scope() {
    let store = Store::temporary().unwrap();
    let kind = with_store(&store, || std::thread::spawn(|| sync(1).unwrap_err().kind()).join().unwrap());
    assert_eq!(kind, ErrorKind::NotInitialised);
    let kind = idem_tests::form::tokio_alone().block_on(with_store_async(&store, async {
        tokio::spawn(async { asynchronous(1).await.unwrap_err().kind() }).await.unwrap()
    }));
    assert_eq!(kind, ErrorKind::NotInitialised);
    assert_eq!(count(&store), 0);
}

#[test]
#[ignore = "run by `a_program_has_one_store`"]
fn the_program_has_one_default_store() {
    let error = sync(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInitialised);
    assert!(error.help().contains("`idem_runtime::init(Store::open(…)?)`"), "{error:?}");
    assert_eq!(block_on(asynchronous(1)).unwrap_err().kind(), ErrorKind::NotInitialised);

    let failed = init_with(|| Store::open("")).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Store);
    let store = Store::temporary().unwrap();
    init(store.clone()).unwrap();
    init(store.clone()).expect("the same store again is fine");
    let other = Store::temporary().unwrap();
    assert_eq!(init(other.clone()).unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(init_with(|| panic!("there is one")).unwrap().path(), store.path());

    sync(1).unwrap();
    block_on(asynchronous(1)).unwrap();
    with_store(&other, || sync(2).unwrap());
    assert_eq!((count(&store), count(&other)), (2, 1));
}
