//! The log is folded into the database beside the calls; they wait for it only where it gets too long.
//!
//! SQLite begins a log anew when somebody writes at a moment at which all of it is folded in, and while there are calls
//! there is always more. So a connection of its own, on a thread that lives no longer than that, folds in most of it,
//! again and again until little is left, and the writer that little, between two commits. If the log has grown four
//! times as long meanwhile, since callers write faster than the disk folds, the writer waits for the thread.
//!
//! The database is forced to disk at the end of a checkpoint that has reached the end of the log, and of no other
//! (`walCheckpoint` in SQLite's `wal.c`). For that to be done on the thread as well, the writer stands still for the
//! moment in which such a checkpoint begins.
//!
//! # When it fails
//! Folding forces the log to disk first. A force that failed may have taken commits with it that were not forced
//! before, and the kernel tells that once: the writer then goes on as after a failed commit of its own. For the same
//! reason every commit is forced while the thread runs. A force of the database that failed may have taken pages with it
//! that count as folded in: `commit` has all of them written again.
//!
//! SQLite's own way, a checkpoint at the end of a COMMIT, is made while the callers wait for that COMMIT, and nobody hears
//! that it failed.

use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::Error;
use crate::event;

mod pause;

use pause::Pause;

/// So little of the log is left to the writer: it takes about a millisecond.
const REST_FRAMES: i64 = 256;
/// Where callers write as fast as the disk folds, each pass leaves as much as the one before.
const PASSES_MAX: usize = 8;
/// How often the writer is asked to stand still, if somebody reads what was to be folded in.
const PAUSES_MAX: usize = 8;
/// The log may be this many times as long as the one that is due before callers wait for it.
const PATIENCE: u32 = 4;
/// How often to look at the length of the log while it grows to the one that is due.
const LOOKS: u32 = 16;
/// Pages a commit and each of its records change at most, but for splits and long results.
const FRAMES_A_COMMIT: usize = 4;
const FRAMES_A_RECORD: usize = 8;
/// How often the writer tries to begin the log anew: a reader that is about to end hinders it for a moment only.
const LAST_TRIES: u32 = 16;

/// How long a log gets that is to be folded in after so many bytes, if the disk keeps up.
pub(crate) fn longest_log(log_bytes: u64) -> u64 {
    log_bytes.saturating_mul(u64::from(PATIENCE))
}

/// What a commit may have added to the log. It is only a guess at when to look how long the log is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    pub(crate) records: usize,
    pub(crate) result_bytes: usize,
}

/// When the log is folded in, and by whom.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    phase: Phase,
    /// The connection of the thread, while there is none.
    idle: Option<Connection>,
    /// How long the log was at the last look at it, in frames: a page each.
    frames: u32,
    /// What was added since, at most.
    added: u32,
    /// How long it is when it is folded in next.
    due: u32,
    /// The same for a log that was begun anew.
    every: u32,
    page_bytes: u32,
}

#[derive(Debug)]
enum Phase {
    Growing,
    /// A thread folds in most of the log.
    Beside(JoinHandle<(Connection, rusqlite::Result<()>)>, Arc<Pause>),
    /// The writer folds in the rest, so that the next commit begins the log anew.
    Rest {
        tries: u32,
    },
}

impl Checkpoints {
    /// For a log of at most so many bytes, if the disk keeps up.
    pub(crate) fn new(log_bytes: u64, page_bytes: u32) -> Checkpoints {
        let every = u32::try_from(log_bytes / u64::from(page_bytes).max(1)).unwrap_or(u32::MAX).max(1);
        Checkpoints { phase: Phase::Growing, idle: None, frames: 0, added: 0, due: every, every, page_bytes }
    }

    /// Takes note of a commit, and looks how long the log is if it may have grown by much.
    pub(crate) fn note_commit(&mut self, conn: &Connection, added: Added) -> rusqlite::Result<()> {
        let pages = added.result_bytes / usize::try_from(self.page_bytes).unwrap_or(1).max(1);
        let frames = FRAMES_A_COMMIT + added.records.saturating_mul(FRAMES_A_RECORD) + pages;
        self.added = self.added.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        if self.added < self.every / LOOKS && !matches!(self.phase, Phase::Rest { .. }) {
            return Ok(());
        }
        let Some(frames) = log_frames(conn)? else { return Ok(()) };
        if frames < self.frames {
            // It was begun anew: by this commit, or by another process.
            self.due = self.every;
            if let Phase::Rest { .. } = self.phase {
                self.phase = Phase::Growing;
            }
        }
        (self.frames, self.added) = (frames, 0);
        Ok(())
    }

    /// Whether there is anything to do between this commit and the next one.
    pub(crate) fn is_due(&self) -> bool {
        match &self.phase {
            Phase::Growing => self.frames >= self.due,
            Phase::Beside(thread, _) => thread.is_finished() || self.frames >= self.longest(),
            Phase::Rest { .. } => true,
        }
    }

    /// Whether the log is being folded in beside the writer.
    pub(crate) fn is_beside(&self) -> bool {
        matches!(self.phase, Phase::Beside(..))
    }

    /// Before a commit: stands still for a moment if the thread asks for it.
    pub(crate) fn give_way(&self) {
        if let Phase::Beside(_, pause) = &self.phase {
            pause.stand_still();
        }
    }

    fn longest(&self) -> u32 {
        self.due.saturating_add(self.every.saturating_mul(PATIENCE - 1))
    }

    /// Does what is due. `connect` opens the connection of the thread, `conn` is the writer's.
    pub(crate) fn step(
        &mut self,
        conn: &Connection,
        connect: impl FnOnce() -> Result<Connection, Error>,
    ) -> rusqlite::Result<()> {
        if self.is_beside() {
            self.join().inspect_err(|_| self.put_off())?;
        } else if let Phase::Growing = self.phase
            && self.begin(connect)
        {
            return Ok(());
        }
        self.fold_rest(conn).inspect_err(|_| self.put_off())
    }

    /// Starts the thread. Where that cannot be done, and it seldom cannot, the writer does its work.
    fn begin(&mut self, connect: impl FnOnce() -> Result<Connection, Error>) -> bool {
        let idle = self.idle.take().map_or_else(connect, Ok);
        let Ok(conn) = idle.inspect_err(|error| event::store_error(&error.with_causes())) else {
            return false;
        };
        let pause = Arc::<Pause>::default();
        let writers = Arc::clone(&pause);
        let work = move || {
            let folded = fold_most(&conn, &pause);
            (conn, folded)
        };
        let Ok(thread) = std::thread::Builder::new().name("idem-checkpoint".into()).spawn(work) else {
            return false;
        };
        self.phase = Phase::Beside(thread, writers);
        true
    }

    /// Waits for the thread, if there is one.
    fn join(&mut self) -> rusqlite::Result<()> {
        let Phase::Beside(thread, pause) = std::mem::replace(&mut self.phase, Phase::Growing) else {
            return Ok(());
        };
        pause.until_the_end();
        // It does nothing that panics; if it did, the rest would be all of the log.
        let Ok((conn, folded)) = thread.join() else { return Ok(()) };
        self.idle = Some(conn);
        folded
    }

    /// Leaves a log that can be begun anew, unless somebody reads from it.
    fn fold_rest(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let tries = if let Phase::Rest { tries } = self.phase { tries + 1 } else { 1 };
        passive(conn)?;
        self.phase = Phase::Rest { tries };
        if tries >= LAST_TRIES {
            self.put_off();
        }
        Ok(())
    }

    /// Somebody reads for long, or the disk refuses: the log grows on, and is folded in later.
    fn put_off(&mut self) {
        self.phase = Phase::Growing;
        self.due = self.frames.saturating_add(self.every);
    }

    /// Waits for the thread and closes its connection.
    pub(crate) fn stop(&mut self) -> rusqlite::Result<()> {
        let folded = self.join();
        self.idle = None;
        folded
    }

    /// The same without closing the connection.
    pub(crate) fn abandon(&mut self) {
        let _ = self.join();
        std::mem::forget(self.idle.take());
    }
}

#[cfg(test)]
impl Checkpoints {
    pub(crate) fn be_beside(&mut self, thread: JoinHandle<(Connection, rusqlite::Result<()>)>) {
        self.phase = Phase::Beside(thread, Arc::default());
    }

    pub(crate) fn be_due(&mut self) {
        self.frames = self.due;
    }

    pub(crate) fn be_too_long(&mut self) {
        self.frames = self.longest();
    }
}

/// No thread outlives the writer.
impl Drop for Checkpoints {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn fold_most(conn: &Connection, pause: &Pause) -> rusqlite::Result<()> {
    let mut folded = fold_down(conn, 0)?;
    for _ in 0..PAUSES_MAX {
        let before = folded;
        let log = pause.during(|| passive(conn))?;
        folded = log.folded;
        if log.folded == log.frames || log.folded == before {
            break;
        }
    }
    // What came while the database was forced to disk.
    fold_down(conn, folded).map(drop)
}

/// Folds in what there is, and what came meanwhile, until that is little. Gives how much is folded in by now.
fn fold_down(conn: &Connection, mut folded: i64) -> rusqlite::Result<i64> {
    for _ in 0..PASSES_MAX {
        let before = folded;
        folded = passive(conn)?.folded;
        if folded - before <= REST_FRAMES {
            break;
        }
    }
    Ok(folded)
}

/// Reads no file and takes no lock. `SQLite` before 3.51 does not know `NOOP` and makes a checkpoint, which does no harm.
/// Gives nothing while another process writes the index of the log.
fn log_frames(conn: &Connection) -> rusqlite::Result<Option<u32>> {
    let frames: i64 = conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| row.get(1))?;
    Ok(u32::try_from(frames).ok())
}

/// How long the log was when a checkpoint began, and how much of it was folded in at its end.
struct Log {
    frames: i64,
    folded: i64,
}

/// Folds in what nobody reads, and waits for nobody.
fn passive(conn: &Connection) -> rusqlite::Result<Log> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(Log { frames: row.get(1)?, folded: row.get(2)? })
    })
}
