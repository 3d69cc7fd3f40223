//! The savepoint of a `tx` call, in a write transaction of the call or of its caller.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::backend::WriteOutcome;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::sqlite::timeline::Timeline;
use crate::sqlite::{failure, store_clock};
use crate::tx::connection::{begin_failed, failed, timeline};

/// Makes the names of savepoints unique. If a savepoint of the body had an equal name, a release could end the wrong
/// one.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A savepoint on the user's connection. Dropping the savepoint before its end rolls back everything since its begin.
pub(super) struct Savepoint<'conn> {
    pub(super) conn: &'conn Connection,
    /// Whether the call began the transaction too.
    pub(super) owns_transaction: bool,
    name: String,
    /// The ages of records, as of the begin of the savepoint.
    pub(super) timeline: Timeline,
    /// Whether the savepoint is released, or gone with its transaction.
    pub(super) ended: bool,
}

impl<'conn> Savepoint<'conn> {
    /// Opens a savepoint. In autocommit mode, begins a write transaction first.
    pub(super) fn begin(conn: &'conn Connection) -> Result<Savepoint<'conn>, Error> {
        let owns_transaction = conn.is_autocommit();
        if owns_transaction {
            conn.execute_batch("BEGIN IMMEDIATE").map_err(|error| begin_failed(conn, error))?;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("idem_{}_{number}", std::process::id());
        let timeline = open(conn, &name).inspect_err(|_| {
            if owns_transaction {
                roll_back_transaction(conn);
            }
        })?;
        Ok(Savepoint { conn, owns_transaction, name, timeline, ended: false })
    }

    /// Undoes everything since the begin of the savepoint. False if the savepoint is gone.
    pub(super) fn undo(&self) -> bool {
        self.conn.execute_batch(&format!("ROLLBACK TO {}", self.name)).is_ok()
    }

    /// Ends the savepoint and keeps its changes. False if the savepoint is gone.
    pub(super) fn release(&mut self) -> bool {
        self.ended = self.conn.execute_batch(&format!("RELEASE {}", self.name)).is_ok();
        self.ended
    }

    /// Commits the transaction of the call, after the release.
    pub(super) fn commit(&self) -> Result<(), Error> {
        let Err(error) = self.conn.execute_batch("COMMIT") else { return Ok(()) };
        if !self.conn.is_autocommit() {
            roll_back_transaction(self.conn);
        }
        let (ran, fact, advice) = match failure::of_commit(&error) {
            WriteOutcome::Unknown => {
                (Ran::Unknown, "the commit failed and its outcome is unknown", Advice::RetryToLearn)
            }
            _ => (Ran::Yes, "the commit failed and rolled back the rows and the record", Advice::Retry),
        };
        Err(Error::new(ErrorKind::Store, ran, fact).advise(advice).because(error))
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.owns_transaction {
            roll_back_transaction(self.conn);
        } else {
            let name = &self.name;
            let _ = self.conn.execute_batch(&format!("ROLLBACK TO {name}; RELEASE {name}"));
        }
    }
}

/// Writes the row of the clock before the savepoint, because records outside of the savepoint may name this row.
fn open(conn: &Connection, savepoint: &str) -> Result<Timeline, Error> {
    let (timeline, due) = timeline(conn)?;
    if let Some(row) = due {
        store_clock::write_boot(conn, &row).map_err(failed)?;
    }
    conn.execute_batch(&format!("SAVEPOINT {savepoint}")).map_err(failed)?;
    Ok(timeline)
}

/// Rolls back the transaction. Ignores errors, because SQLite ends the transaction with the connection at the latest.
pub(super) fn roll_back_transaction(conn: &Connection) {
    let _ = conn.execute_batch("ROLLBACK");
}
