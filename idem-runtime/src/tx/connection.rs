//! The user's connection: the settings that a `tx` call requires, the state of the store in it, and its errors.

use std::sync::LazyLock;

use rusqlite::{Connection, ffi};

use crate::error::{Advice, Error};
use crate::host::clock::{Clock, Reading, SystemClock};
use crate::sqlite::records::ReadError;
use crate::sqlite::timeline::{BootRow, Timeline};
use crate::sqlite::{counters, failure, schema, store_clock};

const DOING: &str = "writing the record in the transaction";

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// The id of the store in this database. Checks that its tables exist and that their version is known.
pub(super) fn store_id(conn: &Connection) -> Result<[u8; 16], Error> {
    let read = |name| {
        // Records in an attached database would not commit together with the rows of this one.
        let mut statement = conn.prepare_cached("SELECT value FROM main.idem_meta WHERE name = ?1")?;
        statement.query_row([name], |row| row.get(0))
    };
    let id = read("store").map_err(|error| match error {
        rusqlite::Error::SqliteFailure(failure, Some(text))
            if failure.extended_code == ffi::SQLITE_ERROR && text.contains("no such table") =>
        {
            Error::store("the database has no tables for records").advise(Advice::Install)
        }
        error => failed(error),
    })?;
    schema::check_version(conn)?;
    Ok(id)
}

/// Refuses journal modes in which SQLite cannot roll back, or in which a crash can tear the file.
pub(super) fn check_journal(conn: &Connection) -> Result<(), Error> {
    let mode: String = conn
        .prepare_cached("PRAGMA main.journal_mode")
        .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    let is_file = conn.path().is_some_and(|path| !path.is_empty());
    if mode != "off" && (mode != "memory" || !is_file || !conn.is_autocommit()) {
        return Ok(());
    }
    let message =
        format!("the connection is in journal mode `{mode}`, in which a crash can tear the database");
    Err(Error::store(message).advise(Advice::KeepJournal))
}

/// Refuses a connection that does not fsync its commits. The pragma belongs to the user and is not changed.
pub(super) fn check_durable(conn: &Connection) -> Result<(), Error> {
    let synchronous: i64 = conn
        .prepare_cached("PRAGMA main.synchronous")
        .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    if synchronous >= 2 {
        return Ok(());
    }
    Err(Error::store("the connection does not fsync its commits").advise(Advice::SynchronousFull))
}

/// The boots that the store knows now, and the row of the current boot if this row must be written.
pub(super) fn timeline(conn: &Connection) -> Result<(Timeline, Option<BootRow>), Error> {
    let rows = store_clock::read_boots(conn).map_err(failed)?;
    let known = rows.iter().find(|row| row.boot_id == CLOCK.boot_id()).cloned();
    let (timeline, row) = Timeline::open(rows, &CLOCK.boot_id(), Reading::of(&*CLOCK));
    let is_due = known.is_none_or(|known| row.must_replace(&known));
    Ok((timeline, is_due.then_some(row)))
}

pub(super) fn next_claim_number(conn: &Connection) -> Result<u64, Error> {
    counters::claims_issued(conn).map(|issued| issued.saturating_add(1)).map_err(failed)
}

/// The error of a BEGIN that failed in autocommit mode.
///
/// A connection without a transaction reads an old snapshot only while one of its statements is open.
pub(super) fn begin_failed(conn: &Connection, error: rusqlite::Error) -> Error {
    if is_stale(&error) {
        return Error::store("an open query of the connection reads an old snapshot of the database")
            .advise(Advice::FinishStatement)
            .because(error);
    }
    failure::not_begun(conn, error, DOING)
}

fn is_stale(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_BUSY_SNAPSHOT)
}

pub(super) fn failed(error: rusqlite::Error) -> Error {
    if is_stale(&error) {
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
