//! An open store behind its handles: its threads, and how the store closes.

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::sync::lock;

/// How long closing waits for running calls and pending writes.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// How long the drop of the last handle waits until the store is closed.
const DROP_WAIT: Duration = Duration::from_millis(500);

/// The engine of an open store, its threads and its files.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    /// The path of the database file.
    pub(crate) path: PathBuf,
    writer: Mutex<Option<JoinHandle<Result<(), Error>>>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// The folder of a temporary store, removed at the end of closing.
    pub(crate) folder: Mutex<Option<PathBuf>>,
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

    /// Closes the store within `limit`; see [`Store::close`](crate::Store::close).
    pub(crate) fn close(&self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let state = &self.engine.state;
        let mut writer = lock(&self.writer);
        if !state.is_of_this_process() || writer.is_none() {
            return Ok(());
        }
        state.begin_close();
        if let Err(running) = self.wait_for_calls(deadline) {
            state.reopen();
            return Err(running);
        }
        state.set_close_deadline(deadline);
        state.queue.close();
        let closed =
            writer.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(thread_ended())));
        state.end();
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.join().map_err(|_| thread_ended())?;
        }
        if let Err(error) = closed {
            state.backend.abandon_owner();
            return Err(error);
        }
        state.backend.release_owner()?;
        self.remove_folder()
    }

    fn remove_folder(&self) -> Result<(), Error> {
        let folder = lock(&self.folder).take();
        folder.map_or(Ok(()), std::fs::remove_dir_all).map_err(|error| {
            Error::store("the temporary folder of the closed store cannot be removed").because(error)
        })
    }

    /// Waits until no call runs. A poisoned store does not wait.
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
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the current thread is a thread of this store.
    ///
    /// An executor may poll or drop a task on the thread that wakes it. The last handle can thus end on the writer thread.
    fn is_on_own_thread(&self) -> bool {
        let current = thread::current().id();
        let writer = lock(&self.writer).as_ref().is_some_and(|thread| thread.thread().id() == current);
        writer || lock(&self.watcher).as_ref().is_some_and(|thread| thread.thread().id() == current)
    }

    /// Closes the store on a new thread, and waits for the end of that thread for `limit` at most.
    fn close_on_new_thread(&self, limit: Duration) {
        let rest = ManuallyDrop::new(Inner {
            engine: Arc::clone(&self.engine),
            path: self.path.clone(),
            writer: Mutex::new(lock(&self.writer).take()),
            watcher: Mutex::new(lock(&self.watcher).take()),
            folder: Mutex::new(lock(&self.folder).take()),
        });
        let (ends, ended) = mpsc::channel::<()>();
        let close = move || {
            let _ends = ends;
            ManuallyDrop::into_inner(rest).close_or_report();
        };
        // If the new thread cannot start, the store is leaked. Its threads go on, and its owner lives until the process ends.
        match thread::Builder::new().name("idem-close".into()).spawn(event::with_current_subscriber(close)) {
            // The thread ends without a message, or the limit is over.
            Ok(_) => drop(ended.recv_timeout(limit)),
            Err(error) => event::store_error(&format!("the store could not be closed: {error}")),
        }
    }

    fn close_or_report(self) {
        if let Err(error) = self.close(CLOSE_WAIT) {
            event::store_error(&error.with_causes());
        }
        // The threads of a store that could not be closed go on without a handle.
        lock(&self.writer).take();
    }
}

/// Closes the store elsewhere: the current thread may be one of an executor, or one of the store itself.
impl Drop for Inner {
    fn drop(&mut self) {
        if !self.engine.state.is_of_this_process() {
            self.engine.state.backend.leak_reads();
            return;
        }
        if lock(&self.writer).is_some() {
            // A thread cannot wait for its own end.
            self.close_on_new_thread(if self.is_on_own_thread() { Duration::ZERO } else { DROP_WAIT });
        }
    }
}

fn thread_ended() -> Error {
    Error::store("a thread of the store ended unexpectedly")
}
