//! What a lone caller writes by itself, what it leaves to the writer's thread, and when it does not write at all.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::backend::request::OnFailure;
use crate::call;
use crate::encoding::digest::Slot;
use crate::engine::queue::{INLINE_AFTER_COMMITS, Queue, Work};
use crate::error::{Error, ErrorKind};
use crate::host::store_path::StorePath;
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::Status;
use crate::sqlite::commit::Committer;
use crate::sqlite::schema;
use crate::store::{Inner, Store};

const MOMENT: Duration = Duration::from_millis(50);
const NAME: &str = "tests.lone";

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < limit, "in vain: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn a_moment() {
    let over = Instant::now() + MOMENT;
    until("a moment", || Instant::now() >= over);
}

/// A store without threads: what is written is written by its callers.
pub(crate) struct Threadless {
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl Threadless {
    pub(crate) fn new() -> Threadless {
        let place = Threadless::with_purging();
        place.engine().with_writer(Writer::never_purge).unwrap();
        place
    }

    fn with_purging() -> Threadless {
        let folder = tempfile::tempdir().unwrap();
        let path = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
        let engine = Store::builder().record_within(MOMENT).prepare(path.clone()).unwrap();
        let inner =
            Inner::new(engine, path.database().to_owned(), thread::spawn(|| Ok(())), thread::spawn(|| ()));
        Threadless { store: Store { inner: Arc::new(inner) }, _folder: folder }
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.store.inner.engine
    }

    pub(crate) fn committer<T>(&self, look: impl FnOnce(&mut Committer) -> T) -> T {
        self.engine().with_writer(|writer| look(writer.committer())).unwrap()
    }

    /// Another program that holds the write lock.
    fn locked(&self) -> Connection {
        let conn = schema::connect(self.store.path()).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    }

    fn start(&self) -> thread::JoinHandle<Result<(), Error>> {
        let engine = Arc::clone(self.engine());
        thread::spawn(move || engine.run())
    }

    fn status(&self, key: u32) -> Option<Status> {
        self.store.get(NAME, &key).unwrap().map(|record| record.status())
    }
}

impl Drop for Threadless {
    fn drop(&mut self) {
        // Nobody is left who would write what waits.
        self.engine().abort();
    }
}

fn pay(store: &Store, key: u32) -> Result<u32, Error> {
    call(NAME).store(store).key(&key).run(|| Ok(key))
}

/// A claim that is left to a thread that is not there.
fn waits_in_vain(store: &Store) -> bool {
    call(NAME).store(store).key(&2).wait(Duration::ZERO).run(|| Ok::<u32, Error>(2)).is_err()
}

#[test]
fn a_lone_caller_needs_no_other_thread() {
    let place = Threadless::new();
    for key in 0..20 {
        assert_eq!(pay(&place.store, key).unwrap(), key);
    }
    assert!(place.store.forget(NAME, &7).unwrap());
    assert!(place.store.record_done(NAME, &7, &70_u32).unwrap());
    assert_eq!(pay(&place.store, 7).unwrap(), 70);
    let failed: Result<u32, Error> =
        call(NAME).store(&place.store).key(&21).run(|| Err(Error::store("not done")));
    assert!(failed.is_err());
    assert_eq!(place.status(21), None, "a released call leaves no record");
}

#[test]
fn a_task_leaves_writing_to_the_thread() {
    let place = Threadless::new();
    let mut calling = pin!(call(NAME).store(&place.store).key(&1).run_async(async || Ok::<u32, Error>(1)));
    assert!(matches!(calling.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    assert_eq!((place.engine().state.queue.len(), place.status(1)), (1, None));
    // Nor does a thread that would overtake it.
    assert!(waits_in_vain(&place.store));
    assert_eq!(place.status(2), None);
}

#[test]
fn what_a_lone_caller_cannot_write_the_thread_does() {
    let place = Threadless::new();
    let mut lock = None;
    let begun = Instant::now();
    let ended: Result<u32, Error> = call(NAME).store(&place.store).key(&1).run(|| {
        lock = Some(place.locked());
        Ok(1)
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotRecorded);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited too long");
    // Nobody goes ahead of what is to be tried again.
    assert!(waits_in_vain(&place.store));
    let thread = place.start();
    a_moment();
    assert_eq!(place.status(1), Some(Status::Running));
    drop(lock);
    until("it is written", || place.status(1) == Some(Status::Done));
    assert_eq!(pay(&place.store, 3).unwrap(), 3);
    place.store.close().unwrap();
    thread.join().unwrap().unwrap();
}

#[cfg(feature = "tracing")]
mod panics {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing::span;

    use super::*;
    use crate::open::guarded;

    /// A subscriber that panics when it is told of so many troubles.
    struct PanicAt(u32, AtomicU32);

    impl tracing::Subscriber for PanicAt {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == "idem" && *metadata.level() == tracing::Level::ERROR
        }

        fn event(&self, _: &tracing::Event<'_>) {
            assert_ne!(self.1.fetch_add(1, Ordering::SeqCst) + 1, self.0, "a subscriber that panics");
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn whoever_waits_for_a_thread_that_panics_is_told() {
        let place = Threadless::new();
        let requests = [request(), request(), request()];
        let replies = requests.each_ref().map(|request| request.reply.clone().unwrap());
        for request in requests {
            place.engine().state.queue.push(request);
        }
        let conn = schema::connect(place.store.path()).unwrap();
        conn.execute_batch("ALTER TABLE idem_record RENAME TO gone").unwrap();
        // By the third failure one is stuck, one is being written and one is pending.
        let third = PanicAt(3, AtomicU32::new(0));
        assert!(tracing::subscriber::with_default(third, || guarded(place.engine())).is_err());
        for reply in replies {
            assert!(matches!(reply.take(), Some(Reply::Failed(_))));
        }
    }
}

#[test]
fn a_lone_caller_does_not_overtake_what_is_tried_again_later() {
    let place = Threadless::new();
    let ended: Result<u32, Error> = call(NAME).store(&place.store).key(&1).run(|| {
        // Free again when the body is over and its completion could not be written.
        let lock = place.locked();
        let engine = Arc::clone(place.engine());
        thread::spawn(move || {
            until("it is kept", || engine.with_writer(|writer| writer.has_other_work()) == Some(true));
            drop(lock);
        });
        Ok(1)
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotRecorded);
    let queue = &place.engine().state.queue;
    assert!(matches!(queue.next(Some(Duration::ZERO)), Work::Idle), "the thread was called");
    thread::scope(|scope| {
        // It may be called for what is to be tried again before the request is there.
        let asleep = scope.spawn(|| {
            let mut work = (0..10).map(|_| queue.next(Some(Duration::from_secs(60))));
            work.find(|work| !matches!(work, Work::Idle))
        });
        until("the thread sleeps until it tries again", || queue.is_idle());
        assert!(waits_in_vain(&place.store));
        assert!(matches!(asleep.join().unwrap(), Some(Work::Batch(batch)) if batch.len() == 1));
    });
    assert_eq!(place.status(2), None);
}

#[test]
fn a_claim_that_finds_the_write_lock_taken_is_given_by_the_thread() {
    let place = Threadless::new();
    let lock = place.locked();
    thread::scope(|scope| {
        let calling = scope.spawn(|| call(NAME).store(&place.store).key(&1).run(|| Ok::<u32, Error>(1)));
        until("it is left to the thread", || {
            place.engine().with_writer(|writer| writer.has_other_work()) == Some(true)
        });
        let thread = place.start();
        drop(lock);
        assert_eq!(calling.join().unwrap().unwrap(), 1);
        place.store.close().unwrap();
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn the_thread_is_called_when_something_may_be_purged() {
    let place = Threadless::with_purging();
    assert!(place.store.record_done(NAME, &1, &1_u32).unwrap());
    let engine = Arc::clone(place.engine());
    let thread = thread::spawn(move || engine.state.queue.next(None));
    until("the thread is called", || thread.is_finished());
    assert!(matches!(thread.join().unwrap(), Work::Idle));
}

#[test]
fn closing_waits_for_a_caller_that_writes() {
    let store = Store::temporary().unwrap();
    let queue = &store.inner.engine.state.queue;
    until("nobody writes", || queue.try_begin_inline());
    assert!(!queue.is_idle());
    thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        a_moment();
        assert!(!closing.is_finished());
        queue.end_inline(false);
        closing.join().unwrap().unwrap();
    });
    assert!(!queue.try_begin_inline(), "the store is closed");
}

#[test]
fn the_writers_thread_does_not_end_under_a_caller_that_writes() {
    let queue = Arc::new(Queue::default());
    assert!(queue.try_begin_inline());
    let asked = Arc::clone(&queue);
    let thread = thread::spawn(move || asked.next(None));
    queue.close();
    a_moment();
    assert!(!thread.is_finished());
    queue.end_inline(false);
    assert!(matches!(thread.join().unwrap(), Work::Closed));
}

fn request() -> Request {
    let change = Change { slot: Slot::default(), expect: Expect::Any, new: None };
    Request::new(change, OnFailure::RetryForever, Some(OneShot::new()))
}

#[test]
fn a_caller_of_many_does_not_write_alone() {
    let queue = Arc::new(Queue::default());
    let asked = Arc::clone(&queue);
    let thread = thread::spawn(move || {
        let mut sizes = Vec::new();
        while let Work::Batch(batch) = asked.next(None) {
            sizes.push(batch.len());
        }
        sizes
    });
    assert!(queue.try_begin_inline());
    assert!(!queue.try_begin_inline(), "one at a time");
    (0..3).for_each(|_| queue.push(request()));
    a_moment();
    assert_eq!(queue.len(), 3, "what comes meanwhile shares the next commit");
    queue.end_inline(false);
    for _ in 0..INLINE_AFTER_COMMITS {
        until("it is written", || queue.is_idle());
        assert!(!queue.try_begin_inline(), "there was a commits_until_inline");
        queue.push(request());
    }
    until("it is written", || queue.is_idle());
    assert!(queue.try_begin_inline(), "the commits_until_inline has gone");
    queue.end_inline(false);
    queue.close();
    let sizes = thread.join().unwrap();
    assert_eq!((sizes.first(), sizes.len()), (Some(&3), 1 + INLINE_AFTER_COMMITS as usize));
}

/// How many commits stand in the log.
fn commits(store: &Store) -> usize {
    let log = std::fs::read(store.path().with_extension("db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frames = (32..log.len()).step_by(24 + number(8) as usize);
    frames.take_while(|at| number(at + 8) == number(16)).filter(|at| number(at + 4) > 0).count()
}

// The fewest commits there can be: what waits while the write lock is taken is written together.
#[test]
fn sixty_four_callers_share_their_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("idem.db")).unwrap();
    let (all_run, all_end) = (Barrier::new(65), Barrier::new(65));
    let lock = || {
        let conn = schema::connect(store.path()).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    };
    let mut locked = lock();
    thread::scope(|scope| {
        for key in 0..64_u32 {
            let (store, all_run, all_end) = (&store, &all_run, &all_end);
            scope.spawn(move || {
                let paid = call(NAME).store(store).key(&key).run(|| {
                    all_run.wait();
                    all_end.wait();
                    Ok::<u32, Error>(key)
                });
                assert_eq!(paid.unwrap(), key);
            });
        }
        let queue = &store.inner.engine.state.queue;
        until("most claims wait", || queue.len() >= 1);
        a_moment();
        drop(locked);
        all_run.wait();
        locked = lock();
        all_end.wait();
        until("most ends wait", || queue.len() >= 1);
        a_moment();
        drop(locked);
    });
    assert!(commits(&store) < 32, "{} commits for 64 calls", commits(&store));
}

#[test]
fn a_store_can_be_printed() {
    assert!(format!("{:?}", Store::temporary().unwrap()).contains("Engine"));
}
