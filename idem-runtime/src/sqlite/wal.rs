//! The statements on the WAL: its length, checkpoints, and the reset after a failed fsync.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ffi};

use crate::error::Error;
use crate::sqlite::connection;
use crate::sqlite::schema::Tenancy;

/// Sets the size to which SQLite truncates the WAL at a reset. In a shared file, the application sets the limit.
pub(crate) fn set_limit(conn: &Connection, tenancy: Tenancy, bytes: u64) -> Result<(), Error> {
    match tenancy {
        Tenancy::Own => connection::set_and_read_back(conn, "journal_size_limit", bytes.cast_signed()),
        Tenancy::Shared => Ok(()),
    }
}

/// Length of the WAL, in frames. `None` while another process writes the index of the WAL.
///
/// The statement reads no file and takes no lock. SQLite before 3.51 does not know `NOOP` and runs a harmless passive
/// checkpoint.
pub(crate) fn frames(conn: &Connection) -> rusqlite::Result<Option<u32>> {
    let frames: i64 = conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| row.get(1))?;
    Ok(u32::try_from(frames).ok())
}

/// The state of the WAL after a checkpoint.
pub(crate) struct Progress {
    /// Length of the WAL when the checkpoint began.
    pub(crate) frames: i64,
    /// Frames checkpointed so far.
    pub(crate) checkpointed: i64,
}

/// Checkpoints every frame that no reader needs, without waiting.
pub(crate) fn checkpoint(conn: &Connection) -> rusqlite::Result<Progress> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(Progress { frames: row.get(1)?, checkpointed: row.get(2)? })
    })
}

/// Checkpoints the whole WAL and truncates it to zero bytes. If another process reads, some frames stay in the WAL.
pub(crate) fn checkpoint_and_truncate(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Checkpoints the whole WAL and resets it. Fails if a reader still needs the WAL.
///
/// After a failed fsync, the kernel counts the unwritten pages as written. Earlier commits without an fsync may be missing
/// on disk although the next fsync succeeds. Recovery ends at the first gap in the WAL.
pub(crate) fn reset(conn: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool = conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))?;
    if is_busy { Err(busy()) } else { Ok(()) }
}

/// Writes every page of the database again, with its present content, through `target`.
///
/// A checkpoint that stops before the end of the WAL does no fsync of the database, and the next checkpoint continues
/// from there. If that fsync fails, the kernel counts the pages of both as written. SQLite never writes the first ones
/// again.
pub(crate) fn rewrite_database(source: &Connection, target: &mut Connection) -> rusqlite::Result<()> {
    let copy = Backup::new(source, target)?;
    // The first step takes the write lock and copies nothing, so the second step copies the newest state.
    copy.step(0)?;
    match copy.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(busy()),
    }
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)
}
