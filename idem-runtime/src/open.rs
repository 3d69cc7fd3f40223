//! The options of a store, and its opening.
//!
//! The `sqlite` module opens the files, and `open` starts the engine. If the same file is opened again in this process,
//! the caller gets the same store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::state::{Settings, StoreState};
use crate::engine::writer::Writer;
use crate::error::Error;
use crate::host::clock::Clock;
use crate::host::store_path::StorePath;
use crate::host::temporary;
use crate::open::asked::Asked;
use crate::sqlite::opening::Opening;
use crate::sqlite::schema::Tenancy;
use crate::store::Store;
use crate::sync::lock;

mod asked;
mod close;
mod open_stores;
pub(crate) mod threads;

/// Default of [`StoreBuilder::result_bytes_max`].
pub(crate) const RESULT_BYTES_MAX: usize = 1 << 20;
/// Upper limit of [`StoreBuilder::result_bytes_max`]: SQLite stores a row of this size reliably.
const RESULT_BYTES_LIMIT: usize = 256 << 20;
/// Default of [`StoreBuilder::log_bytes`].
///
/// With a shorter WAL, checkpoints write pages more often that many calls change. With a longer WAL, each checkpoint
/// takes longer.
const WAL_BYTES: u64 = 8 << 20;
/// Lower limit of [`StoreBuilder::log_bytes`]. With a shorter WAL, checkpoints would run all the time.
const WAL_BYTES_MIN: u64 = 64 << 10;
const WAL_BYTES_MAX: u64 = 1 << 30;
const RECORD_WITHIN: Duration = Duration::from_secs(30);
const SETTLE_WINDOW: Duration = Duration::from_secs(30);

/// Options to open a store; see [`Store::builder`].
///
/// ```
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("idem.db");
/// let store = idem_runtime::Store::builder()
///     .result_bytes_max(64 << 10)
///     .record_within(Duration::from_secs(5))
///     .open(&path)?;
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct StoreBuilder {
    opening: Opening,
    result_bytes_max: usize,
    record_within: Duration,
    settle_window: Duration,
    token_namespace: Option<Arc<str>>,
}

impl Store {
    /// Opens the store in its own file at `path`, or creates the file.
    ///
    /// The folder of the file must exist. The folder `<file>-idem` beside the file holds the locks of the processes that
    /// have the store open. If this process has the file open already with the same settings, the same store is returned.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the path, the file or the disk cannot be used. A failed open changes
    /// nothing.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, Error> {
        Store::builder().open(path)
    }

    /// Returns a builder with options for opening a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// Opens an empty store in a new folder under the system's temporary folder. For tests.
    ///
    /// The folder is removed when the store closes.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the folder or the store cannot be created.
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
            opening: Opening {
                tenancy: Tenancy::Own,
                wal_bytes: WAL_BYTES,
                clock: None,
                allow_remote_mount: false,
                accept_lost_records: false,
            },
            result_bytes_max: RESULT_BYTES_MAX,
            record_within: RECORD_WITHIN,
            settle_window: SETTLE_WINDOW,
            token_namespace: None,
        }
    }
}

impl StoreBuilder {
    /// Keeps the records in the application's own database, in tables named `idem_*`.
    ///
    /// The file must exist and be in WAL mode. The store does not change its `user_version`, `application_id` or journal
    /// mode.
    pub fn shared(mut self) -> Self {
        self.opening.tenancy = Tenancy::Shared;
        self
    }

    /// Sets the size of the largest result that is stored, in bytes. The default is 1 MiB, the upper limit 256 MiB.
    ///
    /// A call with a larger result is recorded as done without its result. The first caller gets the result; later
    /// callers get [`ResultGone`](crate::ErrorKind::ResultGone).
    pub fn result_bytes_max(mut self, bytes: usize) -> Self {
        self.result_bytes_max = bytes.min(RESULT_BYTES_LIMIT);
        self
    }

    /// Sets the length of the WAL at which a checkpoint is due, in bytes. The default is 8 MiB.
    ///
    /// Values below 64 KiB count as 64 KiB, values above 1 GiB as 1 GiB. A thread runs the checkpoint beside the calls.
    /// If the disk is too slow and the WAL reaches four times this length, calls wait for the checkpoint. If another
    /// program keeps a read transaction open, the WAL can get longer: SQLite cannot reset the WAL until that
    /// transaction ends.
    pub fn log_bytes(mut self, bytes: u64) -> Self {
        self.opening.wal_bytes = bytes.clamp(WAL_BYTES_MIN, WAL_BYTES_MAX);
        self
    }

    /// Sets how long a caller waits for the record of a body that has run. The default is 30 s.
    ///
    /// After the limit the caller gets [`NotRecorded`](crate::ErrorKind::NotRecorded), and the store continues to try. A
    /// write is late on a full or failing disk, or while another program holds the write lock.
    ///
    /// A lone blocked caller makes the first try itself. While another program holds the write lock, this try takes up to
    /// 0.8 s. If the disk hangs in a write without an error, the caller waits until the disk answers.
    pub fn record_within(mut self, limit: Duration) -> Self {
        self.record_within = limit;
        self
    }

    /// Sets how long after a crash the store ignores a [`NotDone`](crate::Verdict::NotDone) of a recovery hook. The
    /// default is 30 s.
    ///
    /// The window begins when the doubt is first noticed in this boot of the machine. A restart does not end the
    /// window. A request of a killed process may still wait in a queue of the kernel or of the service, and arrive
    /// after the hook asked. So the window must be longer than the slowest request.
    ///
    /// If boots cannot be compared (macOS, Windows, without `/proc`), the window begins when this process first noticed
    /// the doubt. If the program ends before the window is over, a new window begins at its next start.
    pub fn settle_window(mut self, window: Duration) -> Self {
        self.settle_window = window;
        self
    }

    /// Makes the tokens of calls from `namespace` instead of the random id of the store.
    ///
    /// The tokens then stay the same after the store is lost or moved. Two stores with one namespace share their tokens.
    /// Calls with `tx` have no store, so their tokens always come from the id.
    pub fn token_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.token_namespace = Some(namespace.into());
        self
    }

    /// Replaces the clock of the system, for tests of lifetimes.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.opening.clock = Some(Arc::new(clock));
        self
    }

    /// Allows a store on a network or virtual machine mount, which is refused by default.
    ///
    /// On such mounts, locks and shared memory do not work in general. Two machines may then run the same call.
    pub fn allow_remote_mount(mut self) -> Self {
        self.opening.allow_remote_mount = true;
        self
    }

    /// Allows a store that has lost records, which is refused by default.
    ///
    /// The lost calls count as never made. Use this option once, after you know which calls are lost.
    pub fn accept_lost_records(mut self) -> Self {
        self.opening.accept_lost_records = true;
        self
    }

    /// Opens the store at `path`, or creates the file.
    ///
    /// If this process has the file open already with the same settings, the same store is returned.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) if the path, the file or the disk cannot be used. Also if this
    /// process has the file open with other settings, which the error names.
    /// [`LostRecords`](crate::ErrorKind::LostRecords) and [`Damaged`](crate::ErrorKind::Damaged) if the store must be
    /// restored first. A failed open changes nothing.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store, Error> {
        let path = self.opening.resolve(path.as_ref())?;
        open_stores::find_or_open(path.database(), self.asked(), || {
            threads::start(self.prepare(path.clone())?, &path)
        })
    }

    fn asked(&self) -> Asked {
        Asked {
            shared: self.opening.tenancy == Tenancy::Shared,
            token_namespace: self.token_namespace.clone(),
            result_bytes_max: self.result_bytes_max,
            log_bytes: self.opening.wal_bytes,
            record_within: self.record_within,
            settle_window: self.settle_window,
            has_clock: self.opening.clock.is_some(),
        }
    }

    /// Opens the files and creates the engine, without its threads.
    pub(crate) fn prepare(self, path: StorePath) -> Result<Arc<Engine>, Error> {
        let opened = self.opening.open(path)?;
        let settings = Settings {
            store_id: opened.store_id,
            token_namespace: self.token_namespace,
            settle_window: self.settle_window,
            result_bytes_max: self.result_bytes_max,
            record_within: self.record_within,
        };
        let state = StoreState::new(opened.backend, settings, opened.in_flight, opened.poison);
        Ok(Arc::new(Engine::new(state, Writer::new(Box::new(opened.committer)))))
    }
}
