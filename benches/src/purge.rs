//! The cost of a purge of many records for live calls.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Clock, Store, SystemClock};

use crate::contender::Contender;
use crate::contender::ours::Threads;
use crate::fill::{NAME, fill};
use crate::lap::{count, quantile};
use crate::report::{Bound, Report};
use crate::settings::Settings;
use crate::{Outcome, key};

/// The purged records, unless the run is quick.
const RECORDS: u64 = 1_000_000;
const RECORDS_QUICKLY: u64 = 100_000;
/// Live calls in a turn, and their callers.
const CALLS: u64 = 6_400;
const CALLERS: usize = 64;
/// Turns before the purge, and again after it.
const QUIET_TURNS: u64 = 10;
/// The longest time for the purge.
const TURNS_MAX: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// Measures first calls before, during and after a purge of many records, and the largest WAL.
///
/// # Errors
/// The first error of a call.
pub fn purge(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let path = folder.path().join("purge.db");
    let records = if settings.quick { RECORDS_QUICKLY } else { RECORDS }.min(settings.records);
    report.heading(&format!("purge of {records} records"));
    fill(&path, 0..records, Some(HOUR))?;
    let clock = Shifted::default();
    let store = Store::builder().clock(clock.clone()).open(&path)?;
    let (done, wal_bytes) = peak(&folder.path().join("purge.db-wal"), || live(&store, &clock, records));
    let live = done?;
    store.close()?;

    report.figure("seconds until the last of them was gone", live.took.as_secs_f64());
    let p999_ms = |mut times: Vec<Duration>| {
        times.sort_unstable();
        quantile(&times, 0.999).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    let (quiet, purging) = (p999_ms(live.quiet), p999_ms(live.purging));
    report.figure("p99.9 of live calls without purging, ms", quiet);
    report.figure("p99.9 of live calls while purging, ms", purging);
    report.goal("ms that purging adds to p99.9", Bound::AtMost(10.0), purging - quiet);
    report.figure("largest WAL, MB", count(usize::try_from(wal_bytes)?) / 1e6);
    Ok(())
}

/// The times of live calls.
struct Live {
    /// Before and after the purge.
    quiet: Vec<Duration>,
    purging: Vec<Duration>,
    took: Duration,
}

fn live(store: &Store, clock: &Shifted, records: u64) -> Outcome<Live> {
    let calls = Threads::over(store.clone());
    let turn = |n: u64| -> Outcome<Vec<Duration>> {
        Ok(calls.first_calls(CALLERS, n * CALLS..(n + 1) * CALLS)?.latencies)
    };
    let mut turns = 0..TURNS_MAX;
    let mut quiet = Vec::new();
    for n in turns.by_ref().take(usize::try_from(QUIET_TURNS)?) {
        quiet.extend(turn(n)?);
    }
    clock.by_ms.fetch_add(i64::try_from(2 * HOUR.as_millis())?, Ordering::SeqCst);
    let begun = Instant::now();
    let mut purging = Vec::new();
    let last = key(records - 1);
    while store.get(NAME, &last)?.is_some() {
        purging.extend(turn(turns.next().ok_or("the records are not purged")?)?);
    }
    let took = begun.elapsed();
    for n in turns.take(usize::try_from(QUIET_TURNS)?) {
        quiet.extend(turn(n)?);
    }
    Ok(Live { quiet, purging, took })
}

/// Returns the largest size of a file while `work` runs.
fn peak<T>(file: &Path, work: impl FnOnce() -> T) -> (T, u64) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut largest = 0;
            while !done.load(Ordering::SeqCst) {
                largest = largest.max(std::fs::metadata(file).map_or(0, |file| file.len()));
                thread::park_timeout(Duration::from_millis(10));
            }
            largest
        });
        let result = work();
        done.store(true, Ordering::SeqCst);
        (result, watcher.join().unwrap_or(0))
    })
}

/// The system's clocks, some milliseconds later.
#[derive(Clone, Debug, Default)]
struct Shifted {
    clock: Arc<SystemClock>,
    by_ms: Arc<AtomicI64>,
}

impl Clock for Shifted {
    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms() + self.by_ms.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.clock.boot_ms() + self.by_ms.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> String {
        self.clock.boot_id()
    }
}
