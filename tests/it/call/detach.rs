//! `detach`: the body runs to its end after its caller has gone, and a retry joins it.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use idem_runtime::{
    Call, Detached, Error, ErrorKind, FromError, Status, Store, Verdict, current, idempotent, observe_async,
    on_err, with_store_async,
};
use idem_tests::form::tokio_alone;
use idem_tests::halt::{Halt, Runs, eventually};
use idem_tests::plain::{poll_once, yield_now};
use idem_tests::shared::call;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub(crate) const NAME: &str = "detach.pay";

pub(crate) fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

pub(crate) fn detached(store: &Store) -> Detached<on_err::Release, FromError> {
    pay(store).detach()
}

pub(crate) fn status(store: &Store) -> Option<Status> {
    store.get(NAME, "A-17").unwrap().map(|record| record.status())
}

pub(crate) type Paid = Result<usize, Error>;

pub(crate) async fn not_run() -> Paid {
    unreachable!("the body ran")
}

/// A body that stands until the test lets it continue, and the number of its runs.
#[derive(Clone, Default)]
pub(crate) struct Body {
    pub(crate) runs: Arc<Runs>,
    pub(crate) stands: Arc<Notify>,
    pub(crate) go_on: Arc<Notify>,
}

impl Body {
    /// Its future owns all it uses.
    pub(crate) fn run(&self) -> impl Future<Output = Paid> + Send + use<> {
        let body = self.clone();
        async move {
            let number = body.runs.count(|number| number);
            body.stands.notify_one();
            body.go_on.notified().await;
            Ok(number)
        }
    }
}

pub(crate) fn runtimes() -> [Runtime; 2] {
    [tokio_alone(), Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()]
}

// Field 9.
#[test]
fn the_body_ends_though_its_caller_is_gone_and_a_retry_joins_it() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let body = Body::default();
            let calling = detached(&store).run_async({
                let body = body.clone();
                move || body.run()
            });
            let given_up = tokio::select! {
                paid = calling => Some(paid),
                () = body.stands.notified() => None,
            };
            assert!(given_up.is_none(), "the body did not stand");
            assert_eq!(status(&store), Some(Status::Running));
            let body_again = body.clone();
            let retry = tokio::spawn({
                let store = store.clone();
                async move { observe_async(detached(&store).run_async(move || body_again.run())).await }
            });
            // A call without `detach` joins it too.
            let joined = observe_async(pay(&store).run_async(not_run));
            let let_go = async {
                yield_now().await;
                body.go_on.notify_one();
            };
            let ((joined, _), ()) = tokio::join!(joined, let_go);
            let (retried, seen) = retry.await.unwrap();
            assert_eq!((joined.unwrap(), retried.unwrap(), body.runs.started()), (1, 1, 1));
            assert!(seen.unwrap().replayed.is_some());
        });
    }
}

// Field 9: aborted, timed out, dropped.
#[test]
fn the_outcome_is_recorded_in_whatever_way_the_caller_goes() {
    for runtime in runtimes() {
        runtime.block_on(async {
            for way in ["abort", "timeout", "drop"] {
                let store = Store::temporary().unwrap();
                let body = Body::default();
                let calling = {
                    let (store, body) = (store.clone(), body.clone());
                    async move { detached(&store).run_async(move || body.run()).await }
                };
                match way {
                    "abort" => {
                        let task = tokio::spawn(calling);
                        body.stands.notified().await;
                        task.abort();
                        assert!(task.await.unwrap_err().is_cancelled());
                    }
                    "timeout" => {
                        let mut calling = Box::pin(calling);
                        tokio::select! {
                            paid = &mut calling => panic!("the call ended: {paid:?}"),
                            () = body.stands.notified() => {}
                        }
                        assert!(timeout(Duration::from_millis(5), calling).await.is_err());
                    }
                    _ => {
                        let task = tokio::spawn(async move {
                            tokio::select! { _ = calling => {}, () = pending() => {} }
                        });
                        body.stands.notified().await;
                        drop(task);
                    }
                }
                assert_eq!(status(&store), Some(Status::Running), "{way}");
                body.go_on.notify_one();
                assert_eq!(pay(&store).run_async(not_run).await.unwrap(), 1, "{way}");
                assert_eq!(status(&store), Some(Status::Done), "{way}");
            }
        });
    }
}

#[test]
fn under_a_paused_clock_no_detached_outcome_is_lost() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let store = Store::temporary().unwrap();
        let runs = Runs::new();
        let slow = |runs: &Arc<Runs>| {
            let runs = Arc::clone(runs);
            move || async move {
                let number = runs.count(|number| number);
                sleep(Duration::from_secs(3_600)).await;
                Ok::<_, Error>(number)
            }
        };
        // The clock jumps when the runtime is idle: the caller may go before its call is claimed.
        for _ in 0..20 {
            let given_up = timeout(Duration::from_secs(1), detached(&store).run_async(slow(&runs))).await;
            assert!(given_up.is_err() || runs.started() == 1);
        }
        assert_eq!(detached(&store).run_async(slow(&runs)).await.unwrap(), 1);
        assert_eq!((runs.started(), status(&store)), (1, Some(Status::Done)));
    });
}

// Rule 9.
#[test]
fn a_detached_call_that_is_dropped_before_its_body_starts_leaves_no_trace() {
    tokio_alone().block_on(async {
        let store = Store::temporary().unwrap();
        for _ in 0..10 {
            let mut calling = Box::pin(detached(&store).run_async(not_run));
            // The claim is on its way, or given.
            assert!(poll_once(calling.as_mut()).is_pending());
            drop(calling);
        }
        eventually("the call is released", || status(&store).is_none());
        assert_eq!(detached(&store).run_async(async || Ok::<_, Error>(5)).await.unwrap(), 5);
    });
}

#[test]
fn a_detached_call_is_replayed_and_observed_like_any_other() {
    tokio_alone().block_on(async {
        let store = Store::temporary().unwrap();
        let call = detached(&store).run_async(async || Ok::<_, Error>(1_usize));
        let (paid, seen) = observe_async(call).await;
        assert_eq!((paid.unwrap(), seen.unwrap().replayed), (1, None));
        let (paid, seen) = observe_async(detached(&store).run_async(not_run)).await;
        assert_eq!(paid.unwrap(), 1);
        assert!(seen.unwrap().replayed.is_some());
        let other = pay(&store).arg("cents", &5).detach().run_async(not_run).await;
        // The first call compared nothing, so there is nothing to differ from.
        assert_eq!(other.unwrap(), 1);
        // A replay needs no task. No executor would run one here.
        let replay = poll_once(Box::pin(detached(&store).run_async(not_run)).as_mut());
        assert!(matches!(replay, Poll::Ready(Ok(1))));
    });
}

#[test]
fn a_detached_body_keeps_the_scope_of_its_caller() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let store = Store::temporary().unwrap();
            let in_scope = with_store_async(&store, async {
                call(NAME)
                    .key("outer")
                    .detach()
                    .run_async(|| async {
                        yield_now().await;
                        let outer = current().unwrap();
                        assert_eq!((outer.name(), outer.key(), outer.attempt()), (NAME, "outer", 1));
                        let itself: Paid = call(NAME).key("outer").detach().run_async(not_run).await;
                        assert_eq!(itself.unwrap_err().kind(), ErrorKind::Reentrant);
                        // The store in scope, too.
                        let inner = call(NAME).key("inner").detach().run_async(|| async {
                            yield_now().await;
                            Ok::<_, Error>(current().unwrap().key().to_owned())
                        });
                        assert_eq!(inner.await?, "inner");
                        assert_eq!(current().unwrap().key(), "outer");
                        Ok::<_, Error>(outer.token())
                    })
                    .await
            });
            assert_eq!(in_scope.await.unwrap().len(), 36);
            assert_eq!(store.stats().unwrap().records, 2);
            assert!(current().is_none());
        });
    }
}

#[test]
fn a_hook_is_not_detached_and_the_body_after_it_is() {
    tokio_alone().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let builder = Store::builder().settle_window(Duration::ZERO);
        let store = builder.open(folder.path().join("idem.db")).unwrap();
        let in_doubt = pay(&store).on_err(on_err::InDoubt).detach();
        let lost = in_doubt.run_async(async || Err::<usize, _>("lost".to_owned())).await;
        assert_eq!(lost, Err("lost".to_owned()));

        // The hook is dropped with its caller.
        {
            let asked = detached(&store).recover_async(async || pending::<Verdict<usize>>().await);
            let mut asked = Box::pin(asked);
            eventually("the hook runs", || {
                assert!(poll_once(asked.as_mut()).is_pending());
                status(&store) == Some(Status::Running)
            });
        }
        eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));

        // The body does not.
        let body = Body::default();
        let calling = {
            let (store, body) = (store.clone(), body.clone());
            async move {
                let asked = detached(&store).recover_async(async || Verdict::NotDone).await;
                asked.run_async(move || body.run()).await
            }
        };
        let task = tokio::spawn(calling);
        body.stands.notified().await;
        task.abort();
        body.go_on.notify_one();
        let asked =
            detached(&store).recover_async(async || -> Verdict<usize> { unreachable!("asked") }).await;
        assert_eq!(asked.run_async(not_run).await.unwrap(), 1);
        assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().attempt(), 2);
    });
}

#[derive(Debug, Default)]
struct Shop {
    charged: Mutex<Vec<String>>,
    halt: Arc<Halt>,
}

/// Notifies when it is dropped.
struct Permit(Arc<Mutex<Vec<String>>>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("the permit is free".to_owned());
    }
}

impl Shop {
    #[idempotent(name = "detach.charge", key = order, skip(self, permit, said), on_interrupt = rerun, detach)]
    async fn charge(
        self: Arc<Self>,
        order: String,
        said: Arc<Mutex<Vec<String>>>,
        permit: Permit,
    ) -> Result<usize, String> {
        tokio::task::spawn_blocking({
            let halt = Arc::clone(&self.halt);
            move || halt.stand()
        })
        .await
        .unwrap();
        let mut charged = self.charged.lock().unwrap();
        charged.push(order);
        said.lock().unwrap().push("charged".to_owned());
        Ok(charged.len())
    }
}

#[test]
fn the_attribute_takes_every_argument_along() {
    tokio_alone().block_on(async {
        let store = Store::temporary().unwrap();
        let (shop, said) = (Arc::new(Shop::default()), Arc::default());
        let charge = || {
            let (shop, said) = (Arc::clone(&shop), Arc::clone(&said));
            let permit = Permit(Arc::clone(&said));
            with_store_async(&store, async move { shop.charge("A-17".to_owned(), said, permit).await })
        };
        {
            let mut charging = Box::pin(charge());
            while shop.halt.arrived() == 0 {
                assert!(poll_once(charging.as_mut()).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert!(said.lock().unwrap().is_empty(), "the permit went with the caller");
        shop.halt.let_all_go();
        assert_eq!(charge().await, Ok(1));
        assert_eq!(*shop.charged.lock().unwrap(), ["A-17"]);
        let said = said.lock().unwrap();
        assert_eq!(said[0], "charged", "{said:?}");
    });
}
