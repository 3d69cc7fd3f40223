//! Errors of `SQLite` on the caller's connection.

use rusqlite::ffi;

use crate::error::{Advice, Error};
use crate::sqlite::failure;
use crate::sqlite::records::ReadError;

const DOING: &str = "writing the record in the transaction";

pub(super) fn failed(error: rusqlite::Error) -> Error {
    let stale = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_BUSY_SNAPSHOT);
    if stale {
        return Error::store("the transaction reads an old snapshot of the database and cannot write")
            .advise(Advice::BeginImmediate)
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
