//! A file system of our own under SQLite: it does what the system's does, writes down every write and every sync of
//! one folder, and fails those it is told to.
//!
//! Only files opened after [`install`] are seen. The system's file object is used as it is; only its table of methods
//! is replaced by a copy in which a few point here.

mod methods;

use std::collections::{HashMap, HashSet};
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods};

/// Something that happened, in the order it happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    /// It failed, and the kernel takes for written what it could not write.
    FailedSync {
        file: String,
    },
    Truncate {
        file: String,
        size: usize,
    },
    /// What was written to the file before `upto` is on disk.
    Sync {
        file: String,
        upto: usize,
    },
    Delete {
        file: String,
    },
    /// Small files beside the database, as they are now.
    Beside(Vec<(String, Vec<u8>)>),
    /// Something the workload says.
    Mark(String),
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// No write finds space after this many.
    FullAfter(usize),
    /// Syncs fail with these numbers, the first included.
    Syncs { first: usize, count: usize },
    /// Whatever changes something fails with these numbers, if it can fail so.
    Changes { trouble: Trouble, first: usize, count: usize },
}

/// What the disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// ENOSPC.
    NoSpace,
    /// EIO.
    Io,
}

/// A call that changes something on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A file that is not there is opened.
    Create,
    Write,
    /// A file shrinks.
    Truncate,
    Sync,
    Delete,
    /// The index of the WAL, in shared memory, grows.
    Map,
}

/// What a connection's `synchronous` really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synchronous {
    AsAsked,
    /// The control: `NORMAL`, though the library set `FULL` and read it back.
    Normal,
    /// The same with `OFF`.
    Off,
}

#[derive(Debug)]
struct State {
    folder: Option<PathBuf>,
    log: Vec<Event>,
    failing: Option<Failing>,
    writes: usize,
    syncs: usize,
    changes: usize,
    failed: usize,
    synchronous: Synchronous,
    /// By the address of the file object: its name, and the methods of the system.
    files: HashMap<usize, (PathBuf, Methods)>,
    /// File objects whose file had a failed sync through another one, and which have not reported it yet.
    untold: HashSet<usize>,
    /// The copies, by the address of what they are copies of.
    copies: HashMap<usize, Methods>,
}

#[derive(Clone, Copy, Debug)]
struct Methods(&'static sqlite3_io_methods);

static STATE: OnceLock<Mutex<State>> = OnceLock::new();

fn state() -> MutexGuard<'static, State> {
    let new = || {
        Mutex::new(State {
            folder: None,
            log: Vec::new(),
            failing: None,
            writes: 0,
            syncs: 0,
            changes: 0,
            failed: 0,
            synchronous: Synchronous::AsAsked,
            files: HashMap::new(),
            untold: HashSet::new(),
            copies: HashMap::new(),
        })
    };
    STATE.get_or_init(new).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to write down what happens to the databases in `folder`.
pub(crate) fn record(folder: &Path, synchronous: Synchronous) {
    methods::install();
    let mut state = state();
    state.folder = Some(folder.to_owned());
    state.log.clear();
    state.begin(None);
    state.synchronous = synchronous;
}

/// Ends it, and gives everything.
pub(crate) fn stop() -> Vec<Event> {
    let mut state = state();
    state.folder = None;
    state.failing = None;
    state.synchronous = Synchronous::AsAsked;
    std::mem::take(&mut state.log)
}

/// Everything until now, while it goes on.
pub(crate) fn so_far() -> Vec<Event> {
    let mut state = state();
    state.look_beside();
    state.log.clone()
}

/// From now on these fail; counted from now.
pub(crate) fn fail(failing: Option<Failing>) {
    state().begin(failing);
}

/// How many calls have failed since.
pub(crate) fn failed() -> usize {
    state().failed
}

/// The workload says something.
pub(crate) fn mark(text: String) {
    let mut state = state();
    state.look_beside();
    state.log.push(Event::Mark(text));
}

impl State {
    fn begin(&mut self, failing: Option<Failing>) {
        self.failing = failing;
        (self.writes, self.syncs, self.changes, self.failed) = (0, 0, 0, 0);
    }

    /// Counts a call about a file of the folder; gives what it fails with, if it shall.
    fn fault(&mut self, change: Change) -> Option<c_int> {
        self.writes += usize::from(change == Change::Write);
        self.syncs += usize::from(change == Change::Sync);
        let is_hit =
            |first: usize, count: usize, number| (first..first.saturating_add(count)).contains(&number);
        let code = match (self.failing?, change) {
            (Failing::FullAfter(limit), Change::Write) if self.writes > limit => ffi::SQLITE_FULL,
            (Failing::Syncs { first, count }, Change::Sync) if is_hit(first, count, self.syncs) => {
                ffi::SQLITE_IOERR_FSYNC
            }
            (Failing::Changes { trouble, first, count }, change) => {
                let code = code(trouble, change)?;
                self.changes += 1;
                Some(code).filter(|_| is_hit(first, count, self.changes))?
            }
            _ => return None,
        };
        self.failed += 1;
        Some(code)
    }

    /// A sync failed: as Linux does since 4.13, each other descriptor of the file tells of it once.
    fn tell_others(&mut self, file: *mut sqlite3_file) {
        let Some((path, _)) = self.files.get(&(file as usize)) else { return };
        let others = self.files.iter().filter(|(other, (its, _))| **other != file as usize && its == path);
        self.untold.extend(others.map(|(other, _)| *other));
    }

    /// The name of a file that is written down.
    fn name(&self, file: *mut sqlite3_file) -> Option<String> {
        let (path, _) = self.files.get(&(file as usize))?;
        self.local(path)
    }

    fn local(&self, path: &Path) -> Option<String> {
        let local = path.strip_prefix(self.folder.as_ref()?).ok()?;
        Some(local.to_str()?.to_owned())
    }

    fn look_beside(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.join("idem.db-idem")).into_iter().flatten().flatten() {
            if let (Ok(bytes), Ok(name)) = (std::fs::read(entry.path()), entry.file_name().into_string()) {
                found.push((name, bytes));
            }
        }
        self.log.push(Event::Beside(found));
    }
}

/// What SQLite's own layer answers for such a trouble; `None` where there can be none.
fn code(trouble: Trouble, change: Change) -> Option<c_int> {
    match (trouble, change) {
        (_, Change::Create) => Some(ffi::SQLITE_CANTOPEN),
        (Trouble::NoSpace, Change::Write) => Some(ffi::SQLITE_FULL),
        (Trouble::Io, Change::Write) => Some(ffi::SQLITE_IOERR_WRITE),
        (_, Change::Sync) => Some(ffi::SQLITE_IOERR_FSYNC),
        (_, Change::Map) => Some(ffi::SQLITE_IOERR_SHMSIZE),
        (Trouble::Io, Change::Truncate) => Some(ffi::SQLITE_IOERR_TRUNCATE),
        (Trouble::Io, Change::Delete) => Some(ffi::SQLITE_IOERR_DELETE),
        (Trouble::NoSpace, Change::Truncate | Change::Delete) => None,
    }
}
