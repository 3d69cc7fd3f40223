//! A folder with a store, and the traces of its calls.

use std::path::PathBuf;

use idem_runtime::Store;
use idem_tests::deadline;
use idem_tests::halt::LONG;
use rusqlite::{Connection, OpenFlags};

/// A folder with a store, and the ledger in which bodies leave their traces.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        deadline::start();
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("idem.db")
    }

    /// A file beside the database: `-wal`, `-shm`, or the folder `-idem`.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("idem.db{suffix}"))
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.database()).unwrap()
    }

    /// A connection beside the store.
    pub(crate) fn connect(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = Connection::open_with_flags(self.database(), flags).unwrap();
        conn.busy_timeout(LONG).unwrap();
        conn
    }

    /// The lock files of the owners there are.
    pub(crate) fn owner_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.beside("-idem")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("owner-")).collect()
    }

    /// The effects of a key: the values that bodies left.
    pub(crate) fn effects(&self, key: &str) -> Vec<String> {
        let ledger = std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default();
        let lines = ledger.lines().map(|line| line.split_once(' ').unwrap());
        lines.filter(|(of, _)| *of == key).map(|(_, value)| value.to_owned()).collect()
    }
}
