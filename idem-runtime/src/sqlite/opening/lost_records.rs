//! Checks for damage and for lost records at open.

use rusqlite::Connection;

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::host::high_water::HighWater;
use crate::sqlite::failure::opening;
use crate::sqlite::{connection, counters, schema};

/// Largest store that is checked after an unclean end, in bytes. The check takes about a second per 150 MB.
const CHECK_BYTES_MAX: u64 = 256 << 20;

/// Checks the integrity of a store and the number of its records.
pub(super) fn check_after_unclean_end(conn: &Connection, accept_lost_records: bool) -> Result<(), Error> {
    let bytes = connection::database_bytes(conn).map_err(opening)?;
    if bytes > CHECK_BYTES_MAX {
        event::check_skipped(bytes);
        return Ok(());
    }
    if let Some(problem) = schema::integrity_problem(conn).map_err(opening)? {
        let message = format!("the store is damaged ({problem})");
        return Err(Error::new(ErrorKind::Damaged, Ran::No, message).advise(Advice::RestoreDamaged));
    }
    let Some((found, expected)) = counters::lost_records(conn).map_err(opening)? else { return Ok(()) };
    if accept_lost_records {
        return counters::accept_records(conn).map_err(opening);
    }
    let message = format!("the store has lost records: {found} records found, {expected} expected");
    Err(Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreNewest))
}

/// Compares the last claim number of the database with the high-water file. A lower number means lost records.
pub(super) fn check_high_water(
    conn: &Connection,
    high_water: &mut HighWater,
    accept_lost_records: bool,
) -> Result<(), Error> {
    let issued = counters::claims_issued(conn).map_err(opening)?;
    let Some(highest) = high_water.read().filter(|highest| *highest > issued) else { return Ok(()) };
    if accept_lost_records {
        return counters::write(conn, Some(highest), 0).map_err(opening);
    }
    let message =
        format!("the store has lost records: its last claim is {issued}, its high-water mark is {highest}");
    Err(Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreNewest))
}
