//! The writing half of the SQLite backend: one batch, one transaction, one fsync.
//!
//! # Unknown outcomes
//! If a COMMIT fails in its fsync, the outcome is unknown: after a crash, recovery may find the frames. The committer then
//! opens a fresh connection, closes the old one, and applies the same batch again. Changes that are on disk already
//! change nothing. The fresh connection is opened first, because SQLite deletes the WAL when the last connection closes.
//!
//! # Repeatable batches
//! A batch that holds only repeatable first claims is committed without an fsync. If a power failure loses such a
//! claim, the mode of the call allows another run. The death of the process loses nothing. A power failure also loses
//! every later frame of the WAL, so no claim number on disk is ever given twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use crate::backend::request::Request;
use crate::backend::{Backend, Commit, Failure, Poison, WriteOutcome};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::host::file_identity::FileIdentity;
use crate::host::high_water::HighWater;
use crate::locks::fair_lock::FairLock;
use crate::protocol::change::{Applied, Change};
use crate::sqlite::backend::SqliteBackend;
use crate::sqlite::checkpoint::Checkpointer;
use crate::sqlite::commit::claim_numbers::Known;
use crate::sqlite::{connection, counters, failure, purge};
use crate::waiting::in_flight::InFlight;

mod batch;
mod claim_numbers;
mod maintenance;
mod recovery;

/// How long the writer queues behind other processes before it takes the write lock out of turn.
const TURN: Duration = Duration::from_millis(500);

/// Commits batches on the only connection that writes.
#[derive(Debug)]
pub(crate) struct Committer {
    backend: Arc<SqliteBackend>,
    in_flight: Arc<InFlight>,
    poison: Arc<Poison>,
    files: Files,
    wal_bytes: u64,
    checkpointer: Checkpointer,
    /// Whether a commit on the connection ends with an fsync.
    is_syncing: bool,
    /// The highest claim number that was committed without an fsync since the last commit with one.
    unsynced_claim: Option<u64>,
    /// The highest claim number that was ever tried. The retry of a failed commit may find its number on disk, so no
    /// other claim gets that number.
    highest_claim: u64,
    /// The highest claim number that is known to be committed. A database with a lower number was set back to an older
    /// state.
    committed_claim: u64,
    /// Whether a failed commit has made the connection unusable.
    must_reopen: bool,
    /// Whether a checkpoint failed, possibly in the fsync of the database. Pages that SQLite counts as checkpointed may be
    /// missing on disk.
    may_miss_pages: bool,
}

/// The writer's connection, and its handles of the files beside the database.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) conn: Connection,
    pub(crate) fair_lock: FairLock,
    pub(crate) high_water: HighWater,
    pub(crate) identity: FileIdentity,
}

impl Committer {
    /// Creates the committer of an open store. A checkpoint is due once the WAL has `wal_bytes`.
    pub(crate) fn new(
        backend: Arc<SqliteBackend>,
        in_flight: Arc<InFlight>,
        poison: Arc<Poison>,
        files: Files,
        wal_bytes: u64,
    ) -> Result<Committer, Error> {
        let checkpointer = Checkpointer::new(wal_bytes, connection::page_bytes(&files.conn)?);
        recovery::limit_wal(&files.conn, backend.tenancy, wal_bytes)?;
        let committed_claim = counters::claims_issued(&files.conn).map_err(failure::opening)?;
        Ok(Committer {
            backend,
            in_flight,
            poison,
            files,
            wal_bytes,
            checkpointer,
            is_syncing: true,
            unsynced_claim: None,
            highest_claim: 0,
            committed_claim,
            must_reopen: false,
            may_miss_pages: false,
        })
    }

    fn commit_once(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        self.poison.check().map_err(failure::not_written)?;
        // If the files were replaced, the committer neither opens nor changes the new files.
        check_files(&self.poison, &mut self.files.identity)?;
        if self.must_reopen {
            self.reopen()?;
        }
        let is_repeatable =
            batch.iter().all(|request| request.repeatable) && !self.checkpointer.is_concurrent();
        self.set_syncing(!is_repeatable)?;
        // The clock's row waits for a batch with an fsync.
        let due = if self.is_syncing { self.backend.clock.take_due() } else { None };
        self.checkpointer.pause_if_requested();
        let turn = self.files.fair_lock.lock(TURN);
        let mark = self.files.high_water.read().unwrap_or(0);
        self.committed_claim = self.committed_claim.max(mark);
        if !self.checkpointer.is_concurrent() {
            refresh(&self.files.conn, &mut self.files.identity).map_err(failure::statement_failed)?;
        }
        let known = Known { tried: self.highest_claim, committed: self.committed_claim };
        let written = batch::write(&self.files.conn, &self.in_flight, batch, known, due.as_ref());
        self.highest_claim = batch.iter().filter_map(claim_numbers::of).fold(self.highest_claim, u64::max);
        let (applied, issued) = written.inspect_err(|failure| {
            self.backend.clock.put_back(due);
            poison_if_replaced(&self.poison, failure);
        })?;
        self.committed_claim = self.committed_claim.max(issued.unwrap_or(0));
        if let Err(error) = self.checkpointer.note_commit(&self.files.conn, batch::size(batch)) {
            event::store_error(&format!("the length of the WAL could not be read ({error})"));
        }
        self.unsynced_claim = issued.or(self.unsynced_claim);
        // A power failure may lose a claim without an fsync. If the high-water file had the number of this claim, the
        // next open would report lost records.
        if self.is_syncing
            && let Some(issued) = self.unsynced_claim.take()
            && let Err(error) = self.files.high_water.raise(issued)
        {
            event::store_error(&format!("the high-water file could not be written ({error})"));
        }
        drop(turn);
        check_files(&self.poison, &mut self.files.identity)?;
        Ok(applied)
    }

    /// Sets whether the next commits end with an fsync. If this fails, the batch is not written.
    fn set_syncing(&mut self, is_syncing: bool) -> Result<(), Failure> {
        if self.is_syncing != is_syncing {
            connection::set_syncing(&self.files.conn, is_syncing).map_err(failure::statement_failed)?;
            self.is_syncing = is_syncing;
        }
        Ok(())
    }
}

impl Commit for Committer {
    /// Commits a batch. If the outcome is unknown, commits the batch once more on a fresh connection.
    fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        let mut committed = self.commit_once(batch);
        if let Err(Failure { outcome: WriteOutcome::Unknown, error }) = &committed {
            event::store_error(&error.with_causes());
            self.must_reopen = true;
            committed = self
                .commit_once(batch)
                .map_err(|second| Failure { outcome: WriteOutcome::Unknown, ..second });
        }
        let is_busy = committed.as_ref().is_err_and(|failure| failure.outcome == WriteOutcome::Busy);
        self.backend.was_busy.store(is_busy, Ordering::Relaxed);
        let is_not_written =
            committed.as_ref().is_err_and(|failure| failure.outcome != WriteOutcome::Unknown);
        if is_not_written {
            // The claims were registered before the commit. A claim that may be on disk stays registered.
            batch.iter().filter_map(claim_numbers::of).for_each(|claim| self.in_flight.complete(claim, None));
        }
        committed
    }

    /// Whether a checkpoint has work to do before the next commit.
    ///
    /// A checkpoint begins after a commit with an fsync. Otherwise a failed fsync on the checkpoint thread could lose
    /// an earlier commit unnoticed.
    fn needs_maintenance(&self) -> bool {
        self.unsynced_claim.is_none() && !self.must_reopen && self.checkpointer.is_due()
    }

    /// Whether the checkpoint thread runs.
    fn is_maintaining(&self) -> bool {
        self.checkpointer.is_concurrent()
    }

    fn maintain(&mut self) {
        self.advance_checkpoint();
    }

    fn purgeable(&mut self, limit: usize) -> Vec<Change> {
        purge::slice(&self.backend.clock, &|mark| self.backend.age_ms(mark), &self.files.conn, limit)
    }

    /// Deletes the owner's row, checkpoints the whole WAL and closes the connection.
    fn close(mut self: Box<Self>, limit: Duration) -> Result<(), Error> {
        let closed = self.finish(limit);
        if self.poison.check().is_err() {
            self.abandon()
        } else {
            self.close_now()
        }
        closed
    }

    /// Closes the connection, unless the database may miss pages.
    ///
    /// The last connection to close deletes the WAL, and the WAL holds every page that the database may miss.
    fn close_now(self: Box<Self>) {
        if self.may_miss_pages {
            self.abandon();
        }
    }

    /// Leaves the connection open while the process lives: closing it could write into replaced files.
    fn abandon(mut self: Box<Self>) {
        self.checkpointer.abandon();
        std::mem::forget(self.files.conn);
    }

    #[cfg(test)]
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// Makes the next statement read the database file again if any program wrote to it.
///
/// SQLite keeps pages in memory until a commit. If a program copies a backup over the database file, only a fresh read
/// shows the change.
fn refresh(conn: &Connection, identity: &mut FileIdentity) -> rusqlite::Result<()> {
    if identity.database_was_written() { connection::drop_cached_pages(conn) } else { Ok(()) }
}

/// Poisons the store if its database was set back to an older state.
fn poison_if_replaced(poison: &Poison, failure: &Failure) {
    if failure.error.kind() == ErrorKind::Replaced {
        poison.set(failure.error.clone());
    }
}

/// Poisons the store if its files were replaced. SQLite may report a write to a replaced file as written and lose it.
fn check_files(poison: &Poison, identity: &mut FileIdentity) -> Result<(), Failure> {
    identity.check().map_err(|replaced| {
        let error =
            Error::new(ErrorKind::Replaced, Ran::No, replaced.to_string()).advise(Advice::RestoreReplaced);
        poison.set(error.clone());
        failure::not_written(error)
    })
}

#[cfg(test)]
mod tests;
