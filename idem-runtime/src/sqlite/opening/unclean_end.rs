//! The check of a store after an unclean end: before the open takes a lock, so that other processes go on.
//!
//! The records are counted at once. The integrity check of a large store takes about 15 s for a million records, so it runs
//! after the open, on a thread of its own.

use rusqlite::Connection;

use crate::error::Error;
use crate::event;
use crate::host::sidecar::Sidecar;
use crate::locks::liveness::LivenessProbe;
use crate::sqlite::failure::opening;
use crate::sqlite::integrity;
use crate::sqlite::opening::{Opening, dead_owners};
use crate::sqlite::{connection, counters, schema};

/// Largest store that is checked after an unclean end, in bytes.
const CHECK_BYTES_MAX: u64 = 256 << 20;
/// A store with more records opens before its integrity is checked.
const CHECK_AT_ONCE_MAX: i64 = 100_000;

/// What is left to check once the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Complete,
    Later,
}

/// Checks a store that some process did not close, in one read transaction.
pub(super) fn check(
    conn: &Connection,
    sidecar: &Sidecar,
    asked: &Opening,
    had_wal: bool,
) -> Result<Check, Error> {
    if !schema::has_tables(conn).map_err(opening)? {
        return Ok(Check::Complete);
    }
    let owners = dead_owners::find(conn, &LivenessProbe::new(sidecar, ""))?;
    // A clean close deletes the WAL. A WAL without an owner may be newer than the database. An old copy of the database
    // has no row of the owner that left the WAL.
    if owners.dead.is_empty() && !(had_wal && owners.living == 0) {
        return Ok(Check::Complete);
    }
    let snapshot = conn.unchecked_transaction().map_err(opening)?;
    let bytes = connection::database_bytes(&snapshot).map_err(opening)?;
    if bytes > CHECK_BYTES_MAX {
        event::check_skipped(bytes);
        return Ok(Check::Complete);
    }
    let is_late = counters::expected_records(&snapshot).map_err(opening)? > CHECK_AT_ONCE_MAX;
    if !is_late {
        integrity::check_pages(&snapshot)?;
    }
    if !asked.accept_lost_records {
        integrity::check_count(&snapshot)?;
    }
    Ok(if is_late { Check::Later } else { Check::Complete })
}
