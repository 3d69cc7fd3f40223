//! A backend that answers later, as over a network: every call path works on it, blocked and as a task.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::*;
use crate::host::store_path::StorePath;
use crate::open::threads;
use crate::{Call, ErrorKind, Filter, OnInterrupt, Store, call, on_err};

/// How late an answer is.
const LATE: Duration = Duration::from_millis(5);

/// The SQLite backend behind a thread, which answers each read later.
#[derive(Debug)]
struct Late(Arc<dyn Backend>);

impl Backend for Late {
    fn visit(&self, _: &[Slot], _: &mut Answer<'_>) -> Option<Result<Option<Arc<Record>>, Error>> {
        None
    }

    fn find(&self, search: Search, reply: Arc<OneShot<FindReply>>) {
        let backend = Arc::clone(&self.0);
        thread::spawn(move || {
            thread::park_timeout(LATE);
            backend.find(search, reply);
        });
    }

    fn poll(&self, waited: &[(u64, Slot)]) -> Vec<Option<Ended>> {
        self.0.poll(waited)
    }

    fn page(&self, selection: &Selection<'_>) -> Result<Vec<Listed>, Error> {
        self.0.page(selection)
    }

    fn totals(&self) -> Result<Totals, Error> {
        self.0.totals()
    }

    fn expired(&self, limit: u32) -> Result<Vec<Change>, Error> {
        self.0.expired(limit)
    }

    fn verify(&self) -> Result<Vec<String>, Error> {
        self.0.verify()
    }

    fn stamp(&self, record: &mut Record) {
        self.0.stamp(record);
    }

    fn age_ms(&self, mark: Mark) -> Option<i64> {
        self.0.age_ms(mark)
    }

    fn wall_time(&self, mark: Mark) -> SystemTime {
        self.0.wall_time(mark)
    }

    fn settles_in(&self, since: Mark, window: Duration) -> Duration {
        self.0.settles_in(since, window)
    }

    fn owner(&self) -> i64 {
        self.0.owner()
    }

    fn owner_text(&self, owner: i64) -> Option<String> {
        self.0.owner_text(owner)
    }

    fn close_reads(&self) {
        self.0.close_reads();
    }

    fn leak_reads(&self) {
        self.0.leak_reads();
    }

    fn release_owner(&self) -> Result<(), Error> {
        self.0.release_owner()
    }

    fn abandon_owner(&self) {
        self.0.abandon_owner();
    }
}

fn late_store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
    let mut engine = Store::builder().prepare(path.clone()).unwrap();
    let state = &mut Arc::get_mut(&mut engine).unwrap().state;
    state.backend = Arc::new(Late(Arc::clone(&state.backend)));
    let inner = threads::start(engine, &path).unwrap();
    (Store { inner: Arc::new(inner) }, folder)
}

fn pay(store: &Store, key: u32) -> Call {
    call("tests.late").same_for_types().store(store).key(&key)
}

struct Unpark(Thread);
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(Instant::now() < limit, "the future never ends");
        thread::park_timeout(Duration::from_secs(1));
    }
}

fn not_run() -> Result<u32, Error> {
    panic!("the body ran again");
}

#[test]
fn a_call_runs_once_and_is_replayed_though_reads_are_answered_later() {
    let (store, _folder) = late_store();
    assert_eq!(pay(&store, 1).run(|| Ok::<u32, Error>(10)).unwrap(), 10);
    assert_eq!(pay(&store, 1).run(not_run).unwrap(), 10);
    assert_eq!(block_on(pay(&store, 2).run_async(async || Ok::<u32, Error>(20))).unwrap(), 20);
    assert_eq!(block_on(pay(&store, 2).run_async(async || not_run())).unwrap(), 20);
    assert_eq!(store.list(&Filter::new()).unwrap().len(), 2);
    store.close().unwrap();
}

#[test]
fn an_interrupted_call_follows_its_mode_though_reads_are_answered_later() {
    let (store, _folder) = late_store();
    let doubt = pay(&store, 1).on_err(on_err::InDoubt).run(|| Err::<u32, _>("timed out".to_owned()));
    assert!(doubt.is_err());
    assert_eq!(pay(&store, 1).run(not_run).unwrap_err().kind(), ErrorKind::InDoubt);
    let rerun = || pay(&store, 1).on_interrupt(OnInterrupt::rerun());
    assert_eq!(block_on(rerun().run_async(async || Ok::<u32, Error>(30))).unwrap(), 30);
    assert_eq!(store.get("tests.late", &1).unwrap().unwrap().attempt(), 2);
    assert!(store.forget("tests.late", &1).unwrap());
}

#[test]
fn a_duplicate_waits_for_the_running_call_though_reads_are_answered_later() {
    let (store, _folder) = late_store();
    let (started, start) = mpsc::channel();
    let (end, told) = mpsc::channel();
    let running = store.clone();
    let first = thread::spawn(move || {
        pay(&running, 1).run(|| {
            started.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(30)).unwrap();
            Ok::<u32, Error>(40)
        })
    });
    start.recv_timeout(Duration::from_secs(30)).unwrap();
    let short = pay(&store, 1).wait(Duration::ZERO).run(not_run);
    assert_eq!(short.unwrap_err().kind(), ErrorKind::Running);
    let waiting = store.clone();
    let second = thread::spawn(move || block_on(pay(&waiting, 1).run_async(async || not_run())));
    thread::park_timeout(4 * LATE);
    end.send(()).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), 40);
    assert_eq!(second.join().unwrap().unwrap(), 40);
}
