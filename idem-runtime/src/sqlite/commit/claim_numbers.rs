//! Claim numbers: issued once in the life of a store, also across a commit whose outcome is unknown.

use rusqlite::Connection;

use crate::backend::request::Request;
use crate::protocol::change::Expect;
use crate::protocol::record::Record;
use crate::sqlite::records::ReadError;
use crate::sqlite::{counters, records};
use crate::waiting::in_flight::InFlight;

/// The claim number of a request that makes a claim, once a number is assigned.
pub(super) fn of(request: &Request) -> Option<u64> {
    let new = request.change.new.as_ref().filter(|_| request.is_claim())?;
    Some(new.claim).filter(|claim| *claim > 0)
}

/// Gives every new record its claim number. Returns the highest number issued.
///
/// A record keeps the number of an earlier try only if that try is on disk. Otherwise another process may have taken the
/// number.
pub(super) fn issue(
    conn: &Connection,
    in_flight: &InFlight,
    batch: &mut [Request],
    highest: u64,
) -> rusqlite::Result<Option<u64>> {
    let needs_number =
        |request: &&mut Request| request.is_claim() || matches!(request.change.expect, Expect::Free { .. });
    let mut fresh =
        batch.iter_mut().filter(needs_number).filter_map(|request| request.change.new.as_mut()).peekable();
    if fresh.peek().is_none() {
        return Ok(None);
    }
    let mut issued = counters::claims_issued(conn)?.max(highest);
    for new in fresh {
        if new.claim > 0 {
            if is_written(conn, new)? {
                continue;
            }
            in_flight.complete(new.claim, None);
        }
        issued += 1;
        new.claim = issued;
    }
    Ok(Some(issued))
}

/// Whether an earlier try to write this record is on disk.
fn is_written(conn: &Connection, new: &Record) -> rusqlite::Result<bool> {
    match records::get(conn, &new.slot) {
        Ok(found) => Ok(found.is_some_and(|found| found.same_as(new))),
        Err(ReadError::Damaged(_)) => Ok(false),
        Err(ReadError::Sqlite(error)) => Err(error),
    }
}
