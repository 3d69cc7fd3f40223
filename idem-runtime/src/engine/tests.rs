//! Inline writes: which requests a caller writes, and which ones it leaves to the writer thread.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::call;
use crate::engine::queue::Work;
use crate::engine::queue::tests::request;
use crate::error::{Error, ErrorKind};
use crate::host::store_path::StorePath;
use crate::protocol::record::Status;
use crate::sqlite::commit::Committer;
use crate::sqlite::connection;
use crate::store::{Inner, Store};

const PAUSE: Duration = Duration::from_millis(50);
const NAME: &str = "tests.inline";

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < limit, "it never happened: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) fn pause() {
    let over = Instant::now() + PAUSE;
    until("the pause is over", || Instant::now() >= over);
}

/// A store without threads: its callers make every write inline.
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
        let engine = Store::builder().record_within(PAUSE).prepare(path.clone()).unwrap();
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

    /// A connection of another program, which holds the write lock.
    fn locked(&self) -> Connection {
        let conn = connection::connect(self.store.path()).unwrap();
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
        // No thread writes the queued requests any more.
        self.engine().abort();
    }
}

fn pay(store: &Store, key: u32) -> Result<u32, Error> {
    call(NAME).same_for_types().store(store).key(&key).run(|| Ok(key))
}

/// Whether a claim fails because no writer thread takes it.
fn claim_fails(store: &Store) -> bool {
    call(NAME).same_for_types().store(store).key(&2).wait(Duration::ZERO).run(|| Ok::<u32, Error>(2)).is_err()
}

#[test]
fn a_lone_caller_writes_inline_without_the_writer_thread() {
    let place = Threadless::new();
    for key in 0..20 {
        assert_eq!(pay(&place.store, key).unwrap(), key);
    }
    assert!(place.store.forget(NAME, &7).unwrap());
    assert!(place.store.record_done(NAME, &7, &70_u32).unwrap());
    assert_eq!(pay(&place.store, 7).unwrap(), 70);
    let failed: Result<u32, Error> =
        call(NAME).same_for_types().store(&place.store).key(&21).run(|| Err(Error::store("not done")));
    assert!(failed.is_err());
    assert_eq!(place.status(21), None, "a released call leaves no record");
}

#[test]
fn a_task_leaves_its_write_to_the_writer_thread() {
    let place = Threadless::new();
    let mut calling =
        pin!(call(NAME).same_for_types().store(&place.store).key(&1).run_async(async || Ok::<u32, Error>(1)));
    assert!(matches!(calling.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    assert_eq!((place.engine().state.queue.len(), place.status(1)), (1, None));
    // A blocked caller does not overtake the task.
    assert!(claim_fails(&place.store));
    assert_eq!(place.status(2), None);
}

#[test]
fn the_writer_thread_retries_a_failed_inline_write() {
    let place = Threadless::new();
    let mut lock = None;
    let begun = Instant::now();
    let ended: Result<u32, Error> = call(NAME).same_for_types().store(&place.store).key(&1).run(|| {
        lock = Some(place.locked());
        Ok(1)
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotRecorded);
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited too long");
    // An inline write does not overtake the retried request.
    assert!(claim_fails(&place.store));
    let thread = place.start();
    pause();
    assert_eq!(place.status(1), Some(Status::Running));
    drop(lock);
    until("the completion is written", || place.status(1) == Some(Status::Done));
    assert_eq!(pay(&place.store, 3).unwrap(), 3);
    place.store.close().unwrap();
    thread.join().unwrap().unwrap();
}

#[cfg(feature = "tracing")]
mod panics {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing::span;

    use super::*;
    use crate::open::threads::run_writer;

    /// A subscriber that panics at the store error of this number.
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
    fn a_panic_of_the_writer_thread_fails_every_request() {
        let place = Threadless::new();
        let requests = [request(), request(), request()];
        let replies = requests.each_ref().map(|request| request.reply.clone().unwrap());
        for request in requests {
            place.engine().state.queue.push(request);
        }
        let conn = connection::connect(place.store.path()).unwrap();
        conn.execute_batch("ALTER TABLE idem_record RENAME TO gone").unwrap();
        // At the third failure one request is stuck, one is being written and one is pending.
        let third = PanicAt(3, AtomicU32::new(0));
        assert!(tracing::subscriber::with_default(third, || run_writer(place.engine())).is_err());
        for reply in replies {
            assert!(matches!(reply.take(), Some(Reply::Failed(_))));
        }
    }
}

#[test]
fn an_inline_write_does_not_overtake_a_retried_request() {
    let place = Threadless::new();
    let ended: Result<u32, Error> = call(NAME).same_for_types().store(&place.store).key(&1).run(|| {
        // The lock is free again after the completion could not be written.
        let lock = place.locked();
        let engine = Arc::clone(place.engine());
        thread::spawn(move || {
            until("the writer keeps the completion", || {
                engine.with_writer(|writer| writer.has_other_work()) == Some(true)
            });
            drop(lock);
        });
        Ok(1)
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotRecorded);
    let queue = &place.engine().state.queue;
    assert!(matches!(queue.next(Some(Duration::ZERO)), Work::Idle), "the writer thread was woken");
    thread::scope(|scope| {
        // The writer thread may wake for the retried request before the new one is queued.
        let asleep = scope.spawn(|| {
            let mut work = (0..10).map(|_| queue.next(Some(Duration::from_secs(60))));
            work.find(|work| !matches!(work, Work::Idle))
        });
        until("the writer thread sleeps until the retry", || queue.is_idle());
        assert!(claim_fails(&place.store));
        assert!(matches!(asleep.join().unwrap(), Some(Work::Batch(batch)) if batch.len() == 1));
    });
    assert_eq!(place.status(2), None);
}

#[test]
fn the_writer_thread_grants_a_claim_that_found_the_write_lock_taken() {
    let place = Threadless::new();
    let lock = place.locked();
    thread::scope(|scope| {
        let calling = scope
            .spawn(|| call(NAME).same_for_types().store(&place.store).key(&1).run(|| Ok::<u32, Error>(1)));
        until("the claim is left to the writer thread", || {
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
fn an_inline_write_wakes_the_writer_thread_if_a_purge_is_due() {
    let place = Threadless::with_purging();
    assert!(place.store.record_done(NAME, &1, &1_u32).unwrap());
    let engine = Arc::clone(place.engine());
    let thread = thread::spawn(move || engine.state.queue.next(None));
    until("the writer thread is woken", || thread.is_finished());
    assert!(matches!(thread.join().unwrap(), Work::Idle));
}

#[test]
fn closing_waits_for_an_inline_write() {
    let store = Store::temporary().unwrap();
    let queue = &store.inner.engine.state.queue;
    until("no thread writes", || queue.try_begin_inline());
    assert!(!queue.is_idle());
    thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        pause();
        assert!(!closing.is_finished());
        queue.end_inline(false);
        closing.join().unwrap().unwrap();
    });
    assert!(!queue.try_begin_inline(), "the store is closed");
}

/// The number of commits in the WAL.
fn commits(store: &Store) -> usize {
    let wal = std::fs::read(store.path().with_extension("db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().unwrap());
    let frames = (32..wal.len()).step_by(24 + number(8) as usize);
    frames.take_while(|at| number(at + 8) == number(16)).filter(|at| number(at + 4) > 0).count()
}

// Requests that wait for the write lock share a commit, so the number of commits stays small.
#[test]
fn sixty_four_callers_share_their_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("idem.db")).unwrap();
    let (all_run, all_end) = (Barrier::new(65), Barrier::new(65));
    let lock = || {
        let conn = connection::connect(store.path()).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    };
    let mut locked = lock();
    thread::scope(|scope| {
        for key in 0..64_u32 {
            let (store, all_run, all_end) = (&store, &all_run, &all_end);
            scope.spawn(move || {
                let paid = call(NAME).same_for_types().store(store).key(&key).run(|| {
                    all_run.wait();
                    all_end.wait();
                    Ok::<u32, Error>(key)
                });
                assert_eq!(paid.unwrap(), key);
            });
        }
        let queue = &store.inner.engine.state.queue;
        until("most claims wait", || queue.len() >= 1);
        pause();
        drop(locked);
        all_run.wait();
        locked = lock();
        all_end.wait();
        until("most ends wait", || queue.len() >= 1);
        pause();
        drop(locked);
    });
    assert!(commits(&store) < 32, "{} commits for 64 calls", commits(&store));
}

#[test]
fn a_store_prints_its_engine() {
    assert!(format!("{:?}", Store::temporary().unwrap()).contains("Engine"));
}
