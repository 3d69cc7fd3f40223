//! Records that are over at once are purged as fast as they are made.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::{Clock, Error, Store};

use super::footprint::Footprint;
use super::{LONG, NAME};
use crate::frame::{Options, Report, fast_folder};
use crate::shared::call;
use crate::tally::Tally;

const WORKERS: usize = 16;
/// A lifetime by the clock of the store: 20 ms.
const BRIEF: Duration = Duration::from_secs(20);
/// The clock of the store is this many times as fast, so the minute before a purge takes 60 ms.
const SPEED: i64 = 1_000;
const WALL_MS: i64 = 1_780_272_000_000;
/// The store checkpoints the WAL every 8 MB, and callers wait for that at 32 MB. A batch may come on top.
const LOG_BYTES_MAX: u64 = 40 << 20;
const DATABASE_BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purge {
    Runs,
    Never,
}

pub(super) fn run(options: &Options) -> Report {
    let calls = options.points(4_000, 60_000);
    let mut report = Report::new("load: traffic during a purge");
    let (folder, store) = fast_store();
    let found = live(&store, folder.path(), calls, Purge::Runs, &mut report);
    report.points_tried(calls);
    for found in found {
        report.violation(found);
    }
    let (folder, store) = fast_store();
    let without = live(&store, folder.path(), 500, Purge::Never, &mut Report::new(""));
    report.control("nothing purges", without.len());
    report
}

/// A store whose clock runs fast.
fn fast_store() -> (tempfile::TempDir, Store) {
    let folder = fast_folder();
    let clock = Fast(Instant::now());
    let store = Store::builder().clock(clock).open(folder.path().join("idem.db")).expect("a store");
    (folder, store)
}

#[derive(Debug)]
struct Fast(Instant);

impl Clock for Fast {
    fn wall_ms(&self) -> i64 {
        WALL_MS + self.boot_ms()
    }

    fn boot_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX / SPEED) * SPEED
    }

    fn boot_id(&self) -> String {
        "fast".into()
    }
}

/// Makes calls whose records live for milliseconds; gives what is left of them, and what grew.
fn live(store: &Store, folder: &Path, calls: usize, purge: Purge, report: &mut Report) -> Vec<String> {
    let mut footprint = Footprint::begin(folder);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let done = &done;
            scope.spawn(move || {
                for n in (worker..calls).step_by(WORKERS) {
                    let call = call(NAME).store(store).key(&n).ttl(BRIEF).keep_result(BRIEF).wait(LONG);
                    call.run(|| Ok::<u64, Error>(7)).expect("made");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while done.load(Ordering::Relaxed) < calls {
            if purge == Purge::Runs {
                store.purge_expired(1_000).expect("purged");
            }
            footprint.look();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    while purge == Purge::Runs && store.purge_expired(10_000).expect("purged") > 0 {}
    let records = store.stats().expect("stats").records;
    store.close().expect("closed");
    footprint.tell(report);
    let mut found = Vec::new();
    if records > 0 {
        found.push(format!("{records} records are left of calls that are over"));
    }
    if footprint.log_bytes() > LOG_BYTES_MAX || footprint.database_bytes() > DATABASE_BYTES_MAX {
        found.push(format!(
            "the files grew: WAL {}, database {}",
            footprint.log_bytes(),
            footprint.database_bytes()
        ));
    }
    found.extend(footprint.threads_found(WORKERS));
    found
}
