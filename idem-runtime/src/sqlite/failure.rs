//! The errors of `SQLite`: what was written, and the error of the call.

use rusqlite::ffi;

use crate::backend::{self, WriteOutcome};
use crate::error::{Advice, Error};
use crate::sqlite::records::ReadError;

/// How a failed COMMIT left things. One that failed in an fsync was found on disk after recovery in 25 of 31 cases:
/// its outcome is unknown, never "did not happen".
pub(crate) fn of_commit(error: &rusqlite::Error) -> WriteOutcome {
    match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => WriteOutcome::Busy,
        // A deferred constraint or a commit hook says no before anything is written.
        ffi::SQLITE_FULL | ffi::SQLITE_CONSTRAINT => WriteOutcome::NotWritten,
        _ => WriteOutcome::Unknown,
    }
}

/// How a statement that failed before the COMMIT left things.
pub(crate) fn of_statement(error: &rusqlite::Error) -> WriteOutcome {
    match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => WriteOutcome::Busy,
        _ => WriteOutcome::NotWritten,
    }
}

fn primary_code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code & 0xff)
}

/// The error of a call whose store failed before the body ran.
pub(crate) fn error(error: rusqlite::Error, doing: &str) -> Error {
    let Some((fact, advice)) = explanation(&error) else {
        return Error::store(format!("{doing} failed")).because(error);
    };
    Error::store(format!("{doing} failed: {fact}")).advise(advice).because(error)
}

fn explanation(error: &rusqlite::Error) -> Option<(&'static str, Advice)> {
    Some(match primary_code(error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            ("another program holds the write lock of the database", Advice::ShortTransactions)
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

/// The error of a read, which can also find a damaged record. The store keeps such a record as it is.
pub(crate) fn of_read(failure: ReadError, doing: &str) -> Error {
    match failure {
        ReadError::Sqlite(sqlite) => error(sqlite, doing),
        ReadError::Damaged(what) => backend::damaged(what, doing),
    }
}

/// The error of an open that failed.
pub(crate) fn opening(error: rusqlite::Error) -> Error {
    self::error(error, OPENING)
}

/// The error of a read while the store is opened.
pub(crate) fn opening_read(failure: ReadError) -> Error {
    of_read(failure, OPENING)
}

const OPENING: &str = "opening the store";

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_with(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    // "Did not happen" would be a guess for all but the first ones: the frames may be in the log.
    #[test]
    fn a_commit_that_failed_is_unknown_unless_it_is_known() {
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
    fn a_statement_that_failed_wrote_nothing() {
        assert_eq!(of_statement(&failed_with(ffi::SQLITE_BUSY_SNAPSHOT)), WriteOutcome::Busy);
        assert_eq!(of_statement(&failed_with(ffi::SQLITE_IOERR_WRITE)), WriteOutcome::NotWritten);
    }
}
