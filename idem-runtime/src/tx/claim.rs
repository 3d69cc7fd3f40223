//! The claim of a `tx` call, from its running record to the end of the body.

use crate::call::claim::End;
use crate::call::prepared::Prepared;
use crate::error::{Error, Ran};
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::{NO_OWNER, Record, Status};
use crate::sqlite::records::ReadError;
use crate::sqlite::{changes, purge};
use crate::tx::connection::{next_claim_number, unreadable};
use crate::tx::savepoint::Savepoint;

mod ended_by_body;

/// Every so many claims, a `tx` call purges expired records: nobody else does in a database without a store.
const PURGE_EVERY: u64 = 64;
/// How many records one call purges at most: more than the calls since the last purge can have added.
const PURGE_LIMIT: u32 = 128;

/// The right to run a `tx` body. If the claim is dropped before its end, nothing of the call remains.
pub(super) struct TxClaim<'conn> {
    savepoint: Savepoint<'conn>,
    /// The running record, the first write inside the savepoint.
    record: Record,
    /// The record that the running one replaced.
    over: Option<Record>,
}

impl<'conn> TxClaim<'conn> {
    /// Writes the running record in place of the record `over`, if there is one.
    ///
    /// `expired` lists the claims of this call that have expired, under its name and its earlier names.
    pub(super) fn take(
        savepoint: Savepoint<'conn>,
        call: &Prepared,
        over: Option<Record>,
        expired: Vec<u64>,
        attempt: u32,
    ) -> Result<TxClaim<'conn>, Error> {
        let again = over.as_ref().filter(|over| !over.status.is_finished());
        let returned = again.map_or(0, |again| again.returned);
        let mut new = Record { attempt, returned, owner: NO_OWNER, ..call.first_record(over.as_ref()) };
        savepoint.timeline.stamp(&mut new);
        new.claim = next_claim_number(savepoint.conn)?;
        let issued = Some(new.claim);
        if new.claim.is_multiple_of(PURGE_EVERY) {
            purge::in_transaction(savepoint.conn, &savepoint.timeline, PURGE_LIMIT).map_err(unreadable)?;
        }
        let mut change = match &over {
            Some(record) if !record.status.is_finished() => {
                let expect = Expect::Exactly(record.claim, record.status);
                Change { slot: record.slot, expect, new: Some(new) }
            }
            over => call.claim_change(new, over.as_ref(), expired),
        };
        let applied = changes::apply(savepoint.conn, &mut change, issued).map_err(unreadable)?;
        match (applied, change.new) {
            (Applied::Yes, Some(record)) => Ok(TxClaim { savepoint, record, over }),
            (Applied::Damaged(what), _) => Err(unreadable(ReadError::Damaged(what))),
            _ => Err(Error::store("the record changed inside one transaction")),
        }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Writes the end of the call, and commits if the call began the transaction.
    ///
    /// With `undo`, everything that the body wrote is rolled back first.
    pub(super) fn end(mut self, end: End, undo: bool) -> Result<(), Error> {
        if self.savepoint.conn.is_autocommit() || (undo && !self.savepoint.undo()) {
            return Err(self.ended_by_body());
        }
        if let Some(new) = end.applied_to(&self.record)
            && let Err(error) = self.write_end(new, undo)
        {
            return Err(error.unwrap_or_else(|| self.ended_by_body()));
        }
        if !self.savepoint.release() {
            return Err(self.ended_by_body());
        }
        if self.savepoint.owns_transaction { self.savepoint.commit() } else { Ok(()) }
    }

    /// Writes the final record. `Err(None)` if the running record is gone, and the transaction with it.
    fn write_end(&self, mut new: Record, undone: bool) -> Result<(), Option<Error>> {
        self.savepoint.timeline.stamp(&mut new);
        let expect = match (undone, &self.over) {
            (false, _) => Expect::Exactly(self.record.claim, Status::Running),
            // The rollback removed the running record, so one change writes the claim and its end.
            (true, Some(over)) if !over.status.is_finished() => Expect::Exactly(over.claim, over.status),
            (true, over) => free(over.as_ref().map(|over| over.claim)),
        };
        let conn = self.savepoint.conn;
        let issued = if undone { Some(next_claim_number(conn).map_err(Some)?) } else { None };
        new.claim = issued.unwrap_or(new.claim);
        let mut change = Change { slot: new.slot, expect, new: Some(new) };
        match changes::apply(conn, &mut change, issued)
            .map_err(|failure| Some(unreadable(failure).with_ran(Ran::Yes)))?
        {
            Applied::Yes => Ok(()),
            Applied::No(_) => Err(None),
            Applied::Damaged(what) => Err(Some(unreadable(ReadError::Damaged(what)).with_ran(Ran::Yes))),
        }
    }
}

impl Drop for TxClaim<'_> {
    /// After a panic of the body. The savepoint rolls back in its own drop.
    fn drop(&mut self) {
        if !self.savepoint.ended && (self.savepoint.conn.is_autocommit() || !self.savepoint.undo()) {
            drop(self.ended_by_body());
        }
    }
}

/// Expects a free slot. The transaction has already read the slots of the earlier names.
fn free(over: Option<u64>) -> Expect {
    Expect::Free { over, nor_in: Vec::new(), expired: Vec::new() }
}
