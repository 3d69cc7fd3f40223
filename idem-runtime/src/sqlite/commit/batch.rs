//! The transaction of one batch.

use rusqlite::Connection;

use crate::backend::Failure;
use crate::backend::request::Request;
use crate::protocol::change::Applied;
use crate::sqlite::changes::Changes;
use crate::sqlite::checkpoint::BatchSize;
use crate::sqlite::commit::claim_numbers;
use crate::sqlite::commit::claim_numbers::Known;
use crate::sqlite::records::ReadError;
use crate::sqlite::timeline::BootRow;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{failure, store_clock};
use crate::waiting::in_flight::InFlight;

/// Applies a batch in one transaction. Returns how each change was applied, and the highest claim number issued.
///
/// Granted claims are registered in memory before the COMMIT makes them visible in the database.
pub(super) fn write(
    conn: &Connection,
    in_flight: &InFlight,
    batch: &mut [Request],
    known: Known,
    due: Option<&BootRow>,
) -> Result<(Vec<Applied>, Option<u64>), Failure> {
    let transaction = WriteTransaction::begin(conn).map_err(|error| failure::batch_not_begun(conn, error))?;
    let issued = claim_numbers::issue(&transaction, in_flight, batch, known)?;
    let mut applied = Vec::with_capacity(batch.len());
    let mut changes = Changes::new(&transaction);
    for request in &mut *batch {
        applied.push(apply(&mut changes, request)?);
    }
    if issued.is_none() && applied.iter().any(|applied| matches!(applied, Applied::No(_))) {
        // The record of a call that ends may be missing because the database was set back to an older state.
        known.check(&transaction)?;
    }
    changes.finish(issued).map_err(failure::statement_failed)?;
    if let Some(row) = due {
        store_clock::write_boot(&transaction, row).map_err(failure::statement_failed)?;
    }
    for (request, outcome) in batch.iter_mut().zip(&applied) {
        if let (Applied::Yes, Some(claim)) = (outcome, claim_numbers::of(request)) {
            in_flight.register(claim, request.handoff.take());
        }
    }
    transaction.commit().map_err(failure::commit_failed)?;
    Ok((applied, issued))
}

/// Applies the change of one request. A damaged row is the answer to its request; the batch goes on.
fn apply(changes: &mut Changes<'_>, request: &mut Request) -> Result<Applied, Failure> {
    match changes.apply(&mut request.change) {
        Ok(applied) => Ok(applied),
        Err(ReadError::Damaged(what)) => Ok(Applied::Damaged(what)),
        Err(ReadError::Sqlite(error)) => Err(failure::statement_failed(error)),
    }
}

/// Counts the records of a batch and the bytes of their results.
pub(super) fn size(batch: &[Request]) -> BatchSize {
    let result_bytes = |request: &Request| {
        request.change.new.as_ref().and_then(|new| new.result.as_ref()).map_or(0, |result| result.bytes.len())
    };
    BatchSize { records: batch.len(), result_bytes: batch.iter().map(result_bytes).sum() }
}
