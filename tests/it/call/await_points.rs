//! Calls that are cut off in every way at every await, of the body and of the runtime. The place alone decides the
//! outcome.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, Ran, Status, Store, idempotent, with_store_async};
use idem_tests::form::tokio_alone;
use idem_tests::halt::eventually;
use idem_tests::plain::poll_once;
use idem_tests::shared::call;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Builder;

use crate::support::role;

const NAME: &str = "await_points.pay";
const PART: &str = "call::await_points::the_program_that_exits";

/// The place at which a call is cut off. A call stays at its place until then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The writer thread has the claim and cannot write it: another program holds the write lock.
    ClaimQueued,
    /// The lock is released after the caller has gone: the writer thread commits a claim without a caller.
    ClaimCommitting,
    Body,
    /// The body has returned; its outcome cannot be written yet.
    CompletionQueued,
}

const PLACES: [At; 4] = [At::ClaimQueued, At::ClaimCommitting, At::Body, At::CompletionQueued];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Dropped,
    Aborted,
    TimedOut,
    TimedOutUnderAPausedClock,
    LostASelect,
    /// The future that polls the call panics.
    UnwoundOver,
    RuntimeShutDown,
}

struct Scene {
    store: Store,
    /// Another program, with the write lock or without.
    other: Mutex<Connection>,
    at: At,
    called: AtomicBool,
    in_body: AtomicBool,
    /// The last to go.
    _folder: Option<tempfile::TempDir>,
}

impl Scene {
    fn new(at: At) -> Arc<Scene> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        Arc::new(Scene { _folder: Some(folder), ..Scene::open(&path, at) })
    }

    fn open(path: &std::path::Path, at: At) -> Scene {
        let store = Store::open(path).unwrap();
        let other = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        other.busy_timeout(Duration::from_secs(60)).unwrap();
        if matches!(at, At::ClaimQueued | At::ClaimCommitting) {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        let (called, in_body) = (AtomicBool::new(false), AtomicBool::new(false));
        Scene { store, other: Mutex::new(other), at, called, in_body, _folder: None }
    }

    fn pay(&self) -> Call {
        call(NAME).store(&self.store).key("A-17")
    }

    fn status(&self) -> Option<Status> {
        self.store.get(NAME, "A-17").unwrap().map(|record| record.status())
    }

    /// Whether the call is at its place.
    fn is_there(&self) -> bool {
        let called = self.called.load(Ordering::SeqCst);
        match self.at {
            At::ClaimQueued => called,
            At::ClaimCommitting => called && self.store.stats().unwrap().queued == 0,
            At::Body | At::CompletionQueued => self.in_body.load(Ordering::SeqCst),
        }
    }

    /// The next call, whose body must not run.
    fn again(&self) -> Result<u32, Error> {
        self.pay().run(|| unreachable!("the body ran again"))
    }

    async fn body(&self) -> Result<u32, Error> {
        if self.at == At::CompletionQueued {
            self.other.lock().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        self.in_body.store(true, Ordering::SeqCst);
        if self.at == At::Body {
            pending::<()>().await;
        }
        Ok(7)
    }

    /// The other program is done.
    fn free(&self) {
        let other = self.other.lock().unwrap();
        if !other.is_autocommit() {
            other.execute_batch("COMMIT").unwrap();
        }
    }

    fn claims_issued(&self) -> i64 {
        let sql = "SELECT claims FROM idem_count";
        self.other.lock().unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// How the call is made.
#[derive(Clone, Copy, Debug)]
enum Made {
    ByBuilder,
    ByAttribute,
}

/// The call, which stays at its place.
async fn stuck(scene: Arc<Scene>, made: Made) -> Result<u32, Error> {
    scene.called.store(true, Ordering::SeqCst);
    match made {
        Made::ByBuilder => scene.pay().run_async(|| scene.body()).await,
        Made::ByAttribute => with_store_async(&scene.store, pay("A-17", &scene)).await,
    }
}

#[idempotent(name = "await_points.pay", key = id, skip(scene), same_for_types)]
async fn pay(id: &str, scene: &Scene) -> Result<u32, Error> {
    scene.body().await
}

/// Ready when the call is at its place. The task is never idle before, so that a paused clock does not move.
async fn there(scene: &Scene) {
    while !scene.is_there() {
        tokio::task::yield_now().await;
    }
}

/// Polls the call beside the other future, which must be ready first.
async fn beside<F: Future>(call: impl Future, other: F) -> F::Output {
    let (mut call, mut other) = (pin!(call), pin!(other));
    poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending(), "the call ended");
        match other.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Way {
    const ALL: [Way; 7] = [
        Way::Dropped,
        Way::Aborted,
        Way::TimedOut,
        Way::TimedOutUnderAPausedClock,
        Way::LostASelect,
        Way::UnwoundOver,
        Way::RuntimeShutDown,
    ];

    /// Makes the call and cuts it off once it is there.
    fn cut(self, scene: &Arc<Scene>, made: Made) {
        let calling = stuck(Arc::clone(scene), made);
        match self {
            Way::Dropped => {
                let mut calling = Box::pin(calling);
                eventually("the call is there", || {
                    assert!(poll_once(calling.as_mut()).is_pending());
                    scene.is_there()
                });
            }
            Way::Aborted => tokio_alone().block_on(async {
                let task = tokio::spawn(calling);
                there(scene).await;
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }),
            Way::TimedOut => tokio_alone().block_on(time_out(scene, calling, Duration::from_millis(5))),
            Way::TimedOutUnderAPausedClock => {
                let paused = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
                paused.block_on(time_out(scene, calling, Duration::from_secs(3_600)));
            }
            Way::LostASelect => tokio_alone().block_on(async {
                tokio::select! {
                    biased;
                    paid = calling => panic!("the call ended: {paid:?}"),
                    () = there(scene) => {}
                }
            }),
            Way::UnwoundOver => {
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    tokio_alone().block_on(beside(calling, async {
                        there(scene).await;
                        std::panic::resume_unwind(Box::new("as asked"))
                    }))
                }));
                assert!(unwound.is_err());
            }
            Way::RuntimeShutDown => {
                let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                runtime.spawn(calling);
                eventually("the call is there", || scene.is_there());
                runtime.shutdown_background();
                eventually("the call is gone", || Arc::strong_count(scene) == 1);
            }
        }
    }
}

/// The time runs out once the call is there.
async fn time_out(scene: &Scene, calling: impl Future, limit: Duration) {
    let mut calling = pin!(calling);
    beside(calling.as_mut(), there(scene)).await;
    assert!(tokio::time::timeout(limit, calling).await.is_err());
}

/// Nothing happened: the next call is the first one.
fn assert_released(scene: &Scene, what: &str) {
    eventually("the call is released", || scene.status().is_none());
    assert_eq!(scene.pay().run(|| Ok::<u32, Error>(5)).unwrap(), 5, "{what}");
    assert_eq!(scene.store.get(NAME, "A-17").unwrap().unwrap().attempt(), 1, "{what}");
}

fn assert_in_doubt(scene: &Scene, why: &str, what: &str) {
    eventually("the call is in doubt", || scene.status() == Some(Status::InDoubt));
    let refused = scene.again().unwrap_err();
    assert_eq!((refused.kind(), refused.ran()), (ErrorKind::InDoubt, Ran::Unknown), "{what}");
    assert!(refused.to_string().contains(why), "{what}: {refused}");
    let record = scene.store.get(NAME, "A-17").unwrap().unwrap();
    assert_eq!(record.attempt(), 1, "{what}");
    assert!(record.reason().unwrap().contains(why), "{what}: {:?}", record.reason());
}

fn cut_in_every_way(at: At, check: impl Fn(&Arc<Scene>, Way, &str)) {
    for way in Way::ALL {
        for made in [Made::ByBuilder, Made::ByAttribute] {
            let scene = Scene::new(at);
            way.cut(&scene, made);
            scene.free();
            check(&scene, way, &format!("{way:?}, {made:?}"));
        }
    }
}

// Rule 9.
#[test]
fn cut_off_while_its_claim_is_queued_a_call_is_released() {
    cut_in_every_way(At::ClaimQueued, |scene, _, what| assert_released(scene, what));
    // Many of them on one store.
    let scene = Scene::new(At::ClaimQueued);
    (0..50).for_each(|_| Way::Dropped.cut(&scene, Made::ByBuilder));
    scene.free();
    assert_released(&scene, "dropped fifty times");
}

// Rule 9.
#[test]
fn cut_off_while_its_claim_is_committed_a_call_is_released() {
    for way in Way::ALL {
        // On a busy machine the writer has given up the lock before it was freed: then nothing was committed.
        let committed = (0..20).any(|_| {
            let scene = Scene::new(At::ClaimCommitting);
            way.cut(&scene, Made::ByBuilder);
            scene.free();
            assert_released(&scene, &format!("{way:?}"));
            // One of them is the next call's.
            scene.claims_issued() > 1
        });
        assert!(committed, "{way:?}: in twenty tries no claim was committed after its caller was gone");
    }
}

// Rule 9. Field 9.
#[test]
fn cut_off_in_its_body_a_call_is_in_doubt() {
    cut_in_every_way(At::Body, |scene, way, what| {
        let why = if way == Way::UnwoundOver { "the body panicked" } else { "dropped the future" };
        assert_in_doubt(scene, why, what);
        if way != Way::UnwoundOver {
            let error = scene.again().unwrap_err();
            assert!(error.help().contains("`detach`"), "{what}: the help names no cure: {error:?}");
        }
    });
}

// Rule 9.
#[test]
fn cut_off_while_its_completion_is_queued_a_call_is_done() {
    cut_in_every_way(At::CompletionQueued, |scene, _, what| {
        assert_eq!(scene.again().unwrap(), 7, "{what}");
        assert_eq!(scene.status(), Some(Status::Done), "{what}");
    });
}

/// Makes the call, and ends in the midst of it, by `exit` and without a word to anybody.
#[test]
fn the_program_that_exits() {
    let Some(words) = role::words() else { return };
    let [path, place] = words.try_into().unwrap();
    let at = PLACES.into_iter().find(|at| format!("{at:?}") == place).unwrap();
    let scene = Arc::new(Scene::open(path.as_ref(), at));
    let mut calling = Box::pin(stuck(Arc::clone(&scene), Made::ByBuilder));
    eventually("the call is there", || {
        assert!(poll_once(calling.as_mut()).is_pending());
        scene.is_there()
    });
    role::say("exits");
    std::process::exit(0);
}

#[test]
fn a_process_that_exits_leaves_its_call_in_doubt_if_its_body_had_begun_and_no_trace_of_it_otherwise() {
    for at in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        let mut program = role::Program::start(PART, &[path.to_str().unwrap(), &format!("{at:?}")]);
        program.hear("exits");
        assert!(program.leave().success());
        let scene = Scene::open(&path, At::Body);
        match at {
            At::ClaimQueued | At::ClaimCommitting => assert_released(&scene, &format!("{at:?}")),
            At::Body | At::CompletionQueued => {
                assert_in_doubt(&scene, "the process of the owner ended", &format!("{at:?}"));
            }
        }
    }
}
