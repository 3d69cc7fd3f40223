//! The inside of a `tx` call: our savepoint, from the claim row to the end of the body.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::clock::{Clock, Reading, SystemClock};
use crate::sqlite::timeline::BootRow;

use rusqlite::Connection;

use super::failure::{failed, unreadable};
use crate::backend::WriteOutcome;
use crate::call::Prepared;
use crate::call::claim::End;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::{NO_OWNER, Reason, Record, Status};
use crate::sqlite::records::ReadError;
use crate::sqlite::timeline::Timeline;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{changes, counters, failure, records, store_clock};

/// Savepoints are told apart: a body must not be able to release ours with one of its own.
static SAVEPOINT: AtomicU64 = AtomicU64::new(1);

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);

/// Our savepoint in a write transaction. Dropped, everything since is rolled back.
pub(crate) struct InTransaction<'conn> {
    conn: &'conn Connection,
    /// The transaction is ours as well, and not only the savepoint.
    ours: bool,
    savepoint: String,
    pub(super) timeline: Timeline,
    /// The record, running; none until it is claimed.
    record: Option<Record>,
    /// What stood there before and is claimed again.
    over: Option<Record>,
    ended: bool,
}

impl<'conn> InTransaction<'conn> {
    pub(super) fn begin(conn: &'conn Connection) -> Result<InTransaction<'conn>, Error> {
        let ours = conn.is_autocommit();
        if ours {
            conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        }
        let number = SAVEPOINT.fetch_add(1, Ordering::Relaxed);
        let savepoint = format!("idem_{}_{number}", std::process::id());
        match open_savepoint(conn, &savepoint) {
            Ok(timeline) => {
                Ok(InTransaction { conn, ours, savepoint, timeline, record: None, over: None, ended: false })
            }
            Err(error) => {
                if ours {
                    // What fails here ends with the connection at the latest.
                    let _ = conn.execute_batch("ROLLBACK");
                }
                Err(error)
            }
        }
    }

    /// Writes the claim row, before anything else in this savepoint.
    pub(super) fn claim(
        &mut self,
        call: &Prepared,
        over: Option<Record>,
        expired: Vec<u64>,
        attempt: u32,
    ) -> Result<(), Error> {
        let mut new = Record { attempt, owner: NO_OWNER, ..call.first_record(over.as_ref()) };
        self.timeline.stamp(&mut new);
        new.claim = self.next_number()?;
        let issued = Some(new.claim);
        let mut change = match &over {
            Some(record) if !record.status.is_finished() => {
                let expect = Expect::Exactly(record.claim, record.status);
                Change { slot: record.slot, expect, new: Some(new) }
            }
            over => call.claim_change(new, over.as_ref(), expired),
        };
        match changes::apply(self.conn, &mut change, issued).map_err(unreadable)? {
            Applied::Yes => {
                self.record = change.new;
                self.over = over;
                Ok(())
            }
            Applied::Damaged(what) => Err(unreadable(ReadError::Damaged(what))),
            Applied::No(_) => Err(Error::store("the record changed inside one transaction")),
        }
    }

    fn next_number(&self) -> Result<u64, Error> {
        counters::claims_issued(self.conn).map(|issued| issued.saturating_add(1)).map_err(failed)
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Writes what the end of the body means, and commits if the transaction is ours.
    ///
    /// An `Err` undoes everything since the savepoint, whatever it means for the record.
    pub(crate) fn end(mut self, end: End, undo: bool) -> Result<(), Error> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        if self.conn.is_autocommit() {
            return Err(self.broken(&record));
        }
        if undo && !self.undo() {
            return Err(self.broken(&record));
        }
        let new = match end {
            End::Released => None,
            End::Finished(status, result) => Some(record.finished(status, result)),
            End::InDoubt(reason) => Some(record.in_doubt(reason)),
        };
        if let Some(new) = new
            && let Err(error) = self.write_end(&record, new, undo)
        {
            return Err(error.unwrap_or_else(|| self.broken(&record)));
        }
        if self.conn.execute_batch(&format!("RELEASE {}", self.savepoint)).is_err() {
            return Err(self.broken(&record));
        }
        self.ended = true;
        if self.ours { self.commit() } else { Ok(()) }
    }

    /// False if the savepoint is gone.
    fn undo(&self) -> bool {
        self.conn.execute_batch(&format!("ROLLBACK TO {}", self.savepoint)).is_ok()
    }

    /// `Err(None)` if the claim row is gone, and the transaction with it.
    fn write_end(&self, record: &Record, mut new: Record, undone: bool) -> Result<(), Option<Error>> {
        self.timeline.stamp(&mut new);
        let expect = match (undone, &self.over) {
            (false, _) => Expect::Exactly(record.claim, Status::Running),
            // The claim row went with the savepoint: the end is written in one go.
            (true, Some(over)) if !over.status.is_finished() => Expect::Exactly(over.claim, over.status),
            (true, over) => free(over.as_ref().map(|over| over.claim)),
        };
        let issued = if undone { Some(self.next_number().map_err(Some)?) } else { None };
        new.claim = issued.unwrap_or(new.claim);
        let mut change = Change { slot: new.slot, expect, new: Some(new) };
        match changes::apply(self.conn, &mut change, issued)
            .map_err(|failure| Some(unreadable(failure).with_ran(Ran::Yes)))?
        {
            Applied::Yes => Ok(()),
            Applied::No(_) => Err(None),
            Applied::Damaged(what) => Err(Some(unreadable(ReadError::Damaged(what)).with_ran(Ran::Yes))),
        }
    }

    fn commit(&self) -> Result<(), Error> {
        let Err(error) = self.conn.execute_batch("COMMIT") else { return Ok(()) };
        let still_open = !self.conn.is_autocommit();
        if still_open {
            // Nothing is lost by a failure here: the transaction ends with the connection at the latest.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let (ran, fact, advice) = match failure::of_commit(&error) {
            WriteOutcome::Unknown => {
                (Ran::Unknown, "the commit failed and its outcome is unknown", Advice::RetryToLearn)
            }
            _ => (Ran::Yes, "the commit failed and rolled back the rows and the record", Advice::Retry),
        };
        Err(Error::new(ErrorKind::Store, ran, fact).advise(advice).because(error))
    }

    /// The body ended the transaction. What is committed stays; the record says that the call is in doubt.
    fn broken(&mut self, record: &Record) -> Error {
        self.ended = true;
        let is_open = !self.ours && !self.conn.is_autocommit();
        if self.ours && !self.conn.is_autocommit() {
            // A transaction that the body began in the place of ours.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let standing = records::get(self.conn, &record.slot).ok().flatten();
        let committed = standing.as_ref().is_some_and(|standing| standing.claim == record.claim);
        let noted = self.note_doubt(record, standing);
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

    fn note_doubt(&self, record: &Record, standing: Option<Record>) -> Result<(), Error> {
        let mut doubt = record.in_doubt(Reason::TransactionEnded);
        self.timeline.stamp(&mut doubt);
        // Where no transaction is open, the record and the counts are one commit all the same.
        let own = self.conn.is_autocommit().then(|| WriteTransaction::begin(self.conn));
        let own = own.transpose().map_err(failed)?;
        let (issued, expect) = match standing {
            Some(standing) if standing.claim == record.claim => {
                (None, Expect::Exactly(standing.claim, standing.status))
            }
            Some(standing) if self.over.as_ref().is_some_and(|over| over.claim == standing.claim) => {
                (Some(self.next_number()?), Expect::Exactly(standing.claim, standing.status))
            }
            Some(_) => return Ok(()),
            None => (Some(self.next_number()?), free(None)),
        };
        let new = Record { claim: issued.unwrap_or(record.claim), ..doubt };
        let mut change = Change { slot: record.slot, expect, new: Some(new) };
        match changes::apply(self.conn, &mut change, issued).map_err(unreadable)? {
            Applied::Yes => own.map_or(Ok(()), WriteTransaction::commit).map_err(failed),
            Applied::No(_) => Err(Error::store("another call has replaced the record")),
            Applied::Damaged(what) => Err(unreadable(ReadError::Damaged(what))),
        }
    }
}

impl Drop for InTransaction<'_> {
    /// A panic of the body, or an error before it: nothing of this call stays.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Some(record) = self.record.clone() else {
            roll_back(self.conn, self.ours, &self.savepoint);
            return;
        };
        if self.conn.is_autocommit() || !self.undo() {
            drop(self.broken(&record));
            return;
        }
        roll_back(self.conn, self.ours, &self.savepoint);
    }
}

/// The slot is free: this transaction has looked under every name.
fn free(over: Option<u64>) -> Expect {
    Expect::Free { over, nor_in: Vec::new(), expired: Vec::new() }
}

/// The clock's row stands before the savepoint: what names it must not outlive it.
fn open_savepoint(conn: &Connection, savepoint: &str) -> Result<Timeline, Error> {
    let (timeline, due) = timeline(conn)?;
    if let Some(row) = due {
        store_clock::write_boot(conn, &row).map_err(failed)?;
    }
    conn.execute_batch(&format!("SAVEPOINT {savepoint}")).map_err(failed)?;
    Ok(timeline)
}

/// Undoes what was done since the savepoint, and the transaction if it is ours. Best effort: what fails here ends with
/// the connection.
fn roll_back(conn: &Connection, ours: bool, savepoint: &str) {
    let _ = if ours {
        conn.execute_batch("ROLLBACK")
    } else {
        conn.execute_batch(&format!("ROLLBACK TO {savepoint}; RELEASE {savepoint}"))
    };
}

/// The boots of the store as of now, and the row of the present one if it is due to be written.
pub(super) fn timeline(conn: &Connection) -> Result<(Timeline, Option<BootRow>), Error> {
    let rows = store_clock::read_boots(conn).map_err(failed)?;
    let known = rows.iter().find(|row| row.boot_id == CLOCK.boot_id()).cloned();
    let (timeline, row) = Timeline::open(rows, &CLOCK.boot_id(), Reading::of(&*CLOCK));
    let is_due = known.is_none_or(|known| row.must_replace(&known));
    Ok((timeline, is_due.then_some(row)))
}
