//! How a store is opened: nothing is written before the file is known to be ours.
//!
//! One open at a time per process (a mutex) and per machine (the fair lock). Opening the same file again gives the same
//! store. The owner's lock is taken before its row is visible, and its row is committed before its first claim.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::engine::Engine;
use crate::engine::state::{Settings, StoreState};
use crate::engine::writer::Writer;
use crate::error::{Advice, Error};
use crate::host::clock::Clock;
use crate::host::file_identity::FileIdentity;
use crate::host::high_water::HighWater;
use crate::host::path_error::PathError;
use crate::host::sidecar::Sidecar;
use crate::host::store_path::{Creation, StorePath};
use crate::host::temporary;
use crate::locks::fair_lock::FairLock;
use crate::open::register::{Registered, Registration};
use crate::scope::context;
use crate::sqlite::backend::SqliteBackend;
use crate::sqlite::commit::{Committer, Files};
use crate::sqlite::failure::opening;
use crate::sqlite::schema;
use crate::sqlite::schema::{Role, Tenancy};
use crate::store::{Inner, Store};
use crate::sync::lock;

pub(crate) mod register;

/// How long opening waits for another process that writes.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// Results up to this size are stored; see [`StoreBuilder::result_bytes_max`].
pub(crate) const RESULT_BYTES_MAX: usize = 1 << 20;
/// What `SQLite` stores in a row without trouble.
const RESULT_BYTES_LIMIT: usize = 256 << 20;
/// Folded in more often, pages that many calls change are written more often; less often, all the more at once.
const LOG_BYTES: u64 = 8 << 20;
/// Anything shorter is folded in all the time.
const LOG_BYTES_LEAST: u64 = 64 << 10;
const LOG_BYTES_MOST: u64 = 1 << 30;
const RECORD_WITHIN: Duration = Duration::from_secs(30);
const SETTLE_WINDOW: Duration = Duration::from_secs(30);

/// Open stores of this process, by path.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Inner>>>> = Mutex::new(None);

/// How to open a store; see [`Store::builder`].
///
/// ```
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("idem.db");
/// let store = idem_runtime::Store::builder().result_bytes_max(64 << 10).open(&path)?;
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct StoreBuilder {
    pub(crate) tenancy: Tenancy,
    result_bytes_max: usize,
    log_bytes: u64,
    record_within: Duration,
    settle_window: Duration,
    token_namespace: Option<Arc<str>>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    remote: bool,
    pub(crate) accept_lost_records: bool,
}

impl Store {
    /// Opens the store in our own file at `path`, or makes it; its folder must exist.
    ///
    /// Beside it stands a folder named `<file>-idem` with the locks of the programs that have it open. Opening the
    /// same file twice in one process gives the same store.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) with what is wrong with the path, the file or the disk. Nothing was changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, Error> {
        Store::builder().open(path)
    }

    /// More ways to open a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// A store in a folder of its own under the system's temporary one, removed when the last handle is dropped.
    /// For tests.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the folder or the store cannot be made.
    pub fn temporary() -> Result<Store, Error> {
        let folder = temporary::folder()?;
        let store = Store::open(folder.join("idem.db"))?;
        *lock(&store.inner.folder) = Some(folder);
        Ok(store)
    }
}

impl Default for StoreBuilder {
    fn default() -> StoreBuilder {
        StoreBuilder {
            tenancy: Tenancy::Own,
            result_bytes_max: RESULT_BYTES_MAX,
            log_bytes: LOG_BYTES,
            record_within: RECORD_WITHIN,
            settle_window: SETTLE_WINDOW,
            token_namespace: None,
            clock: None,
            remote: false,
            accept_lost_records: false,
        }
    }
}

impl StoreBuilder {
    /// Keeps the records inside the application's own database, in tables named `idem_*`.
    ///
    /// The file must exist and be in WAL mode. Its `user_version`, `application_id` and journal mode are left alone.
    pub fn shared(mut self) -> Self {
        self.tenancy = Tenancy::Shared;
        self
    }

    /// The largest result that is stored, in bytes; 1 MiB by default.
    ///
    /// A larger one is recorded as done without a result: its caller gets it, later callers get
    /// [`ResultGone`](crate::ErrorKind::ResultGone). More than 256 MiB count as 256 MiB.
    pub fn result_bytes_max(mut self, bytes: usize) -> Self {
        self.result_bytes_max = bytes.min(RESULT_BYTES_LIMIT);
        self
    }

    /// How long the write-ahead log gets before it is folded into the database, in bytes; 8 MiB by default.
    ///
    /// That is done beside the calls, by a thread that ends with it. If the disk cannot keep up, and the log is four
    /// times as long, they wait for it. A program that holds a read transaction open makes the log longer than that: nothing
    /// can be folded in that it may still read. Less than 64 KiB count as 64 KiB, more than 1 GiB as 1 GiB.
    pub fn log_bytes(mut self, bytes: u64) -> Self {
        self.log_bytes = bytes.clamp(LOG_BYTES_LEAST, LOG_BYTES_MOST);
        self
    }

    /// How long a caller whose body has run waits for its record; 30 s by default.
    ///
    /// After that it gets [`NotRecorded`](crate::ErrorKind::NotRecorded), while the store goes on trying: on a full disk, a
    /// failing one, or behind a program that holds the write lock. A blocked caller that is alone makes the first attempt
    /// itself, which takes up to 0.8 s behind such a program; and a disk that hangs in the middle of a write, without
    /// an error, holds that caller until it answers.
    pub fn record_within(mut self, limit: Duration) -> Self {
        self.record_within = limit;
        self
    }

    /// How long after a crash a recovery hook's [`NotDone`](crate::Verdict::NotDone) is not believed; 30 s by default.
    ///
    /// It counts from the first time the doubt was noticed, and is over at once if the machine was restarted since.
    /// A request that the kernel holds for a killed process can arrive later than the question about it: allow
    /// longer than the slowest of them takes.
    pub fn settle_window(mut self, window: Duration) -> Self {
        self.settle_window = window;
        self
    }

    /// Makes downstream tokens from this text instead of the store's own id.
    ///
    /// They are then the same after the store was lost or moved. Two stores of one namespace share their tokens. Calls
    /// with `tx` know no store: their tokens are always made from the id.
    pub fn token_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.token_namespace = Some(namespace.into());
        self
    }

    /// Another clock than the system's, for tests of lifetimes.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Opens a store on a network or virtual machine mount, which is refused otherwise.
    ///
    /// Locks and shared memory do not work there in general: two machines may then run the same call.
    pub fn allow_remote_mount(mut self) -> Self {
        self.remote = true;
        self
    }

    /// Opens a store that has lost records, which is refused otherwise.
    ///
    /// Use it once, after you know which calls are missing: they count as never made.
    pub fn accept_lost_records(mut self) -> Self {
        self.accept_lost_records = true;
        self
    }

    /// Opens the store, or makes it; a file that is open in this process gives the same store again.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) with what is wrong with the path, the file or the disk. Nothing
    /// was changed then.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store, Error> {
        schema::check_library()?;
        let path = StorePath::resolve(path.as_ref()).map_err(unusable)?;
        if !self.remote {
            path.refuse_remote().map_err(unusable)?;
        }
        let mut open = lock(&OPEN);
        let stores = open.get_or_insert_default();
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(inherited) = stores.get(path.database()).and_then(Weak::upgrade)
            && !inherited.engine.state.is_of_this_process()
        {
            return Err(Error::forked());
        }
        if let Some(inner) = stores.get(path.database()).and_then(Weak::upgrade)
            && context::check_usable(&inner.engine.state).is_ok()
        {
            return Ok(Store { inner });
        }
        let engine = self.prepare(path.clone())?;
        let inner = Arc::new(start(engine, path.database().to_owned())?);
        stores.insert(path.database().to_owned(), Arc::downgrade(&inner));
        Ok(Store { inner })
    }

    /// All but the threads.
    pub(crate) fn prepare(self, path: StorePath) -> Result<Arc<Engine>, Error> {
        let sidecar = Sidecar::create(path.sidecar()).map_err(unusable)?;
        let io = |error| {
            Error::store(format!("the folder `{}` cannot be used", sidecar.path().display()))
                .advise(Advice::Permissions)
                .because(error)
        };
        let mut fair_lock = FairLock::open(&sidecar).map_err(io)?;
        let mut high_water = HighWater::open(&sidecar).map_err(io)?;
        let turn = fair_lock.lock(OPEN_WAIT);
        self.refuse_vanished(&path, &mut high_water)?;
        let creation = match self.tenancy {
            Tenancy::Own => {
                path.prepare(&sidecar).inspect_err(|_| sidecar.remove_unused()).map_err(unusable)?
            }
            Tenancy::Shared if path.database().exists() => path.prepare(&sidecar).map_err(unusable)?,
            Tenancy::Shared => {
                sidecar.remove_unused();
                let message = format!("the database `{}` does not exist", path.database().display());
                return Err(Error::store(message).advise(Advice::CreateDatabase));
            }
        };
        let had_log = path.has_log();
        let conn = self.connect(&path, creation).inspect_err(|_| {
            // Else the mark in it says that the empty file is ours, and the next open goes on with it.
            if creation == Creation::Existing {
                sidecar.remove_unused();
            }
        })?;
        if creation != Creation::Existing {
            high_water.reset(0).map_err(io)?;
        }
        let registered = Registration {
            tenancy: self.tenancy,
            clock: self.clock.clone(),
            accept_lost_records: self.accept_lost_records,
        }
        .register(&conn, had_log, &sidecar, &mut high_water)?;
        sidecar.finish_creation().map_err(io)?;
        conn.busy_timeout(schema::BUSY).map_err(opening)?;
        if had_log || creation != Creation::Existing {
            // What recovery brought back was never forced to disk; this does it before anything is answered from it. And
            // the tables of a new store stand in the database from the start, so that a lost log does not take them.
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(opening)?;
        }
        let identity = FileIdentity::capture(&path, self.remote).map_err(io)?;
        drop(turn);
        let (owner, Registered { store_id, clock, dead, .. }) = registered;
        for token in &dead {
            // Left behind, the file of a dead owner does no harm.
            let _ = owner.probe.reap(token);
        }
        let (in_flight, poison) = (Arc::default(), Arc::default());
        let backend = Arc::new(SqliteBackend::new(path, self.tenancy, owner, clock, Arc::clone(&in_flight)));
        let committer = Committer::new(
            Arc::clone(&backend),
            Arc::clone(&in_flight),
            Arc::clone(&poison),
            Files { conn, fair_lock, high_water, identity },
            self.log_bytes,
        )?;
        let settings = Settings {
            store_id,
            token_namespace: self.token_namespace,
            settle_window: self.settle_window,
            result_bytes_max: self.result_bytes_max,
            record_within: self.record_within,
        };
        let state = StoreState::new(backend, settings, in_flight, poison);
        Ok(Arc::new(Engine::new(state, Writer::new(Box::new(committer)))))
    }

    /// A database that was deleted, or whose volume is not mounted yet, must not quietly start anew.
    fn refuse_vanished(&self, path: &StorePath, high_water: &mut HighWater) -> Result<(), Error> {
        if path.database().exists() || self.tenancy == Tenancy::Shared || self.accept_lost_records {
            return Ok(());
        }
        let Some(highest) = high_water.read().filter(|highest| *highest > 0) else { return Ok(()) };
        let message =
            format!("`{}` is missing, and its high-water mark is {highest}", path.database().display());
        Err(Error::store(message).advise(Advice::RestoreMissing))
    }

    fn connect(&self, path: &StorePath, creation: Creation) -> Result<Connection, Error> {
        let conn = schema::connect(path.database())?;
        conn.busy_timeout(OPEN_WAIT).map_err(opening)?;
        let bare = schema::check_file(&conn, self.tenancy)?;
        if bare && creation == Creation::Existing && self.tenancy == Tenancy::Own {
            let message = format!(
                "`{}` is an SQLite database without the tables of a store",
                path.database().display()
            );
            return Err(Error::store(message).advise(Advice::RestoreEmptied));
        }
        schema::set_modes(&conn, self.tenancy, Role::Writer)?;
        Ok(conn)
    }
}

fn start(engine: Arc<Engine>, path: PathBuf) -> Result<Inner, Error> {
    let threads = start_threads(&engine).inspect_err(|_| {
        engine.state.watcher.close();
        drop(engine.take_writer());
    });
    let (writer, watcher) =
        threads.map_err(|error| Error::store("a thread of the store cannot be started").because(error))?;
    Ok(Inner::new(engine, path, writer, watcher))
}

type Writing = JoinHandle<Result<(), Error>>;

fn start_threads(engine: &Arc<Engine>) -> io::Result<(Writing, JoinHandle<()>)> {
    let (writing, polling) = (Arc::clone(engine), Arc::clone(engine));
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let watcher = thread("idem-watch").spawn(move || watch(&polling.state))?;
    let writer = thread("idem-writer").spawn(move || guarded(&writing))?;
    Ok((writer, watcher))
}

/// Runs the watcher until the store closes. A panic must not leave those asleep whose deadlines it keeps.
fn watch(state: &StoreState) {
    let run = || state.watcher.run(|claims| state.poll(claims));
    while std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {}
}

/// Runs the writer until the store closes. A panic must not leave its callers waiting.
pub(crate) fn guarded(engine: &Engine) -> Result<(), Error> {
    let run = std::panic::AssertUnwindSafe(|| engine.run());
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err(engine.abort()))
}

fn unusable(path: PathError) -> Error {
    let error = Error::store(path.to_string()).advise(path.advice());
    match path {
        PathError::Io { error: cause, .. } => error.because(cause),
        _ => error,
    }
}
