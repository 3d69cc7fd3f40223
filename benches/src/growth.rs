//! What grows with the store: the time of a call, the file, the time to open it, and what purging costs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::{Clock, Error, Store, SystemClock, call};

use crate::lap::{count, quantile};
use crate::report::{Bound, Report};
use crate::settings::Settings;
use crate::{Outcome, RESULT_BYTES, key, result};

/// How many tasks fill a store at once.
const FILLERS: usize = 512;
/// Calls that are timed at each size.
const SAMPLE: u64 = 6_000;

/// Where growth begins.
const SMALL: u64 = 10_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// The quantiles of a sample, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Quantiles {
    /// Reports a sample, compared with that of the smallest store.
    fn judge(&self, what: &str, small: &Quantiles, report: &mut Report) {
        for (quantile, value) in [("p50", self.p50), ("p99", self.p99), ("p99.9", self.p999)] {
            report.figure(&format!("{what}: {quantile} µs"), value);
        }
        let goal = |quantile: &str| format!("{what}: {quantile} over that at {SMALL}");
        report.goal(&goal("p50"), Bound::AtMost(1.5), self.p50 / small.p50);
        report.goal(&goal("p99"), Bound::AtMost(4.0), self.p99 / small.p99);
    }
}

/// First calls and replays while the store grows by factors of ten; then how long it takes to open.
///
/// # Errors
/// The first error of a call.
pub fn growth(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let path = folder.path().join("growth.db");
    let store = Store::open(&path)?;
    eprintln!("\n== growth to {} records", settings.records);
    let (mut size, mut filled) = (SMALL, 0);
    let mut small = None;
    while size <= settings.records {
        fill(&store, filled..size, Duration::ZERO)?;
        filled = size;
        let samples = [
            ("first call", first_calls(&store, size..size + SAMPLE, 1)?),
            ("first call among 64", first_calls(&store, size + SAMPLE..size + 3 * SAMPLE, 64)?),
            ("replay", replays(&store, size)?),
        ];
        for ((work, now), (_, then)) in samples.iter().zip(small.get_or_insert(samples)) {
            now.judge(&format!("{work} at {size}"), then, report);
        }
        size *= 10;
    }
    store.close()?;
    drop(store);
    report.goal("ms to open after a clean close, beyond three fsyncs", Bound::AtMost(10.0), opening(&path)?);
    Ok(())
}

/// Milliseconds beyond three fsyncs of a page beside it: the median of nine.
fn opening(path: &Path) -> Outcome<f64> {
    let mut beside = File::create(path.with_extension("fsyncs"))?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let begun = Instant::now();
        let store = Store::open(path)?;
        let opened = begun.elapsed();
        store.close()?;
        let begun = Instant::now();
        for _ in 0..3 {
            beside.write_all(&[1; 4_096])?;
            beside.sync_all()?;
        }
        times.push((opened.as_secs_f64() - begun.elapsed().as_secs_f64()) * 1e3);
    }
    Ok(crate::lap::median(&times))
}

/// The size of the file for each finished record, beyond its result and its key.
///
/// # Errors
/// The first error of a call.
pub fn bytes(settings: &Settings, report: &mut Report) -> Outcome<()> {
    const RECORDS: u64 = 100_000;
    let folder = tempfile::tempdir_in(&settings.memory)?;
    let path = folder.path().join("bytes.db");
    let store = Store::open(&path)?;
    fill(&store, 0..RECORDS, Duration::ZERO)?;
    store.close()?;
    let records = usize::try_from(RECORDS)?;
    let each = count(usize::try_from(std::fs::metadata(&path)?.len())?) / count(records);
    eprintln!("\n== bytes on disk");
    report.figure("bytes of a finished record, all told", each);
    let beyond = each - count(RESULT_BYTES) - count(key(0).len());
    report.goal("bytes of a finished record beyond result and key", Bound::AtMost(140.0), beyond);
    Ok(())
}

/// Records that expire all at once, and first calls while they are purged.
///
/// # Errors
/// The first error of a call.
pub fn purge(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let clock = Shifted::default();
    let store = Store::builder().clock(clock.clone()).open(folder.path().join("purge.db"))?;
    let records = settings.records.min(1_000_000);
    eprintln!("\n== purge of {records} records");
    fill(&store, 0..records, HOUR)?;
    let before = first_calls(&store, records..records + 3 * SAMPLE, 64)?;
    clock.by_ms.fetch_add(i64::try_from(2 * HOUR.as_millis())?, Ordering::SeqCst);
    let begun = Instant::now();
    let mut purging = Vec::new();
    let mut next = records + 3 * SAMPLE;
    while store.get("bench.fill", &key(records - 1))?.is_some() && purging.len() < 40 {
        purging.push(first_calls(&store, next..next + 3 * SAMPLE, 64)?);
        next += 3 * SAMPLE;
    }
    report.figure("seconds until the last of them was gone", begun.elapsed().as_secs_f64());
    report.figure("p99.9 µs without purging", before.p999);
    let during = crate::lap::median(&purging.iter().map(|sample| sample.p999).collect::<Vec<_>>());
    report.figure("p99.9 µs while purging", during);
    report.goal("ms that purging adds to p99.9", Bound::AtMost(10.0), (during - before.p999) / 1e3);
    store.close()?;
    Ok(())
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

/// Finished records, made by many tasks at once. A lifetime of zero means for ever.
fn fill(store: &Store, keys: std::ops::Range<u64>, ttl: Duration) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let tasks: Vec<_> = (keys.start..keys.end)
            .take(FILLERS)
            .map(|first| {
                let (store, end) = (store.clone(), keys.end);
                tokio::spawn(async move {
                    for n in (first..end).step_by(FILLERS) {
                        let call = call("bench.fill").store(&store).key(&key(n));
                        let call = if ttl.is_zero() { call } else { call.ttl(ttl) };
                        let _made: String = call.run_async(async || Ok::<_, Error>(result())).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(())
    })
}

fn first_calls(store: &Store, keys: std::ops::Range<u64>, callers: usize) -> Outcome<Quantiles> {
    let keys: Vec<_> = keys.map(key).collect();
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = keys
            .chunks(keys.len().div_ceil(callers))
            .map(|keys| {
                scope
                    .spawn(move || keys.iter().map(|key| first_call(store, key)).collect::<Outcome<Vec<_>>>())
            })
            .collect();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a caller panicked")??);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
    })?;
    Ok(quantiles(times))
}

fn first_call(store: &Store, key: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    let _made: String = call("bench.grown").store(store).key(key).run(|| Ok::<_, Error>(result()))?;
    Ok(begun.elapsed())
}

/// Replays of records from all over the store.
fn replays(store: &Store, size: u64) -> Outcome<Quantiles> {
    let mut times = Vec::new();
    for n in 0..SAMPLE * 3 {
        // A stride that shares no factor with the size visits them in no order.
        let key = key(n * 7_919_777 % size);
        let begun = Instant::now();
        let found: String =
            call("bench.fill").store(store).key(&key).run(|| Ok::<_, Error>(String::new()))?;
        times.push(begun.elapsed());
        if found.is_empty() {
            return Err("a record was not there".into());
        }
    }
    Ok(quantiles(times))
}

fn quantiles(mut times: Vec<Duration>) -> Quantiles {
    times.sort_unstable();
    let at = |share| quantile(&times, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}
