//! Checkpoints the WAL beside the commits. Callers wait only if the WAL gets too long.
//!
//! SQLite resets the WAL at a write that finds every frame checkpointed. While callers write, frames arrive all the time.
//! So a checkpoint has two parts:
//!
//! 1. The checkpoint thread works on its own connection, in passes, until few frames are left. Then the thread ends.
//! 2. The writer checkpoints the rest between two commits. The next commit resets the WAL.
//!
//! If callers write faster than the checkpoint thread and the WAL reaches four times its due length, the writer waits
//! for the thread.
//!
//! # The fsync of the database
//! A checkpoint does an fsync of the database only if the checkpoint reaches the end of the WAL (`walCheckpoint` in
//! SQLite's `wal.c`). The checkpoint thread does this fsync: the writer pauses while such a checkpoint begins.
//!
//! # Failures
//! A checkpoint begins with an fsync of the WAL. If this fsync fails, commits without an fsync of their own may be lost,
//! and the kernel reports the failure once. The writer then continues as after a failed commit. For the same reason, every
//! commit does an fsync while the checkpoint thread runs.
//!
//! If the fsync of the database fails, pages that count as checkpointed may be missing on disk. The writer then writes
//! every page again.
//!
//! # Why not automatic checkpoints
//! SQLite runs an automatic checkpoint at the end of a COMMIT while callers wait, and reports no failure.

use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::Error;
use crate::event;
use crate::sqlite::wal;

mod commit_pause;
mod passes;

use commit_pause::CommitPause;

/// Length of the WAL at which the writer waits for the checkpoint thread, in multiples of the due length.
const WAIT_FACTOR: u32 = 4;
/// How often the writer measures the WAL while the WAL grows to its due length.
const MEASUREMENTS: u32 = 16;
/// Pages that a commit changes at most, apart from its records.
const FRAMES_PER_COMMIT: usize = 4;
/// Pages that a record changes at most, apart from page splits and long results.
const FRAMES_PER_RECORD: usize = 8;
/// How often the writer tries to reset the WAL. A reader that is about to end blocks only the first tries.
const RESET_TRIES_MAX: u32 = 16;

/// The length that the WAL reaches before callers wait, in bytes. `wal_bytes` is the due length.
pub(crate) fn wal_bytes_max(wal_bytes: u64) -> u64 {
    wal_bytes.saturating_mul(u64::from(WAIT_FACTOR))
}

/// The size of a batch, for an estimate of the frames that its commit added to the WAL.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchSize {
    pub(crate) records: usize,
    pub(crate) result_bytes: usize,
}

/// Decides when a checkpoint is due, and runs it.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    phase: Phase,
    /// The connection of the checkpoint thread, while no thread runs.
    idle: Option<Connection>,
    /// Length of the WAL at the last measurement. A frame holds one page.
    frames: u32,
    /// Upper estimate of the frames added since the last measurement.
    added_frames: u32,
    /// Length of the WAL at which the next checkpoint is due.
    due_frames: u32,
    /// The due length after a reset of the WAL.
    interval_frames: u32,
    page_bytes: u32,
}

/// The connection of the checkpoint thread, and how its work ended.
type ThreadEnd = (Connection, rusqlite::Result<()>);

#[derive(Debug)]
enum Phase {
    /// No checkpoint runs.
    Growing,
    /// The checkpoint thread runs.
    Concurrent(JoinHandle<ThreadEnd>, Arc<CommitPause>),
    /// The writer checkpoints the rest, so that the next commit resets the WAL.
    Resetting { tries: u32 },
}

impl Checkpointer {
    /// Creates the checkpointer of a WAL whose due length is `wal_bytes`.
    pub(crate) fn new(wal_bytes: u64, page_bytes: u32) -> Checkpointer {
        let interval = u32::try_from(wal_bytes / u64::from(page_bytes).max(1)).unwrap_or(u32::MAX).max(1);
        Checkpointer {
            phase: Phase::Growing,
            idle: None,
            frames: 0,
            added_frames: 0,
            due_frames: interval,
            interval_frames: interval,
            page_bytes,
        }
    }

    /// Records a commit. Measures the WAL if the WAL may have grown by much.
    pub(crate) fn note_commit(&mut self, conn: &Connection, batch: BatchSize) -> rusqlite::Result<()> {
        let pages = batch.result_bytes / usize::try_from(self.page_bytes).unwrap_or(1).max(1);
        let frames = FRAMES_PER_COMMIT + batch.records.saturating_mul(FRAMES_PER_RECORD) + pages;
        self.added_frames = self.added_frames.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        let is_resetting = matches!(self.phase, Phase::Resetting { .. });
        if self.added_frames < self.interval_frames / MEASUREMENTS && !is_resetting {
            return Ok(());
        }
        let Some(frames) = wal::frames(conn)? else { return Ok(()) };
        if frames < self.frames {
            // The commit or another process has reset the WAL.
            self.due_frames = self.interval_frames;
            if is_resetting {
                self.phase = Phase::Growing;
            }
        }
        (self.frames, self.added_frames) = (frames, 0);
        Ok(())
    }

    /// Whether [`advance`](Checkpointer::advance) has work to do before the next commit.
    pub(crate) fn is_due(&self) -> bool {
        match &self.phase {
            Phase::Growing => self.frames >= self.due_frames,
            Phase::Concurrent(thread, _) => thread.is_finished() || self.frames >= self.max_frames(),
            Phase::Resetting { .. } => true,
        }
    }

    /// Whether the checkpoint thread runs.
    pub(crate) fn is_concurrent(&self) -> bool {
        matches!(self.phase, Phase::Concurrent(..))
    }

    /// Pauses before a commit if the checkpoint thread has requested a pause.
    pub(crate) fn pause_if_requested(&self) {
        if let Phase::Concurrent(_, pause) = &self.phase {
            pause.pause_if_requested();
        }
    }

    fn max_frames(&self) -> u32 {
        self.due_frames.saturating_add(self.interval_frames.saturating_mul(WAIT_FACTOR - 1))
    }

    /// Starts the checkpoint thread, or waits for the thread and checkpoints the rest on `conn`.
    ///
    /// `conn` is the writer's connection. `connect` opens the connection of the thread.
    pub(crate) fn advance(
        &mut self,
        conn: &Connection,
        connect: impl FnOnce() -> Result<Connection, Error>,
    ) -> rusqlite::Result<()> {
        if self.is_concurrent() {
            self.join_thread().inspect_err(|_| self.postpone())?;
        } else if let Phase::Growing = self.phase
            && self.start_thread(connect)
        {
            return Ok(());
        }
        self.checkpoint_rest(conn).inspect_err(|_| self.postpone())
    }

    /// Starts the checkpoint thread. If this fails, the writer does the whole checkpoint.
    fn start_thread(&mut self, connect: impl FnOnce() -> Result<Connection, Error>) -> bool {
        let idle = self.idle.take().map_or_else(connect, Ok);
        let Ok(conn) = idle.inspect_err(|error| event::store_error(&error.with_causes())) else {
            return false;
        };
        let pause = Arc::<CommitPause>::default();
        let of_writer = Arc::clone(&pause);
        let work = move || {
            let done = passes::checkpoint_most(&conn, &pause);
            (conn, done)
        };
        let Ok(thread) = std::thread::Builder::new().name("idem-checkpoint".into()).spawn(work) else {
            return false;
        };
        self.phase = Phase::Concurrent(thread, of_writer);
        true
    }

    /// Waits for the checkpoint thread, if it runs.
    fn join_thread(&mut self) -> rusqlite::Result<()> {
        let Phase::Concurrent(thread, pause) = std::mem::replace(&mut self.phase, Phase::Growing) else {
            return Ok(());
        };
        pause.begin_join();
        // After a panic of the thread, the writer checkpoints all of the WAL.
        let Ok((conn, done)) = thread.join() else { return Ok(()) };
        self.idle = Some(conn);
        done
    }

    /// Checkpoints the frames that are left. The next commit resets the WAL, unless a reader still needs the WAL.
    fn checkpoint_rest(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let tries = if let Phase::Resetting { tries } = self.phase { tries + 1 } else { 1 };
        wal::checkpoint(conn)?;
        self.phase = Phase::Resetting { tries };
        if tries >= RESET_TRIES_MAX {
            self.postpone();
        }
        Ok(())
    }

    /// Postpones the checkpoint after a failure, or while a long read transaction blocks the reset.
    fn postpone(&mut self) {
        self.phase = Phase::Growing;
        self.due_frames = self.frames.saturating_add(self.interval_frames);
    }

    /// Waits for the checkpoint thread and closes its connection.
    pub(crate) fn stop(&mut self) -> rusqlite::Result<()> {
        let done = self.join_thread();
        self.idle = None;
        done
    }

    /// Waits for the checkpoint thread and leaves its connection open.
    pub(crate) fn abandon(&mut self) {
        let _ = self.join_thread();
        std::mem::forget(self.idle.take());
    }
}

/// The checkpoint thread ends before the writer.
impl Drop for Checkpointer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

#[cfg(test)]
impl Checkpointer {
    pub(crate) fn set_concurrent(&mut self, thread: JoinHandle<ThreadEnd>) {
        self.phase = Phase::Concurrent(thread, Arc::default());
    }

    pub(crate) fn set_due(&mut self) {
        self.frames = self.due_frames;
    }

    pub(crate) fn set_too_long(&mut self) {
        self.frames = self.max_frames();
    }
}
