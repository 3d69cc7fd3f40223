//! Checkpoints and fsyncs of the writer.

use std::sync::mpsc;
use std::thread;

use rusqlite::ffi;

use super::*;
use crate::engine::tests::Threadless;
use crate::{OnInterrupt, call};

type ThreadResult = rusqlite::Result<()>;

/// Starts a checkpoint thread that ends with the result it receives.
fn checkpoint_thread(committer: &mut Committer) -> mpsc::Sender<ThreadResult> {
    let (end, result) = mpsc::channel();
    let conn = Connection::open_in_memory().unwrap();
    let thread = thread::spawn(move || (conn, result.recv().unwrap_or(Ok(()))));
    committer.checkpointer.set_concurrent(thread);
    end
}

fn failed_with(code: i32) -> ThreadResult {
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

fn is_syncing(place: &Threadless) -> bool {
    place.committer(|committer| committer.is_syncing)
}

/// Makes a repeatable call. Returns whether its claim was committed with an fsync.
fn rerun(place: &Threadless, key: u32) -> bool {
    let call = call("tests.commit")
        .same_for_types()
        .store(&place.store)
        .key(&key)
        .on_interrupt(OnInterrupt::rerun());
    call.run(|| Ok::<_, Error>(is_syncing(place))).unwrap()
}

// A failed fsync on the thread could take a commit without an fsync unnoticed.
#[test]
fn every_commit_does_an_fsync_while_the_checkpoint_thread_runs() {
    let place = Threadless::new();
    assert!(!rerun(&place, 1));
    let end = place.committer(checkpoint_thread);
    assert!(rerun(&place, 2));
    end.send(Ok(())).unwrap();
    place.committer(|committer| committer.checkpointer.stop().unwrap());
    assert!(!rerun(&place, 3));
}

#[test]
fn a_checkpoint_begins_after_a_commit_with_an_fsync() {
    let place = Threadless::new();
    let is_due = || {
        place.committer(|committer| {
            committer.checkpointer.set_due();
            committer.needs_maintenance()
        })
    };
    assert!(is_due());
    let call =
        call("tests.commit").same_for_types().store(&place.store).key(&1).on_interrupt(OnInterrupt::rerun());
    assert!(!call.run(|| Ok::<_, Error>(is_due())).unwrap());
    assert!(is_due());
}

#[test]
fn after_a_failed_fsync_on_the_thread_the_wal_is_reset_before_the_next_commit() {
    for (code, must_reopen) in [
        (ffi::SQLITE_IOERR_FSYNC, true),
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_BUSY, false),
    ] {
        let place = Threadless::new();
        (10..20).for_each(|key| assert!(!rerun(&place, key)));
        place.committer(|committer| {
            committer.checkpointer.set_due();
            checkpoint_thread(committer).send(failed_with(code)).unwrap();
            while !committer.needs_maintenance() {
                thread::yield_now();
            }
            committer.maintain();
            assert_eq!(
                (committer.must_reopen, committer.may_miss_pages),
                (must_reopen, must_reopen),
                "code {code}"
            );
            assert!(!committer.needs_maintenance(), "the checkpoint is postponed");
        });
        let reader = connection::connect(place.store.path()).unwrap();
        let frames =
            || -> u32 { reader.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap() };
        let before = frames();
        rerun(&place, 2);
        assert_eq!(frames() < before, must_reopen, "code {code}");
    }
}

// The frames of a pass that stops before the end of the WAL count as checkpointed, and may be missing on disk as well.
#[test]
fn after_a_failed_fsync_on_the_thread_every_page_is_written_again() {
    let place = Threadless::new();
    (10..20).for_each(|key| assert!(!rerun(&place, key)));
    let reader = connection::connect(place.store.path()).unwrap();
    let number =
        |pragma: &str, column| -> u32 { reader.query_row(pragma, [], |row| row.get(column)).unwrap() };
    let frames = || number("PRAGMA wal_checkpoint(NOOP)", 1);
    let before = frames();
    place.committer(|committer| {
        committer.must_reopen = true;
        committer.reopen().unwrap();
        assert_eq!(frames(), before, "after a failed commit no page is missing");
        checkpoint_thread(committer).send(failed_with(ffi::SQLITE_IOERR_FSYNC)).unwrap();
        // `reopen` waits for the thread.
        committer.reopen().unwrap();
        assert!(!committer.may_miss_pages && !committer.must_reopen);
    });
    assert_eq!(frames(), number("PRAGMA page_count", 0), "the WAL has each page once");
    assert_eq!(number("PRAGMA wal_checkpoint(NOOP)", 2), frames(), "every frame is checkpointed");
    assert!(place.store.verify().unwrap().is_empty());
    assert!(!rerun(&place, 2) && frames() < before, "the WAL is reset");
}

#[test]
fn callers_wait_for_the_checkpoint_thread_once_the_wal_is_too_long() {
    let place = Threadless::new();
    rerun(&place, 1);
    place.committer(|committer| {
        let end = checkpoint_thread(committer);
        assert!(!committer.needs_maintenance(), "the thread runs");
        committer.checkpointer.set_too_long();
        assert!(committer.needs_maintenance());
        let ending = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(20));
            end.send(Ok(())).unwrap();
        });
        committer.maintain();
        assert!(ending.is_finished() && !committer.checkpointer.is_concurrent());
        ending.join().unwrap();
    });
}

#[test]
fn replaced_files_are_not_checkpointed() {
    let place = Threadless::new();
    rerun(&place, 1);
    std::fs::remove_file(place.store.path()).unwrap();
    place.committer(|committer| {
        committer.checkpointer.set_due();
        committer.maintain();
        assert!(!committer.checkpointer.is_concurrent());
    });
    assert!(!place.store.path().exists(), "no new file replaces the deleted one");
}
