//! Part 9: load. Live traffic while everything else goes on; memory, threads and files stay bounded.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, Store, call};
use rusqlite::Connection;

use crate::bytes::peak_kb;
use crate::frame::{Options, Report, fast_folder};
use crate::tally::Tally;

const NAME: &str = "load.effect";
const LONG: Duration = Duration::from_secs(120);
/// The WAL is cut back to 64 MB and checkpointed every 16 MB; a batch may come on top.
const WAL_MB_MAX: u64 = 96;
/// A writer, a watcher, and the threads of the harness.
const THREADS_OVER_MAX: usize = 4;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    vec![traffic(options), snapshot(options), tasks(options), waiters(options), herd(options)]
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = fast_folder();
    let store = Store::open(folder.path().join("idem.db")).expect("a store");
    (folder, store)
}

fn make(store: &Store, key: &str, body: impl FnOnce() -> Result<u64, Error>) -> Result<u64, Error> {
    call(NAME).store(store).key(key).wait(LONG).run(body)
}

fn mb(bytes: u64) -> u64 {
    bytes >> 20
}

/// How many threads this process has.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn wal_bytes(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("idem.db-wal")).map_or(0, |file| file.len())
}

/// Records that are over at once are purged as fast as they are made.
fn traffic(options: &Options) -> Report {
    let calls = options.points(4_000, 60_000);
    let mut report = Report::new("load: live traffic with the purge running");
    let (folder, store) = store();
    let before_kb = peak_kb();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..16 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for n in (worker..calls).step_by(16) {
                    let brief = Duration::from_millis(20);
                    let call = call(NAME).store(store).key(&n).ttl(brief).keep_result(brief).wait(LONG);
                    done.fetch_add(usize::from(call.run(|| Ok::<u64, Error>(7)).is_ok()), Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while done.load(Ordering::Relaxed) < calls {
                store.purge_expired(1_000).expect("purged");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    });
    std::thread::sleep(Duration::from_millis(25));
    while store.purge_expired(10_000).expect("purged") > 0 {}
    let stats = store.stats().expect("stats");
    report.points_tried(calls);
    if done.into_inner() != calls || stats.records > 0 {
        report.violation(format!("{} records are left of calls that are over", stats.records));
    }
    if mb(wal_bytes(folder.path())) > WAL_MB_MAX || mb(stats.database_bytes) > 64 {
        report.violation(format!("the files grew: {stats:?}"));
    }
    for n in 0..100 {
        let brief = Duration::from_millis(1);
        let kept = call(NAME).store(&store).key(&format!("kept-{n}")).ttl(brief).keep_result(brief);
        kept.run(|| Ok::<u64, Error>(7)).expect("made");
    }
    let left = store.stats().expect("stats").records;
    report.control("without the purge, records left", usize::try_from(left).unwrap_or(0));
    let growth_kb = peak_kb().saturating_sub(before_kb);
    report.note(format!(
        "database {} kB, log {} kB, memory grew by {growth_kb} kB",
        stats.database_bytes >> 10,
        stats.wal_bytes >> 10
    ));
    store.close().expect("closed");
    report
}

/// A reader that holds its snapshot keeps the log from being reset: it grows by what is written, and shrinks after.
fn snapshot(options: &Options) -> Report {
    let calls = options.points(4_000, 30_000);
    let mut report = Report::new("load: a reader holds a snapshot (checkpoint starvation)");
    let (folder, store) = store();
    make(&store, "first", || Ok(1)).expect("made");
    let reader = Connection::open(folder.path().join("idem.db")).expect("a reader");
    reader.execute_batch("BEGIN; SELECT count(*) FROM idem_record").expect("a snapshot");
    let write = |range: std::ops::Range<usize>| {
        std::thread::scope(|scope| {
            for worker in 0..16 {
                let (store, range) = (&store, range.clone());
                scope.spawn(move || {
                    for n in range.skip(worker).step_by(16) {
                        make(store, &format!("k{n}"), || Ok(n as u64)).expect("made");
                    }
                });
            }
        });
    };
    write(0..calls);
    let held = wal_bytes(folder.path());
    let replayed = (0..calls)
        .step_by(97)
        .all(|n| make(&store, &format!("k{n}"), || Ok(0)).is_ok_and(|value| value == n as u64));
    reader.execute_batch("COMMIT").expect("ended");
    drop(reader);
    write(calls..calls + 200);
    store.close().expect("closed");
    let after = wal_bytes(folder.path());
    report.points_tried(calls + 200);
    if !replayed {
        report.violation("a call was not replayed while the snapshot was held");
    }
    if after > 0 {
        report.violation(format!("the log has {after} bytes after the close"));
    }
    report.note(format!(
        "log {} kB while the snapshot was held ({} bytes a call), {after} after the close",
        held >> 10,
        held / calls as u64
    ));
    report
}

/// Ten thousand tasks at once, each key twice.
fn tasks(options: &Options) -> Report {
    let tasks = options.points(2_000, 10_000);
    let mut report = Report::new("load: concurrent tasks, every key twice");
    let (_folder, store) = store();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (before_kb, before) = (peak_kb(), threads());
    let runs = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let most = runtime.block_on(async {
        let made: Vec<_> = (0..tasks)
            .map(|n| {
                let (store, runs) = (store.clone(), Arc::clone(&runs));
                tokio::spawn(async move {
                    let call = call(NAME).store(&store).key(&(n / 2)).wait(LONG);
                    let body = || async {
                        runs.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        Ok::<u64, Error>((n / 2) as u64)
                    };
                    call.run_async(body).await.is_ok_and(|value| value == (n / 2) as u64)
                })
            })
            .collect();
        let most = threads();
        for made in made {
            report.point(if made.await.unwrap_or(false) {
                Vec::new()
            } else {
                vec!["a task got no result".into()]
            });
        }
        most
    });
    if runs.load(Ordering::Relaxed) != tasks / 2 {
        report.violation(format!("{} bodies ran for {} keys", runs.load(Ordering::Relaxed), tasks / 2));
    }
    if most > before + THREADS_OVER_MAX {
        report.violation(format!("{most} threads, {before} before"));
    }
    let each = (peak_kb().saturating_sub(before_kb) << 10) / tasks as u64;
    report.note(format!(
        "{:.1?}, {} threads over those before, {each} bytes of memory a task",
        begun.elapsed(),
        most.saturating_sub(before)
    ));
    store.close().expect("closed");
    report
}

/// A thousand threads wait for one call.
fn waiters(options: &Options) -> Report {
    let count = options.points(200, 1_000);
    let mut report = Report::new("load: waiters on one key");
    let (_folder, store) = store();
    let (started, before_kb) = (Barrier::new(2), peak_kb());
    let slowest = AtomicU64::new(0);
    let mut woken = Vec::new();
    std::thread::scope(|scope| {
        let go = Arc::new(Barrier::new(2));
        let (holder, store, started) = (Arc::clone(&go), &store, &started);
        let first = scope.spawn(move || {
            make(store, "one", || {
                started.wait();
                holder.wait();
                Ok(7)
            })
        });
        started.wait();
        let ended = Arc::new(std::sync::OnceLock::new());
        let waiters: Vec<_> = (0..count)
            .map(|_| {
                let (ended, slowest) = (Arc::clone(&ended), &slowest);
                let spawn = std::thread::Builder::new().stack_size(256 << 10);
                let wait = move || {
                    let got = make(store, "one", || Ok(0));
                    let end: &Instant = ended.wait();
                    slowest
                        .fetch_max(u64::try_from(end.elapsed().as_millis()).unwrap_or(0), Ordering::Relaxed);
                    got
                };
                spawn.spawn_scoped(scope, wait).expect("a thread")
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        ended.set(Instant::now()).expect("once");
        go.wait();
        assert!(first.join().is_ok_and(|made| made.is_ok()));
        woken.extend(
            waiters
                .into_iter()
                .map(|waiter| waiter.join().is_ok_and(|got| got.is_ok_and(|value| value == 7))),
        );
    });
    woken.iter().for_each(|right| {
        report.point(if *right { Vec::new() } else { vec!["a waiter got another result".into()] })
    });
    let each = (peak_kb().saturating_sub(before_kb) << 10) / count as u64;
    report.note(format!(
        "the last was woken {} ms after the end, {each} bytes of memory a waiter with its thread",
        slowest.into_inner()
    ));
    store.close().expect("closed");
    report
}

/// Every body fails and frees the key: the herd goes through one at a time, and everyone gets an answer.
fn herd(options: &Options) -> Report {
    let count = options.points(100, 1_000);
    let mut report = Report::new("load: a herd behind a function that fails");
    let (_folder, store) = store();
    let (now, most, runs) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let fail = || {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        runs.fetch_add(1, Ordering::SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        Err::<u64, String>("it failed".into())
    };
    std::thread::scope(|scope| {
        for _ in 0..count {
            let (store, fail) = (&store, &fail);
            let call = move || {
                call(NAME).store(store).key("herd").wait(LONG).map_err(|error| error.to_string()).run(fail)
            };
            let spawn = std::thread::Builder::new().stack_size(256 << 10);
            spawn.spawn_scoped(scope, move || assert_eq!(call(), Err("it failed".into()))).expect("a thread");
        }
    });
    report.points_tried(count);
    if most.load(Ordering::SeqCst) != 1 || runs.load(Ordering::SeqCst) != count {
        report.violation(format!("{runs:?} bodies ran for {count} callers, {most:?} side by side"));
    }
    let late = call(NAME).store(&store).key("herd").wait(Duration::ZERO).map_err(|error| error.kind());
    if late.run(|| Ok::<u64, ErrorKind>(3)) != Ok(3) {
        report.violation("the key is not free after the herd");
    }
    report.note(format!(
        "{:.1?}, {:.2} ms a body",
        begun.elapsed(),
        begun.elapsed().as_secs_f64() * 1_000.0 / count as f64
    ));
    store.close().expect("closed");
    report
}
