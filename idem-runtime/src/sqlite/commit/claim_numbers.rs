//! Claim numbers: each is issued once in the life of a store, also after a commit whose outcome is unknown.

use rusqlite::Connection;

use crate::backend::Failure;
use crate::backend::request::Request;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::Expect;
use crate::protocol::record::Record;
use crate::sqlite::records::ReadError;
use crate::sqlite::{counters, failure, records};
use crate::waiting::in_flight::InFlight;

/// The claim numbers that the committer knows.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The highest number that was ever tried.
    pub(super) tried: u64,
    /// The highest number that is known to be committed.
    pub(super) committed: u64,
}

impl Known {
    /// The highest number of the database. Fails if this number is below the committed one.
    pub(super) fn check(self, conn: &Connection) -> Result<u64, Failure> {
        let stored = counters::claims_issued(conn).map_err(failure::statement_failed)?;
        if stored >= self.committed {
            return Ok(stored);
        }
        let message = format!(
            "the database went back in time while the store was open: its last claim is {stored} instead of {}",
            self.committed
        );
        let error = Error::new(ErrorKind::Replaced, Ran::No, message).advise(Advice::RestoreReplaced);
        Err(failure::not_written(error))
    }
}

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
    known: Known,
) -> Result<Option<u64>, Failure> {
    let needs_number =
        |request: &&mut Request| request.is_claim() || matches!(request.change.expect, Expect::Free { .. });
    let mut fresh =
        batch.iter_mut().filter(needs_number).filter_map(|request| request.change.new.as_mut()).peekable();
    if fresh.peek().is_none() {
        return Ok(None);
    }
    let mut issued = known.check(conn)?.max(known.tried);
    for new in fresh {
        if new.claim > 0 {
            if is_written(conn, new).map_err(failure::statement_failed)? {
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
