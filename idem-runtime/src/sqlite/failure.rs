//! Errors of SQLite: the outcome of a failed write, and the error that a caller gets.

use std::path::Path;

use rusqlite::{Connection, ffi};

use crate::backend::{self, Failure, WriteOutcome};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::host::lock_holder;
use crate::host::lock_holder::LockHolder;
use crate::sqlite::records::ReadError;

/// The outcome of a failed COMMIT.
///
/// A COMMIT that fails in its fsync may still be on disk: recovery found 25 of 31 such commits. So its outcome is unknown.
pub(crate) fn of_commit(error: &rusqlite::Error) -> WriteOutcome {
    match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => WriteOutcome::Busy,
        // A deferred constraint or a commit hook refuses the COMMIT before anything is written.
        ffi::SQLITE_FULL | ffi::SQLITE_CONSTRAINT => WriteOutcome::NotWritten,
        _ => WriteOutcome::Unknown,
    }
}

/// The outcome of a write in which a statement before the COMMIT failed.
pub(crate) fn of_statement(error: &rusqlite::Error) -> WriteOutcome {
    match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => WriteOutcome::Busy,
        _ => WriteOutcome::NotWritten,
    }
}

fn primary_code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code & 0xff)
}

/// Wraps an error that happened before anything was written.
pub(crate) fn not_written(error: Error) -> Failure {
    Failure { outcome: WriteOutcome::NotWritten, error }
}

/// The failure of a batch in which a statement before the COMMIT failed.
pub(crate) fn statement_failed(error: rusqlite::Error) -> Failure {
    Failure { outcome: of_statement(&error), error: self::error(error, "writing to the store") }
}

/// The failure of a batch whose transaction could not begin.
pub(crate) fn batch_not_begun(conn: &Connection, error: rusqlite::Error) -> Failure {
    Failure { outcome: of_statement(&error), error: not_begun(conn, error, "writing to the store") }
}

/// The error of a transaction that could not begin: says whose connection holds the write lock.
pub(crate) fn not_begun(conn: &Connection, error: rusqlite::Error, doing: &str) -> Error {
    if of_statement(&error) != WriteOutcome::Busy {
        return self::error(error, doing);
    }
    let holder = conn.path().and_then(|path| lock_holder::of_write_lock(Path::new(path)));
    let (who, advice) = holder.map_or(("another connection".to_owned(), Advice::ShortTransactions), words);
    let message = format!("{doing} failed: {who} holds the write lock of the database");
    Error::store(message).advise(advice).because(error)
}

/// The error of a write of `what` that did not come in time.
pub(crate) fn not_in_time(database: &Path, what: &str) -> Error {
    let Some((who, advice)) = lock_holder::of_write_lock(database).map(words) else {
        return Error::not_in_time(what);
    };
    Error::store(format!("{what} was not written in time: {who} holds the write lock of the database"))
        .advise(advice)
}

fn words(holder: LockHolder) -> (String, Advice) {
    match holder {
        LockHolder::ThisProcess => ("another connection of this process".to_owned(), Advice::OwnTransaction),
        LockHolder::Process(pid) => (format!("process {pid}"), Advice::ShortTransactions),
    }
}

/// The failure of a batch whose COMMIT failed.
pub(crate) fn commit_failed(error: rusqlite::Error) -> Failure {
    Failure { outcome: of_commit(&error), error: self::error(error, "committing to the store") }
}

/// The error of a call whose store failed while `doing` something, before the body ran.
pub(crate) fn error(error: rusqlite::Error, doing: &str) -> Error {
    let Some((fact, advice)) = explanation(&error) else {
        return Error::store(format!("{doing} failed")).because(error);
    };
    Error::new(kind(&error), Ran::No, format!("{doing} failed: {fact}")).advise(advice).because(error)
}

fn kind(error: &rusqlite::Error) -> ErrorKind {
    match primary_code(error) {
        ffi::SQLITE_FULL => ErrorKind::DiskFull,
        ffi::SQLITE_CORRUPT => ErrorKind::Damaged,
        _ => ErrorKind::Store,
    }
}

fn explanation(error: &rusqlite::Error) -> Option<(&'static str, Advice)> {
    // No statement of the store returns rows when it writes, unless this pragma adds one.
    if matches!(error, rusqlite::Error::ExecuteReturnedResults) {
        return Some(("the connection has `PRAGMA count_changes` on", Advice::CountChangesOff));
    }
    Some(match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            ("another connection holds the write lock of the database", Advice::ShortTransactions)
        }
        ffi::SQLITE_FULL => ("the disk is full", Advice::FreeSpace),
        ffi::SQLITE_READONLY => ("the database or its folder is not writable", Advice::Permissions),
        ffi::SQLITE_IOERR => ("the disk reported an error", Advice::CheckDisk),
        ffi::SQLITE_CANTOPEN => {
            ("the database, its `-wal` or its `-shm` cannot be opened", Advice::OpenFiles)
        }
        ffi::SQLITE_NOTADB => ("the file is encrypted or not an SQLite database", Advice::CheckPath),
        ffi::SQLITE_CORRUPT => ("the database is damaged or unreadable", Advice::RestoreDamaged),
        _ => return None,
    })
}

/// The error of a read. The store keeps a damaged record unchanged.
pub(crate) fn of_read(failure: ReadError, doing: &str) -> Error {
    match failure {
        ReadError::Sqlite(sqlite) => error(sqlite, doing),
        ReadError::Damaged(what) => backend::damaged(what, doing),
    }
}

pub(crate) const OPENING: &str = "opening the store";

/// The error of a failed open.
pub(crate) fn opening(error: rusqlite::Error) -> Error {
    self::error(error, OPENING)
}

/// The error of a failed read during an open.
pub(crate) fn opening_read(failure: ReadError) -> Error {
    of_read(failure, OPENING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_with(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_commit_is_unknown_unless_sqlite_refused_it_before_writing() {
        for (code, outcome) in [
            (ffi::SQLITE_BUSY, WriteOutcome::Busy),
            (ffi::SQLITE_FULL, WriteOutcome::NotWritten),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, WriteOutcome::NotWritten),
            (ffi::SQLITE_CONSTRAINT_COMMITHOOK, WriteOutcome::NotWritten),
            (ffi::SQLITE_IOERR_FSYNC, WriteOutcome::Unknown),
            (ffi::SQLITE_IOERR_WRITE, WriteOutcome::Unknown),
            (ffi::SQLITE_CORRUPT, WriteOutcome::Unknown),
        ] {
            assert_eq!(of_commit(&failed_with(code)), outcome, "code {code}");
        }
    }

    #[test]
    fn a_failed_statement_wrote_nothing() {
        assert_eq!(of_statement(&failed_with(ffi::SQLITE_BUSY_SNAPSHOT)), WriteOutcome::Busy);
        assert_eq!(of_statement(&failed_with(ffi::SQLITE_IOERR_WRITE)), WriteOutcome::NotWritten);
    }
}
