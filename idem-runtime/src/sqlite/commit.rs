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

use crate::backend::request::Request;
use crate::backend::{Backend, Commit, Failure, Poison, WriteOutcome};
use crate::error::{Advice, Error};
use crate::event;
use crate::host::file_identity::FileIdentity;
use crate::host::high_water::HighWater;
use crate::locks::fair_lock::FairLock;
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::Record;
use crate::sqlite::backend::SqliteBackend;
use crate::sqlite::checkpoint::{Added, Checkpoints};
use crate::sqlite::connection::Role;
use crate::sqlite::records::{Changes, ReadError};
use crate::sqlite::schema::Tenancy;
use crate::sqlite::timeline::BootRow;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{checkpoint, connection, counters, failure, owners, purge, records, store_clock, wal};
use crate::waiting::in_flight::InFlight;

/// How long to queue behind other processes before taking the write lock without a turn.
const TURN: Duration = Duration::from_millis(500);

/// The writing half of the SQLite backend.
#[derive(Debug)]
pub(crate) struct Committer {
    backend: Arc<SqliteBackend>,
    in_flight: Arc<InFlight>,
    poison: Arc<Poison>,
    files: Files,
    wal_bytes: u64,
    checkpoints: Checkpoints,
    /// Whether the connection forces its commits to disk.
    syncing: bool,
    /// The highest claim number given since the last commit that was.
    unsynced: Option<u64>,
    /// The highest claim number ever tried. One whose commit failed may still be taken back: it is not given again.
    highest: u64,
    /// A commit has failed, and the connection is not to be used any more.
    must_reopen: bool,
    /// Folding the log in has failed, and with it maybe a force of the database: it may miss pages on disk, also such as
    /// count as folded in.
    may_miss_pages: bool,
}

/// What the writer holds of the database and the files beside it.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) conn: Connection,
    pub(crate) fair_lock: FairLock,
    pub(crate) high_water: HighWater,
    pub(crate) identity: FileIdentity,
}

impl Committer {
    /// `wal_bytes` is the length at which the WAL is checkpointed.
    pub(crate) fn new(
        backend: Arc<SqliteBackend>,
        in_flight: Arc<InFlight>,
        poison: Arc<Poison>,
        files: Files,
        wal_bytes: u64,
    ) -> Result<Committer, Error> {
        let checkpoints = Checkpoints::new(wal_bytes, connection::page_bytes(&files.conn)?);
        limit_wal(&files.conn, backend.tenancy, wal_bytes)?;
        Ok(Committer {
            backend,
            in_flight,
            poison,
            files,
            wal_bytes,
            checkpoints,
            syncing: true,
            unsynced: None,
            highest: 0,
            must_reopen: false,
            may_miss_pages: false,
        })
    }

    fn commit_once(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        self.poison.check().map_err(refused)?;
        // What stands in the place of the files now is somebody else's: it is neither opened nor written over.
        check_files(&self.poison, &mut self.files.identity)?;
        if self.must_reopen {
            self.reopen()?;
        }
        let repeatable = batch.iter().all(|request| request.repeatable) && !self.checkpoints.is_beside();
        self.sync_commits(!repeatable)?;
        // The clock's row waits for a batch that is forced to disk.
        let due = if self.syncing { self.backend.clock.take_due() } else { None };
        self.checkpoints.give_way();
        let turn = self.files.fair_lock.lock(TURN);
        let written = write(&self.files.conn, &self.in_flight, batch, self.highest, due.as_ref());
        self.highest = batch.iter().filter_map(claim_number).fold(self.highest, u64::max);
        let (applied, issued) = written.inspect_err(|_| self.backend.clock.give_back(due))?;
        if let Err(error) = self.checkpoints.note_commit(&self.files.conn, added(batch)) {
            event::store_error(&format!("the length of the log could not be read ({error})"));
        }
        self.unsynced = issued.or(self.unsynced);
        // Raised for a claim that a power cut takes, the mark would cry for records that nobody misses.
        if self.syncing
            && let Some(issued) = self.unsynced.take()
            && let Err(error) = self.files.high_water.raise(issued)
        {
            event::store_error(&format!("the high-water file could not be written ({error})"));
        }
        drop(turn);
        check_files(&self.poison, &mut self.files.identity)?;
        Ok(applied)
    }

    /// From here on commits are forced to disk, or are not. If this fails the batch is not written: nothing that must
    /// be forced ever goes without.
    fn sync_commits(&mut self, syncing: bool) -> Result<(), Failure> {
        if self.syncing != syncing {
            connection::set_syncing(&self.files.conn, syncing).map_err(of_statement)?;
            self.syncing = syncing;
        }
        Ok(())
    }

    /// The log could not be folded in.
    fn note_failed_checkpoint(&mut self, error: &rusqlite::Error) {
        if failure::of_commit(error) == WriteOutcome::Unknown {
            (self.must_reopen, self.may_miss_pages) = (true, true);
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.stop_checkpoint();
        let mut fresh = connection::connect(self.backend.path.database()).map_err(refused)?;
        connection::set_modes(&fresh, self.backend.tenancy, Role::Writer).map_err(refused)?;
        limit_wal(&fresh, self.backend.tenancy, self.wal_bytes).map_err(refused)?;
        if self.may_miss_pages {
            let source = connection::connect(self.backend.path.database()).map_err(refused)?;
            wal::rewrite_database(&source, &mut fresh).map_err(of_statement)?;
        }
        wal::reset(&fresh).map_err(|error| {
            self.note_failed_checkpoint(&error);
            of_statement(error)
        })?;
        self.files.conn = fresh;
        (self.syncing, self.must_reopen, self.may_miss_pages) = (true, false, false);
        Ok(())
    }

    fn stop_checkpoint(&mut self) {
        if let Err(error) = self.checkpoints.stop() {
            self.note_failed_checkpoint(&error);
        }
    }

    fn close_in_order(&mut self, limit: Duration) -> Result<(), Error> {
        let left = |error| failure::error(error, "closing the store");
        self.stop_checkpoint();
        self.rewrite_missing_pages()?;
        // There is nothing else to do until the end of the close.
        self.files.conn.busy_timeout(limit).map_err(left)?;
        self.sync_commits(true).map_err(|failure| failure.error)?;
        let turn = self.files.fair_lock.lock(TURN);
        let running = forget_owner(&self.files.conn, self.backend.owner).map_err(left)?;
        drop(turn);
        // Busy where another process reads: then the last one to close folds it in.
        if let Err(error) = self.files.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            event::store_error(&format!("the checkpoint at close failed ({error})"));
            self.note_failed_checkpoint(&error);
        }
        self.rewrite_missing_pages()?;
        if running > 0 {
            let message = format!("{running} calls were cut off while the store closed");
            return Err(Error::store(message).advise(Advice::SettleCutOff));
        }
        Ok(())
    }

    /// Nothing is folded in before what may be missing is written again.
    fn rewrite_missing_pages(&mut self) -> Result<(), Error> {
        if self.may_miss_pages { self.reopen().map_err(|failure| failure.error) } else { Ok(()) }
    }
}

impl Commit for Committer {
    /// Commits a batch. If the outcome is unknown, once more on a new connection.
    fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        let mut committed = self.commit_once(batch);
        if let Err(Failure { outcome: WriteOutcome::Unknown, error }) = &committed {
            event::store_error(&error.with_causes());
            self.must_reopen = true;
            committed = self
                .commit_once(batch)
                .map_err(|second| Failure { outcome: WriteOutcome::Unknown, ..second });
        }
        let known = committed.as_ref().err().is_some_and(|failure| failure.outcome != WriteOutcome::Unknown);
        if known {
            // They were made known before the commit. What may be on disk stays known until it is taken back.
            batch.iter().filter_map(claim_number).for_each(|claim| self.in_flight.complete(claim, None));
        }
        committed
    }

    /// Whether there is anything to do about the log before the next commit. It begins after one that was forced: what
    /// a failed force takes with it while a thread folds the log in would not be missed by the commits meanwhile.
    fn needs_maintenance(&self) -> bool {
        self.unsynced.is_none() && !self.must_reopen && self.checkpoints.is_due()
    }

    /// Whether the log is being folded in beside the commits.
    fn is_maintaining(&self) -> bool {
        self.checkpoints.is_beside()
    }

    /// Between two commits: does what is due.
    fn maintain(&mut self) {
        // What stands in the place of the files now is not folded over. The next commit tells.
        if !self.needs_maintenance() || check_files(&self.poison, &mut self.files.identity).is_err() {
            return;
        }
        let (backend, poison, identity) = (&self.backend, &self.poison, &mut self.files.identity);
        let connect = || {
            let conn = connection::connect(backend.path.database())?;
            connection::set_modes(&conn, backend.tenancy, Role::Reader)?;
            check_files(poison, identity).map_err(|failure| failure.error)?;
            Ok(conn)
        };
        // Else another process commits meanwhile, and again, and the log is never folded in as a whole.
        let turn = self.files.fair_lock.lock(TURN);
        let done = self.checkpoints.step(&self.files.conn, connect);
        drop(turn);
        if let Err(error) = done {
            event::store_error(&format!("the log could not be folded into the database ({error})"));
            self.note_failed_checkpoint(&error);
        }
    }

    /// The files are not ours any more. Closing the connection would write into them, so it stays open as long as the
    /// program runs.
    fn abandon(mut self: Box<Self>) {
        self.checkpoints.abandon();
        std::mem::forget(self.files.conn);
    }

    /// A clean end: nothing names this owner any more, and the WAL is folded into the database.
    fn close(mut self: Box<Self>, limit: Duration) -> Result<(), Error> {
        let left = self.close_in_order(limit);
        self.let_go();
        left
    }

    /// Closes the connection, unless the log is still needed: the last one to go would delete it, and it has all that the
    /// database may miss.
    fn let_go(self: Box<Self>) {
        if self.may_miss_pages {
            self.abandon();
        }
    }

    fn purgeable(&mut self, limit: usize) -> Vec<Change> {
        purge::slice(&self.backend.clock, &|mark| self.backend.age_ms(mark), &self.files.conn, limit)
    }

    #[cfg(test)]
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

fn refused(error: Error) -> Failure {
    Failure { outcome: WriteOutcome::NotWritten, error }
}

fn of_statement(error: rusqlite::Error) -> Failure {
    Failure { outcome: failure::of_statement(&error), error: failure::error(error, "writing to the store") }
}

fn limit_wal(conn: &Connection, tenancy: Tenancy, wal_bytes: u64) -> Result<(), Error> {
    wal::set_limit(conn, tenancy, checkpoint::longest_log(wal_bytes))
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
fn check_files(poison: &Poison, identity: &mut FileIdentity) -> Result<(), Failure> {
    identity.check().map_err(|replaced| {
        let error = Error::store(replaced.to_string()).advise(Advice::RestoreReplaced);
        poison.set(error.clone());
        refused(error)
    })
}

/// Calls are known in memory before they are visible in the database.
fn write(
    conn: &Connection,
    in_flight: &InFlight,
    batch: &mut [Request],
    highest: u64,
    due: Option<&BootRow>,
) -> Result<(Vec<Applied>, Option<u64>), Failure> {
    let transaction = WriteTransaction::begin(conn).map_err(of_statement)?;
    let issued = issue_numbers(&transaction, in_flight, batch, highest).map_err(of_statement)?;
    let mut applied = Vec::with_capacity(batch.len());
    let mut changes = Changes::new(&transaction);
    for request in &mut *batch {
        applied.push(apply(&mut changes, request)?);
    }
    changes.end(issued).map_err(of_statement)?;
    if let Some(row) = due {
        store_clock::write_boot(&transaction, row).map_err(of_statement)?;
    }
    for (request, outcome) in batch.iter_mut().zip(&applied) {
        if let (Applied::Yes, Some(claim)) = (outcome, claim_number(request)) {
            in_flight.register(claim, request.handoff.take());
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
        Err(ReadError::Sqlite(error)) => Err(of_statement(error)),
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
            if stands(conn, new)? {
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
