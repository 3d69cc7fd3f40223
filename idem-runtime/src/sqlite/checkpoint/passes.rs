//! The work of the checkpoint thread.

use rusqlite::Connection;

use crate::sqlite::checkpoint::commit_pause::CommitPause;
use crate::sqlite::wal;

/// Frames that a pass may leave to the writer. The writer checkpoints them in about a millisecond.
const REST_FRAMES: i64 = 256;
/// Upper limit of passes. If callers write as fast as the disk checkpoints, the rest never gets shorter.
const PASSES_MAX: usize = 8;
/// How often the thread requests a pause of the writer, if a reader blocks the checkpoint.
const PAUSES_MAX: usize = 8;

/// Checkpoints until few frames are left, including the fsync of the database.
pub(super) fn checkpoint_most(conn: &Connection, pause: &CommitPause) -> rusqlite::Result<()> {
    let mut checkpointed = run_passes(conn, 0)?;
    for _ in 0..PAUSES_MAX {
        let before = checkpointed;
        let progress = pause.during(|| wal::checkpoint(conn))?;
        checkpointed = progress.checkpointed;
        if checkpointed == progress.frames || checkpointed == before {
            break;
        }
    }
    // The frames that arrived during the fsync.
    run_passes(conn, checkpointed).map(drop)
}

/// Repeats checkpoints until a pass adds few frames. Returns the number of frames checkpointed so far.
fn run_passes(conn: &Connection, mut checkpointed: i64) -> rusqlite::Result<i64> {
    for _ in 0..PASSES_MAX {
        let before = checkpointed;
        checkpointed = wal::checkpoint(conn)?.checkpointed;
        if checkpointed - before <= REST_FRAMES {
            break;
        }
    }
    Ok(checkpointed)
}
