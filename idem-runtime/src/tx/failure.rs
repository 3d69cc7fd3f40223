//! What `SQLite` says no to on the caller's connection.

use rusqlite::ffi;

use crate::error::Error;
use crate::sqlite::failure;
use crate::sqlite::records::ReadError;

const DOING: &str = "writing the record in the transaction";

pub(super) fn failed(error: rusqlite::Error) -> Error {
    let stale = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_BUSY_SNAPSHOT);
    if stale {
        return Error::store(
            "the transaction reads an older state of the database than there is now, and cannot write; nothing was run. \
             Begin it IMMEDIATE",
        )
        .because(error);
    }
    failure::error(error, DOING)
}

pub(super) fn unreadable(failure: ReadError) -> Error {
    match failure {
        ReadError::Sqlite(error) => failed(error),
        damaged @ ReadError::Damaged(_) => failure::of_read(damaged, DOING),
    }
}
