//! One batch, one transaction: claim numbers, changes, the clock's row, and one force to disk.
//!
//! A COMMIT that failed in fsync is unknown: the frames may be found by whoever opens the database after a crash. So a
//! fresh connection is opened, before the old one goes (the last one to go would delete the log), and the same batch
//! is applied again. It overwrites what may be there, and changes nothing where it is there already.
//!
//! A batch of nothing but first claims that may be repeated is committed without the force: a power cut that takes
//! them leads to calls that their mode allows anyway, and a kill of the process loses nothing. All that is written
//! after them in the log is lost with them, so no number on disk is ever given again.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::engine::request::Request;
use crate::engine::shared::Core;
use crate::error::{Advice, Error};
use crate::event;
use crate::host::file_identity::FileIdentity;
use crate::host::high_water::HighWater;
use crate::locks::fair_lock::FairLock;
use crate::protocol::change::{Applied, Expect};
use crate::protocol::record::Record;
use crate::protocol::timeline::BootRow;
use crate::sqlite::checkpoint::{Added, Checkpoints};
use crate::sqlite::failure::WriteOutcome;
use crate::sqlite::records::{Changes, ReadError};
use crate::sqlite::schema::Role;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{checkpoint, counters, failure, owners, records, schema, store_clock};

/// How long to queue behind other processes before taking the write lock without a turn.
const TURN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: WriteOutcome,
    pub(crate) error: Error,
}

impl Failure {
    fn refused(error: Error) -> Failure {
        Failure { outcome: WriteOutcome::NotWritten, error }
    }

    fn statement(error: rusqlite::Error) -> Failure {
        Failure {
            outcome: failure::of_statement(&error),
            error: failure::error(error, "writing to the store"),
        }
    }
}

/// The writer's side of the files.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) core: Arc<Core>,
    pub(crate) conn: Connection,
    pub(crate) fair_lock: FairLock,
    pub(crate) high_water: HighWater,
    pub(crate) identity: FileIdentity,
    checkpoints: Checkpoints,
    /// Whether the connection forces its commits to disk.
    forcing: bool,
    /// The highest claim number given since the last commit that was.
    unforced: Option<u64>,
    /// The highest claim number ever tried. One whose commit failed may still be taken back: it is not given again.
    highest: u64,
    /// A commit has failed, and the connection is not to be used any more.
    is_spent: bool,
    /// Folding the log in has failed, and with it maybe a force of the database: it may miss pages on disk, also such as
    /// count as folded in.
    is_torn: bool,
}

impl Disk {
    pub(crate) fn new(
        core: Arc<Core>,
        conn: Connection,
        fair_lock: FairLock,
        high_water: HighWater,
        identity: FileIdentity,
    ) -> Result<Disk, Error> {
        let checkpoints = Checkpoints::new(core.log_bytes, schema::page_bytes(&conn)?);
        limit_log(&core, &conn)?;
        Ok(Disk {
            core,
            conn,
            fair_lock,
            high_water,
            identity,
            checkpoints,
            forcing: true,
            unforced: None,
            highest: 0,
            is_spent: false,
            is_torn: false,
        })
    }

    /// Commits a batch. If the outcome is unknown, once more on a new connection.
    pub(crate) fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        let mut committed = self.commit_once(batch);
        if let Err(Failure { outcome: WriteOutcome::Unknown, error }) = &committed {
            event::store_error(&error.with_causes());
            self.is_spent = true;
            committed = self
                .commit_once(batch)
                .map_err(|second| Failure { outcome: WriteOutcome::Unknown, ..second });
        }
        let known = committed.as_ref().err().is_some_and(|failure| failure.outcome != WriteOutcome::Unknown);
        if known {
            // They were made known before the commit. What may be on disk stays known until it is taken back.
            batch.iter().filter_map(claim_number).for_each(|claim| self.core.in_flight.complete(claim, None));
        }
        committed
    }

    fn commit_once(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        self.core.check_poison().map_err(Failure::refused)?;
        // What stands in the place of the files now is somebody else's: it is neither opened nor written over.
        check_files(&self.core, &mut self.identity)?;
        if self.is_spent {
            self.reopen()?;
        }
        let repeatable = batch.iter().all(|request| request.repeatable) && !self.checkpoints.is_beside();
        self.force(!repeatable)?;
        // The clock's row waits for a batch that is forced to disk.
        let due = if self.forcing { self.core.clock.take_due() } else { None };
        self.checkpoints.give_way();
        let turn = self.fair_lock.lock(TURN);
        let written = write(&self.conn, &self.core, batch, self.highest, due.as_ref());
        self.highest = batch.iter().filter_map(claim_number).fold(self.highest, u64::max);
        let (applied, issued) = written.inspect_err(|_| self.core.clock.give_back(due))?;
        if let Err(error) = self.checkpoints.note_commit(&self.conn, added(batch)) {
            event::store_error(&format!("the length of the log could not be read ({error})"));
        }
        self.unforced = issued.or(self.unforced);
        // Raised for a claim that a power cut takes, the mark would cry for records that nobody misses.
        if self.forcing
            && let Some(issued) = self.unforced.take()
            && let Err(error) = self.high_water.raise(issued)
        {
            event::store_error(&format!("the high-water file could not be written ({error})"));
        }
        drop(turn);
        check_files(&self.core, &mut self.identity)?;
        Ok(applied)
    }

    /// From here on commits are forced to disk, or are not. If this fails the batch is not written: nothing that must
    /// be forced ever goes without.
    fn force(&mut self, forcing: bool) -> Result<(), Failure> {
        if self.forcing != forcing {
            schema::set_forcing(&self.conn, forcing).map_err(Failure::statement)?;
            self.forcing = forcing;
        }
        Ok(())
    }

    /// Whether there is anything to do about the log before the next commit. It begins after one that was forced: what
    /// a failed force takes with it while a thread folds the log in would not be missed by the commits meanwhile.
    pub(crate) fn log_is_due(&self) -> bool {
        self.unforced.is_none() && !self.is_spent && self.checkpoints.is_due()
    }

    /// Whether the log is being folded in beside the commits.
    pub(crate) fn is_folding(&self) -> bool {
        self.checkpoints.is_beside()
    }

    /// Between two commits: does what is due.
    pub(crate) fn tend_log(&mut self) {
        // What stands in the place of the files now is not folded over. The next commit tells.
        if !self.log_is_due() || check_files(&self.core, &mut self.identity).is_err() {
            return;
        }
        let (core, identity) = (&self.core, &mut self.identity);
        let connect = || {
            let conn = schema::connect(core.path.database())?;
            schema::set_modes(&conn, core.tenancy, Role::Reader)?;
            check_files(core, identity).map_err(|failure| failure.error)?;
            Ok(conn)
        };
        // Else another process commits meanwhile, and again, and the log is never folded in as a whole.
        let turn = self.fair_lock.lock(TURN);
        let done = self.checkpoints.step(&self.conn, connect);
        drop(turn);
        if let Err(error) = done {
            event::store_error(&format!("the log could not be folded into the database ({error})"));
            self.note_unfolded(&error);
        }
    }

    /// The log could not be folded in.
    fn note_unfolded(&mut self, error: &rusqlite::Error) {
        if failure::of_commit(error) == WriteOutcome::Unknown {
            (self.is_spent, self.is_torn) = (true, true);
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.stop_folding();
        let mut fresh = schema::connect(self.core.path.database()).map_err(Failure::refused)?;
        schema::set_modes(&fresh, self.core.tenancy, Role::Writer).map_err(Failure::refused)?;
        limit_log(&self.core, &fresh).map_err(Failure::refused)?;
        if self.is_torn {
            let source = schema::connect(self.core.path.database()).map_err(Failure::refused)?;
            schema::rewrite(&source, &mut fresh).map_err(Failure::statement)?;
        }
        schema::restart_log(&fresh).map_err(|error| {
            self.note_unfolded(&error);
            Failure::statement(error)
        })?;
        self.conn = fresh;
        (self.forcing, self.is_spent, self.is_torn) = (true, false, false);
        Ok(())
    }

    fn stop_folding(&mut self) {
        if let Err(error) = self.checkpoints.stop() {
            self.note_unfolded(&error);
        }
    }

    /// The files are not ours any more. Closing the connection would write into them, so it stays open as long as the
    /// program runs.
    pub(crate) fn abandon(mut self) {
        self.checkpoints.abandon();
        std::mem::forget(self.conn);
    }

    /// A clean end: nothing names this owner any more, and the WAL is folded into the database.
    pub(crate) fn leave(mut self) -> Result<(), Error> {
        let left = self.put_in_order();
        self.let_go();
        left
    }

    /// Closes the connection, unless the log is still needed: the last one to go would delete it, and it has all that the
    /// database may miss.
    pub(crate) fn let_go(self) {
        if self.is_torn {
            self.abandon();
        }
    }

    fn put_in_order(&mut self) -> Result<(), Error> {
        let left = |error| failure::error(error, "closing the store");
        self.stop_folding();
        self.mend()?;
        // There is nothing else to do until the end of the close.
        self.conn.busy_timeout(self.core.give_up_in()).map_err(left)?;
        self.force(true).map_err(|failure| failure.error)?;
        let turn = self.fair_lock.lock(TURN);
        let running = forget_owner(&self.conn, self.core.owner).map_err(left)?;
        drop(turn);
        // Busy where another process reads: then the last one to close folds it in.
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            event::store_error(&format!("the checkpoint at close failed ({error})"));
            self.note_unfolded(&error);
        }
        self.mend()?;
        if running > 0 {
            let message = format!("{running} calls were cut off while the store closed");
            return Err(Error::store(message).advise(Advice::SettleCutOff));
        }
        Ok(())
    }

    /// Nothing is folded in before what may be missing is written again.
    fn mend(&mut self) -> Result<(), Error> {
        if self.is_torn { self.reopen().map_err(|failure| failure.error) } else { Ok(()) }
    }
}

fn limit_log(core: &Core, conn: &Connection) -> Result<(), Error> {
    schema::set_log_limit(conn, core.tenancy, checkpoint::longest_log(core.log_bytes))
}

/// Deletes the owner's row, unless running records name it. Gives how many do.
fn forget_owner(conn: &Connection, owner: i64) -> rusqlite::Result<i64> {
    const RUNNING: &str = "SELECT count(*) FROM idem_record WHERE status = 1 AND owner = ?1";
    let transaction = WriteTransaction::begin(conn)?;
    let running: i64 = transaction.query_row(RUNNING, [owner], |row| row.get(0))?;
    if running == 0 {
        owners::delete(&transaction, owner)?;
    }
    transaction.commit()?;
    Ok(running)
}

/// Files that were replaced under us take no more records: what SQLite reports as written may be lost.
fn check_files(core: &Core, identity: &mut FileIdentity) -> Result<(), Failure> {
    identity.check().map_err(|replaced| {
        let error = Error::store(replaced.to_string()).advise(Advice::RestoreReplaced);
        core.poison(error.clone());
        Failure::refused(error)
    })
}

/// Calls are known in memory before they are visible in the database.
fn write(
    conn: &Connection,
    core: &Core,
    batch: &mut [Request],
    highest: u64,
    due: Option<&BootRow>,
) -> Result<(Vec<Applied>, Option<u64>), Failure> {
    let transaction = WriteTransaction::begin(conn).map_err(Failure::statement)?;
    let issued = issue_numbers(&transaction, core, batch, highest).map_err(Failure::statement)?;
    let mut applied = Vec::with_capacity(batch.len());
    let mut changes = Changes::new(&transaction);
    for request in &mut *batch {
        applied.push(apply(&mut changes, request)?);
    }
    changes.end(issued).map_err(Failure::statement)?;
    if let Some(row) = due {
        store_clock::write_boot(&transaction, row).map_err(Failure::statement)?;
    }
    for (request, outcome) in batch.iter_mut().zip(&applied) {
        if let (Applied::Yes, Some(claim)) = (outcome, claim_number(request)) {
            core.in_flight.register(claim, request.handoff.take());
        }
    }
    transaction.commit().map_err(|error| Failure {
        outcome: failure::of_commit(&error),
        error: failure::error(error, "committing to the store"),
    })?;
    Ok((applied, issued))
}

/// A damaged row is the answer to the request that meets it, and no failure of the batch.
fn apply(changes: &mut Changes<'_>, request: &mut Request) -> Result<Applied, Failure> {
    match changes.apply(&mut request.change) {
        Ok(applied) => Ok(applied),
        Err(ReadError::Damaged(what)) => Ok(Applied::Damaged(what)),
        Err(ReadError::Sqlite(error)) => Err(Failure::statement(error)),
    }
}

fn added(batch: &[Request]) -> Added {
    let result_bytes = |request: &Request| {
        request.change.new.as_ref().and_then(|new| new.result.as_ref()).map_or(0, |result| result.bytes.len())
    };
    Added { records: batch.len(), result_bytes: batch.iter().map(result_bytes).sum() }
}

/// The number of a claim that has one.
fn claim_number(request: &Request) -> Option<u64> {
    let new = request.change.new.as_ref().filter(|_| request.is_claim())?;
    Some(new.claim).filter(|claim| *claim > 0)
}

/// Gives every new record its claim number, and tells the highest. The number of an earlier try is kept only if that
/// try is on disk after all: if it is not, the number may be another process's by now.
fn issue_numbers(
    conn: &Connection,
    core: &Core,
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
            if stands(conn, new)? {
                continue;
            }
            core.in_flight.complete(new.claim, None);
        }
        issued += 1;
        new.claim = issued;
    }
    Ok(Some(issued))
}

/// Whether an earlier try to write this record is on disk.
fn stands(conn: &Connection, new: &Record) -> rusqlite::Result<bool> {
    match records::get(conn, &new.slot) {
        Ok(standing) => Ok(standing.is_some_and(|standing| standing.same_as(new))),
        Err(ReadError::Damaged(_)) => Ok(false),
        Err(ReadError::Sqlite(error)) => Err(error),
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
