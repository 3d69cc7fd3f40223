//! Checkpoints run while calls continue, and the WAL stays short.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use idem_runtime::{Error, OnInterrupt, Store, StoreBuilder};
#[cfg(target_os = "linux")]
use idem_tests::halt::eventually;
use idem_tests::shared::call;
use rusqlite::{Connection, OpenFlags};

#[cfg(unix)]
use crate::support::place::Place;
#[cfg(unix)]
use crate::support::worker::Worker;

const NAME: &str = "checkpoints.pay";
/// The least there is: 16 pages.
const LOG_BYTES: u64 = 64 << 10;
/// Four times as long, and what one batch of the largest kind adds.
const LONGEST: u64 = 4 * LOG_BYTES + (512 << 10);
const CALLS: usize = 1_000;

fn short_log() -> StoreBuilder {
    Store::builder().log_bytes(LOG_BYTES)
}

fn pay(store: &Store, n: usize) -> usize {
    let mode = if n.is_multiple_of(2) { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
    call(NAME).store(store).key(&n).on_interrupt(mode).run(|| Ok::<_, Error>(n)).unwrap()
}

/// Makes so many calls from so many threads, and then all of them again. Gives the greatest length of the WAL.
fn longest_log(store: &Store, callers: usize) -> u64 {
    let (mut longest, over) = (0, AtomicBool::new(false));
    // `stats` would read from the WAL and so keep SQLite from resetting it.
    let wal = store.path().with_file_name("idem.db-wal");
    thread::scope(|scope| {
        let work = |first: usize| (first..CALLS).step_by(callers).for_each(|n| assert_eq!(pay(store, n), n));
        let callers: Vec<_> = (0..callers).map(|first| scope.spawn(move || work(first))).collect();
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                longest = longest.max(std::fs::metadata(&wal).unwrap().len());
                thread::yield_now();
            }
        });
        for caller in callers {
            caller.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
    for n in 0..CALLS {
        let again = call(NAME).store(store).key(&n).run(|| Ok::<_, Error>(CALLS));
        assert_eq!(again.unwrap(), n);
    }
    assert!(store.verify().unwrap().is_empty());
    longest
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idem.db");
    (folder, path)
}

fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .unwrap()
}

/// An application's database, with pages of this size.
fn application(path: &Path, page_bytes: u32) {
    let conn = open(path);
    conn.execute_batch(&format!(
        "PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = WAL; CREATE TABLE theirs (n INTEGER)"
    ))
    .unwrap();
}

#[test]
fn the_wal_stays_short_with_one_writer_and_with_many() {
    for callers in [1, 2, 16] {
        let (_folder, path) = folder();
        let store = short_log().open(&path).unwrap();
        let longest = longest_log(&store, callers);
        assert!((LOG_BYTES..=LONGEST).contains(&longest), "{callers} callers: {longest}");
        store.close().unwrap();
    }
}

// Commits of another process during the last part of a checkpoint would leave a part again, for ever.
#[cfg(unix)]
#[test]
fn the_wal_stays_short_while_another_process_writes_all_the_time() {
    let place = Place::new();
    let store = short_log().open(place.database()).unwrap();
    let mut other = Worker::start(&place);
    other.tell("all storm sync 1 1500");
    let longest = longest_log(&store, 1);
    assert!((LOG_BYTES..=2 * LONGEST).contains(&longest), "{longest}");
    other.hear("all ok");
}

#[test]
fn the_wal_of_an_application_is_measured_in_its_own_pages() {
    for page_bytes in [512, 65_536] {
        let (_folder, path) = folder();
        application(&path, page_bytes);
        let store = short_log().shared().open(&path).unwrap();
        let longest = longest_log(&store, 4);
        // A batch changes some pages at least.
        let most = LONGEST.max(u64::from(page_bytes) * 64);
        assert!((LOG_BYTES..=most).contains(&longest), "pages of {page_bytes}: {longest}");
        store.close().unwrap();
    }
}

#[test]
fn callers_do_not_wait_for_a_long_reader_and_the_wal_is_short_again_after_it() {
    let (_folder, path) = folder();
    let store = short_log().open(&path).unwrap();
    pay(&store, CALLS);
    let reader = open(&path);
    reader.execute_batch("BEGIN; SELECT count(*) FROM idem_record").unwrap();
    let frames = || -> u32 {
        let conn = open(&path);
        conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap()
    };
    (0..500).for_each(|n| assert_eq!(pay(&store, n), n));
    assert!(u64::from(frames()) * 4_096 > LONGEST, "{}", frames());
    drop(reader);
    (500..700).for_each(|n| assert_eq!(pay(&store, n), n));
    assert!(u64::from(frames()) * 4_096 <= LONGEST, "{}", frames());
}

#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_runs_on_a_thread_that_ends_with_it() {
    let is_there = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.any(|name| name.trim() == "idem-checkpoint")
    };
    let (_folder, path) = folder();
    let store = short_log().open(&path).unwrap();
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(pay(&store, n), n);
                n += 1;
            }
        });
        let seen = (0..200_000).any(|_| is_there());
        over.store(true, Ordering::Relaxed);
        seen
    });
    assert!(seen);
    // Other stores of this program run checkpoints too.
    eventually("the thread ends", || !is_there());
}
