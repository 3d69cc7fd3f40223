//! A body that ended the transaction of its call. Rows that SQLite has committed remain, so the call is in doubt.

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::{Reason, Record};
use crate::sqlite::records::ReadError;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{changes, records};
use crate::tx::claim::{TxClaim, free};
use crate::tx::connection::{failed, next_claim_number, unreadable};
use crate::tx::savepoint::roll_back_transaction;

impl TxClaim<'_> {
    /// Records the doubt, and gives the error that says what is committed.
    pub(super) fn ended_by_body(&mut self) -> Error {
        self.savepoint.ended = true;
        let conn = self.savepoint.conn;
        let is_open = !self.savepoint.owns_transaction && !conn.is_autocommit();
        if self.savepoint.owns_transaction && !conn.is_autocommit() {
            // The body began a transaction in place of the one of the call.
            roll_back_transaction(conn);
        }
        let standing = records::get(conn, &self.record.slot).ok().flatten();
        let committed = standing.as_ref().is_some_and(|standing| standing.claim == self.record.claim);
        let noted = self.note_doubt(standing);
        let rows = match (committed, is_open) {
            (true, false) => "rows written before are committed",
            (true, true) => "rows written before are in the database or in the open transaction",
            (false, _) => "rows written before are rolled back, rows written after are not",
        };
        let error = |record: &str| {
            let message = format!("the body ended the transaction it was given: {rows}, and {record}");
            Error::new(ErrorKind::InDoubt, Ran::Yes, message).advise(Advice::NoTransactionControl)
        };
        match noted {
            Ok(()) => error("the call is in doubt"),
            Err(cause) => error("the doubt is not recorded").because(cause),
        }
    }

    /// Writes the record in doubt over `standing`, unless `standing` belongs to a later call.
    fn note_doubt(&self, standing: Option<Record>) -> Result<(), Error> {
        let (conn, record) = (self.savepoint.conn, &self.record);
        let mut doubt = record.in_doubt(Reason::TransactionEnded);
        self.savepoint.timeline.stamp(&mut doubt);
        // The record and the counters must be one commit, also if no transaction is open.
        let own = conn.is_autocommit().then(|| WriteTransaction::begin(conn));
        let own = own.transpose().map_err(failed)?;
        let (issued, expect) = match standing {
            Some(standing) if standing.claim == record.claim => {
                (None, Expect::Exactly(standing.claim, standing.status))
            }
            Some(standing) if self.over.as_ref().is_some_and(|over| over.claim == standing.claim) => {
                (Some(next_claim_number(conn)?), Expect::Exactly(standing.claim, standing.status))
            }
            Some(_) => return Ok(()),
            None => (Some(next_claim_number(conn)?), free(None)),
        };
        let new = Record { claim: issued.unwrap_or(record.claim), ..doubt };
        let mut change = Change { slot: record.slot, expect, new: Some(new) };
        match changes::apply(conn, &mut change, issued).map_err(unreadable)? {
            Applied::Yes => own.map_or(Ok(()), WriteTransaction::commit).map_err(failed),
            Applied::No(_) => Err(Error::store("another call has replaced the record")),
            Applied::Damaged(what) => Err(unreadable(ReadError::Damaged(what))),
        }
    }
}
