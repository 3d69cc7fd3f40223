//! The database of an application for tests of `tx`: rows of bodies must come and go with their records.

use std::path::PathBuf;

use idem_runtime::{Call, Error, ErrorKind, Store, install};
use idem_tests::deadline;
use idem_tests::shared::call;
use rusqlite::{Connection, OpenFlags};

/// The errors of a function with an effect in the database.
#[derive(Debug)]
pub(crate) enum Failure {
    Ours(Error),
    #[expect(dead_code, reason = "it is shown when a test fails")]
    Sqlite(rusqlite::Error),
    Own(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sqlite(error)
    }
}

/// The result of a function of these tests: the number of postings.
pub(crate) type Posted = Result<i64, Failure>;

/// The error of the store that a call must end with.
pub(crate) fn ours(posted: Posted) -> Error {
    match posted {
        Err(Failure::Ours(error)) => error,
        other => panic!("no error of ours: {other:?}"),
    }
}

/// The same, of this kind.
pub(crate) fn refused(posted: Posted, kind: ErrorKind) -> Error {
    let error = ours(posted);
    assert_eq!(error.kind(), kind, "{error}");
    error
}

/// A body that must not run.
pub(crate) fn not_run() -> Posted {
    unreachable!("the body ran")
}

/// A folder with the application's database.
#[derive(Debug)]
pub(crate) struct Books {
    folder: tempfile::TempDir,
}

impl Books {
    /// In WAL mode, with our tables and one of its own.
    pub(crate) fn new() -> Books {
        Books::in_mode("WAL")
    }

    pub(crate) fn in_mode(journal: &str) -> Books {
        let books = Books::bare();
        let conn = books.open();
        set(&conn, "journal_mode", journal);
        lay_out(&conn);
        install(&conn).unwrap();
        books
    }

    /// A file that holds nothing.
    pub(crate) fn bare() -> Books {
        deadline::start();
        Books { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("books.db")
    }

    /// A connection as an application opens it.
    pub(crate) fn open(&self) -> Connection {
        open(&self.path())
    }

    /// The same file as a store that other programs have open.
    pub(crate) fn shared(&self) -> Store {
        Store::builder().shared().open(self.path()).unwrap()
    }
}

pub(crate) fn open(path: &std::path::Path) -> Connection {
    let conn = Connection::open_with_flags(path, OpenFlags::default()).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    conn
}

/// The application's own table.
pub(crate) fn lay_out(conn: &Connection) {
    conn.execute_batch("CREATE TABLE posting (text TEXT NOT NULL)").unwrap();
}

pub(crate) fn set(conn: &Connection, pragma: &str, value: &str) {
    // Some answer with a row, some do not.
    conn.pragma_update_and_check(None, pragma, value, |_| Ok(()))
        .or_else(|_| conn.pragma_update(None, pragma, value))
        .unwrap();
}

/// The effect: gives how many postings there are with it.
pub(crate) fn post(conn: &Connection, text: &str) -> Posted {
    conn.execute("INSERT INTO posting VALUES (?1)", [text])?;
    Ok(conn.query_row("SELECT count(*) FROM posting", [], |row| row.get(0))?)
}

/// Everything posted, as this connection sees it.
pub(crate) fn postings(conn: &Connection) -> Vec<String> {
    let mut statement = conn.prepare("SELECT text FROM posting ORDER BY rowid").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

pub(crate) const IN_DOUBT: i64 = 2;
pub(crate) const DONE: i64 = 3;
pub(crate) const FAILED: i64 = 4;

/// The stored status of a call, as this connection sees it.
pub(crate) fn status(conn: &Connection, key: &str) -> Option<i64> {
    let mut statement = conn.prepare("SELECT status FROM idem_record WHERE key = ?1").unwrap();
    statement.query_map([key], |row| row.get(0)).unwrap().next().transpose().unwrap()
}

/// A call of these tests.
pub(crate) fn booking(key: &str) -> Call {
    call("books.post").key(key)
}
