//! Recovery after a write whose outcome is unknown.

use rusqlite::Connection;

use crate::backend::{Failure, WriteOutcome};
use crate::error::Error;
use crate::sqlite::commit::Committer;
use crate::sqlite::connection::Role;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::{checkpoint, connection, failure, wal};

impl Committer {
    /// Replaces the connection, and brings everything in the WAL to disk before anything else is acknowledged.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        self.stop_checkpoint();
        let path = self.backend.path.database();
        let mut fresh = connection::connect(path).map_err(failure::not_written)?;
        connection::set_modes(&fresh, self.backend.tenancy, Role::Writer).map_err(failure::not_written)?;
        limit_wal(&fresh, self.backend.tenancy, self.wal_bytes).map_err(failure::not_written)?;
        if self.may_miss_pages {
            let source = connection::connect(path).map_err(failure::not_written)?;
            wal::rewrite_database(&source, &mut fresh).map_err(failure::statement_failed)?;
        }
        wal::reset(&fresh).map_err(|error| {
            self.note_failed_checkpoint(&error);
            failure::statement_failed(error)
        })?;
        self.files.conn = fresh;
        (self.is_syncing, self.must_reopen, self.may_miss_pages) = (true, false, false);
        Ok(())
    }

    /// Waits for the checkpoint thread and records a failure.
    pub(super) fn stop_checkpoint(&mut self) {
        if let Err(error) = self.checkpointer.stop() {
            self.note_failed_checkpoint(&error);
        }
    }

    pub(super) fn note_failed_checkpoint(&mut self, error: &rusqlite::Error) {
        if failure::of_commit(error) == WriteOutcome::Unknown {
            (self.must_reopen, self.may_miss_pages) = (true, true);
        }
    }

    /// Writes every page again if pages may be missing. No checkpoint may run before that.
    pub(super) fn rewrite_missing_pages(&mut self) -> Result<(), Error> {
        if self.may_miss_pages { self.reopen().map_err(|failure| failure.error) } else { Ok(()) }
    }
}

/// Limits the size of the WAL file after a reset to the length at which callers wait.
pub(super) fn limit_wal(conn: &Connection, tenancy: Tenancy, wal_bytes: u64) -> Result<(), Error> {
    wal::set_limit(conn, tenancy, checkpoint::wal_bytes_max(wal_bytes))
}
