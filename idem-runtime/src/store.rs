//! The handle of an open store.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) mod inner;
pub(crate) mod snapshot;

pub(crate) use inner::Inner;

/// A handle of an open store, the records of calls in one SQLite database.
///
/// A handle is cheap to clone, and any thread may use it. Dropping the last handle closes the store on a new thread, and
/// waits 0.5 s at most for its end. [`close`](Store::close) waits until the store is closed, and returns the error if
/// closing fails.
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

/// Counts and sizes of a store; see [`Store::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of records.
    pub records: u64,
    /// The number of records that are running or in doubt.
    pub unfinished: u64,
    /// The number of calls that this process runs.
    pub running_here: usize,
    /// The number of writes that wait for a commit.
    pub queued: usize,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// The size of the WAL, in bytes.
    pub wal_bytes: u64,
    /// The time up to which records are lost, if such a loss was accepted. `None` if there was none.
    pub lost_records: Option<SystemTime>,
    /// The kind of the mount, if its files do not survive a power failure or the container: `tmpfs`, `ramfs`, `overlay`.
    pub volatile_mount: Option<&'static str>,
}

impl Store {
    /// The path of the database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.engine.state.check_not_closed().is_err()
    }

    /// Whether `other` is a handle of the same open store.
    pub(crate) fn same_as(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// A panic leaves a store consistent: its locks recover from poisoning.
impl std::panic::UnwindSafe for Store {}
impl std::panic::RefUnwindSafe for Store {}

impl AsRef<Store> for Store {
    fn as_ref(&self) -> &Store {
        self
    }
}
