//! Records that are missing at open: refused, or accepted.

use rusqlite::Connection;

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::host::high_water::HighWater;
use crate::sqlite::counters;
use crate::sqlite::failure::opening;

/// Counts the records, and accepts what is missing.
pub(super) fn accept_missing_records(conn: &Connection) -> Result<Loss, Error> {
    if counters::lost_records(conn).map_err(opening)?.is_none() {
        return Ok(Loss::None);
    }
    counters::accept_records(conn).map_err(opening)?;
    Ok(Loss::Accepted)
}

/// Whether an open has accepted that records are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    None,
    Accepted,
}

/// Compares the last claim number of the database with the high-water file. A lower number means lost records.
pub(super) fn check_high_water(
    conn: &Connection,
    high_water: &mut HighWater,
    accept_lost_records: bool,
) -> Result<Loss, Error> {
    let issued = counters::claims_issued(conn).map_err(opening)?;
    let Some(highest) = high_water.read().filter(|highest| *highest > issued) else { return Ok(Loss::None) };
    if accept_lost_records {
        counters::write(conn, Some(highest), 0).map_err(opening)?;
        return Ok(Loss::Accepted);
    }
    let message =
        format!("the store has lost records: its last claim is {issued}, its high-water mark is {highest}");
    Err(Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreNewest))
}
