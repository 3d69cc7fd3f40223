//! The handle of an open store: open, close, and what becomes of it when the last one goes.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::sync::lock;

pub(crate) mod snapshot;

/// How long closing waits for running calls and pending writes.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// An open store: the memory of which calls were made.
///
/// A handle is cheap to clone and may be used from any thread. The last one to be dropped closes the store;
/// [`close`](Store::close) does it and tells what went wrong.
///
/// ```
/// use idem_runtime::{Store, Status};
///
/// let store = Store::temporary()?;
/// let twice: [Result<u32, idem_runtime::Error>; 2] =
///     [1, 2].map(|n| idem_runtime::call("docs.answer").store(&store).key("A-17").run(|| Ok(n)));
/// assert_eq!(twice.map(Result::unwrap), [1, 1]);
/// assert_eq!(store.get("docs.answer", "A-17")?.unwrap().status(), Status::Done);
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    /// The database.
    path: PathBuf,
    writer: Mutex<Option<JoinHandle<Result<(), Error>>>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// A temporary store's folder, which goes with it.
    pub(crate) folder: Mutex<Option<PathBuf>>,
}

/// What a store holds and does; see [`Store::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records in all.
    pub records: u64,
    /// Records that run or are in doubt.
    pub unfinished: u64,
    /// Calls that run in this process.
    pub running_here: usize,
    /// Writes that wait for the store.
    pub queued: usize,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// The size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
}

impl Store {
    /// Closes the store: running calls are waited for, everything is written, the file is left in order.
    ///
    /// Every handle of it is closed with this one. A store that was closed already is fine.
    ///
    /// # Errors
    /// [`ErrorKind::Running`] if calls still run after 30 s: nothing was closed then. [`ErrorKind::NotRecorded`] if
    /// what ended could not be written within 30 s, [`ErrorKind::Store`] if the file could not be left in order.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.close(CLOSE_WAIT)
    }

    /// The path of the database.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(crate) fn same_as(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// A store is whole whatever panicked: its locks recover, and its writer is a thread of its own.
impl std::panic::UnwindSafe for Store {}
impl std::panic::RefUnwindSafe for Store {}

impl AsRef<Store> for Store {
    fn as_ref(&self) -> &Store {
        self
    }
}

impl Inner {
    pub(crate) fn new(
        engine: Arc<Engine>,
        path: PathBuf,
        writer: JoinHandle<Result<(), Error>>,
        watcher: JoinHandle<()>,
    ) -> Inner {
        Inner {
            engine,
            path,
            writer: Mutex::new(Some(writer)),
            watcher: Mutex::new(Some(watcher)),
            folder: Mutex::default(),
        }
    }

    fn close(&self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let mut writer = lock(&self.writer);
        if !self.engine.state.is_of_this_process() || writer.is_none() {
            return Ok(());
        }
        self.engine.state.begin_close();
        if let Err(running) = self.wait_for_calls(deadline) {
            self.engine.state.reopen();
            return Err(running);
        }
        self.engine.state.set_close_deadline(deadline);
        self.engine.state.queue.close();
        let closed =
            writer.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(thread_ended())));
        self.engine.state.end();
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.join().map_err(|_| thread_ended())?;
        }
        if let Err(error) = closed {
            self.engine.state.backend.abandon_owner();
            return Err(error);
        }
        self.engine.state.backend.release_owner()?;
        let folder = lock(&self.folder).take();
        folder.map_or(Ok(()), std::fs::remove_dir_all).map_err(|error| {
            Error::store("the temporary folder of the closed store cannot be removed").because(error)
        })
    }

    /// Waits until no call runs. A store that takes no more writes waits for nobody.
    fn wait_for_calls(&self, deadline: Instant) -> Result<(), Error> {
        while self.engine.state.check_poison().is_ok() {
            let count = self.engine.state.in_flight.count_local();
            if count == 0 && self.engine.state.queue.is_idle() {
                return Ok(());
            }
            if count > 0 && Instant::now() >= deadline {
                let message = format!("{count} calls are running or not recorded yet");
                return Err(Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::CloseAgain));
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Inner {
    /// An executor that polls a task, or drops it, on the thread that wakes it can let the last handle go there.
    fn is_on_own_thread(&self) -> bool {
        let here = std::thread::current().id();
        let writer = lock(&self.writer).as_ref().is_some_and(|thread| thread.thread().id() == here);
        writer || lock(&self.watcher).as_ref().is_some_and(|thread| thread.thread().id() == here)
    }

    /// A thread cannot wait for its own end.
    fn close_on_new_thread(&self) {
        let rest = ManuallyDrop::new(Inner {
            engine: Arc::clone(&self.engine),
            path: self.path.clone(),
            writer: Mutex::new(lock(&self.writer).take()),
            watcher: Mutex::new(lock(&self.watcher).take()),
            folder: Mutex::new(lock(&self.folder).take()),
        });
        // Not started, it is forgotten: the threads go on, and the owner lives as long as the program.
        let close = move || drop(ManuallyDrop::into_inner(rest));
        if let Err(error) = std::thread::Builder::new().name("idem-close".into()).spawn(close) {
            crate::event::store_error(&format!("the store could not be closed: {error}"));
        }
    }
}

fn thread_ended() -> Error {
    Error::store("a thread of the store ended unexpectedly")
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.engine.state.is_of_this_process() {
            self.engine.state.backend.leak_reads();
            return;
        }
        if self.is_on_own_thread() {
            self.close_on_new_thread();
        } else if let Err(error) = self.close(CLOSE_WAIT) {
            crate::event::store_error(&error.with_causes());
        }
    }
}
