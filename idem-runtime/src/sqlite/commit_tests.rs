//! What the writer does about its log.

use std::sync::mpsc;
use std::thread;

use rusqlite::ffi;

use super::*;
use crate::engine::tests::Threadless;
use crate::{OnInterrupt, call};

type Folded = rusqlite::Result<()>;

/// A thread that folds until it is told how that ended.
fn folding(committer: &mut Committer) -> mpsc::Sender<Folded> {
    let (tell, told) = mpsc::channel();
    let conn = Connection::open_in_memory().unwrap();
    let thread = thread::spawn(move || (conn, told.recv().unwrap_or(Ok(()))));
    committer.checkpoints.be_beside(thread);
    tell
}

fn failed_with(code: i32) -> Folded {
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

fn is_syncing(place: &Threadless) -> bool {
    place.committer(|committer| committer.syncing)
}

fn rerun(place: &Threadless, key: u32) -> bool {
    let call = call("tests.commit").store(&place.store).key(&key).on_interrupt(OnInterrupt::rerun());
    call.run(|| Ok::<_, Error>(is_syncing(place))).unwrap()
}

// A force that failed on the thread would take an unforced commit with it unnoticed.
#[test]
fn every_commit_is_forced_while_the_log_is_folded_in_beside() {
    let place = Threadless::new();
    assert!(!rerun(&place, 1));
    let tell = place.committer(folding);
    assert!(rerun(&place, 2));
    tell.send(Ok(())).unwrap();
    place.committer(|committer| committer.checkpoints.stop().unwrap());
    assert!(!rerun(&place, 3));
}

#[test]
fn folding_begins_after_a_commit_that_was_forced() {
    let place = Threadless::new();
    let is_due = || {
        place.committer(|committer| {
            committer.checkpoints.be_due();
            committer.needs_maintenance()
        })
    };
    assert!(is_due());
    let call = call("tests.commit").store(&place.store).key(&1).on_interrupt(OnInterrupt::rerun());
    assert!(!call.run(|| Ok::<_, Error>(is_due())).unwrap());
    assert!(is_due());
}

#[test]
fn after_a_force_that_failed_beside_the_log_is_begun_anew_before_anything_else_is_acknowledged() {
    for (code, must_reopen) in [
        (ffi::SQLITE_IOERR_FSYNC, true),
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_BUSY, false),
    ] {
        let place = Threadless::new();
        (10..20).for_each(|key| assert!(!rerun(&place, key)));
        place.committer(|committer| {
            committer.checkpoints.be_due();
            folding(committer).send(failed_with(code)).unwrap();
            while !committer.needs_maintenance() {
                thread::yield_now();
            }
            committer.maintain();
            assert_eq!(
                (committer.must_reopen, committer.may_miss_pages),
                (must_reopen, must_reopen),
                "code {code}"
            );
            assert!(!committer.needs_maintenance(), "it is put off");
        });
        let reader = schema::connect(place.store.path()).unwrap();
        let frames =
            || -> u32 { reader.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap() };
        let before = frames();
        rerun(&place, 2);
        assert_eq!(frames() < before, must_reopen, "code {code}");
    }
}

// What a pass that did not reach the end of the log has folded in counts as folded in, and is not on disk either.
#[test]
fn after_a_force_that_failed_beside_every_page_is_written_again() {
    let place = Threadless::new();
    (10..20).for_each(|key| assert!(!rerun(&place, key)));
    let reader = schema::connect(place.store.path()).unwrap();
    let number =
        |pragma: &str, column| -> u32 { reader.query_row(pragma, [], |row| row.get(column)).unwrap() };
    let frames = || number("PRAGMA wal_checkpoint(NOOP)", 1);
    let before = frames();
    place.committer(|committer| {
        committer.must_reopen = true;
        committer.reopen().unwrap();
        assert_eq!(frames(), before, "a commit that failed tears nothing");
        folding(committer).send(failed_with(ffi::SQLITE_IOERR_FSYNC)).unwrap();
        // Whoever reopens it hears how the thread ended.
        committer.reopen().unwrap();
        assert!(!committer.may_miss_pages && !committer.must_reopen);
    });
    assert_eq!(frames(), number("PRAGMA page_count", 0), "each page once, in a new log");
    assert_eq!(number("PRAGMA wal_checkpoint(NOOP)", 2), frames(), "all is folded in");
    assert!(place.store.verify().unwrap().is_empty());
    assert!(!rerun(&place, 2) && frames() < before, "the log is begun anew");
}

#[test]
fn callers_wait_for_the_thread_once_the_log_is_too_long() {
    let place = Threadless::new();
    rerun(&place, 1);
    place.committer(|committer| {
        let tell = folding(committer);
        assert!(!committer.needs_maintenance(), "it is folded in");
        committer.checkpoints.be_too_long();
        assert!(committer.needs_maintenance());
        let telling = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(20));
            tell.send(Ok(())).unwrap();
        });
        committer.maintain();
        assert!(telling.is_finished() && !committer.checkpoints.is_beside());
        telling.join().unwrap();
    });
}

#[test]
fn files_that_were_replaced_are_not_folded_into() {
    let place = Threadless::new();
    rerun(&place, 1);
    std::fs::remove_file(place.store.path()).unwrap();
    place.committer(|committer| {
        committer.checkpoints.be_due();
        committer.maintain();
        assert!(!committer.checkpoints.is_beside());
    });
    assert!(!place.store.path().exists(), "nothing was made in their place");
}
