//! Checkpoints between two commits, and the last one at close.

use std::time::Duration;

use crate::backend::Commit;
use crate::error::{Advice, Error};
use crate::event;
use crate::sqlite::commit::claim_numbers::Known;
use crate::sqlite::commit::{Committer, TURN, check_files, poison_if_replaced, refresh};
use crate::sqlite::{connection, failure, owners, wal};

impl Committer {
    /// Advances a checkpoint that is due.
    pub(super) fn advance_checkpoint(&mut self) {
        // If the files were replaced, the next commit reports the error.
        if !self.needs_maintenance() || check_files(&self.poison, &mut self.files.identity).is_err() {
            return;
        }
        let (backend, poison, identity) = (&self.backend, &self.poison, &mut self.files.identity);
        let connect = || {
            let conn = connection::connect_reader(backend.path.database(), backend.tenancy)?;
            check_files(poison, identity).map_err(|failure| failure.error)?;
            Ok(conn)
        };
        // Without the lock, commits of other processes could keep the checkpoint from reaching the end of the WAL.
        let turn = self.files.fair_lock.lock(TURN);
        let done = self.checkpointer.advance(&self.files.conn, connect);
        drop(turn);
        if let Err(error) = done {
            event::store_error(&format!("the WAL could not be checkpointed ({error})"));
            self.note_failed_checkpoint(&error);
        }
    }

    /// Poisons the store if its database lost claims while the store was open.
    fn check_not_back_in_time(&mut self) -> Result<(), Error> {
        let closing = |error| failure::error(error, "closing the store");
        let mark = self.files.high_water.read().unwrap_or(0);
        self.committed_claim = self.committed_claim.max(mark);
        refresh(&self.files.conn, &mut self.files.identity).map_err(closing)?;
        let known = Known { tried: self.highest_claim, committed: self.committed_claim };
        let checked =
            known.check(&self.files.conn).inspect_err(|failure| poison_if_replaced(&self.poison, failure));
        checked.map(drop).map_err(|failure| failure.error)
    }

    /// Deletes the owner's row and checkpoints the whole WAL.
    pub(super) fn finish(&mut self, limit: Duration) -> Result<(), Error> {
        let closing = |error| failure::error(error, "closing the store");
        self.backend.stop_check();
        self.stop_checkpoint();
        self.rewrite_missing_pages()?;
        self.check_not_back_in_time()?;
        self.files.conn.busy_timeout(limit).map_err(closing)?;
        self.set_syncing(true).map_err(|failure| failure.error)?;
        let turn = self.files.fair_lock.lock(TURN);
        let running = owners::delete_unless_running(&self.files.conn, self.backend.owner).map_err(closing)?;
        drop(turn);
        // While another process reads, the last process to close checkpoints the rest.
        if let Err(error) = wal::checkpoint_and_truncate(&self.files.conn) {
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
}
