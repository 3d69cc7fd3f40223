//! The time of a call and of opening a store, over the number of records.
//!
//! A large store takes turns with a small one, so that both meet the same disk. The smallest size is the control: any
//! difference there is noise.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use idem_runtime::{Error, Store, call};

use crate::contender::Contender;
use crate::contender::ours::Threads;
use crate::fill::{NAME, fill};
use crate::lap::{count, median, quantile};
use crate::report::{Bound, Curve, Report};
use crate::settings::Settings;
use crate::tools::{Child, MARK, all_system_calls};
use crate::{Outcome, key};

/// The smallest size, with which the larger sizes are compared.
const SMALL: u64 = 10_000;
/// The reported quantiles, and the largest ratio to the small store.
const QUANTILES: [(&str, f64, Option<f64>); 3] =
    [("p50", 0.5, Some(1.5)), ("p99", 0.99, Some(4.0)), ("p99.9", 0.999, None)];
/// The timed works.
const WORKS: [Work; 3] = [
    Work { name: "first call, 1 caller", callers: 1, calls: 200 },
    Work { name: "first call, 64 callers", callers: 64, calls: 3_200 },
    Work { name: "replay", callers: 0, calls: 5_000 },
];

/// One kind of call. `callers` is zero for replays.
struct Work {
    name: &'static str,
    callers: usize,
    /// Calls in a turn.
    calls: u64,
}

/// Measures first calls, replays and opening at sizes that grow by factors of ten.
///
/// # Errors
/// The first error of a call.
pub fn growth(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let mut curves =
        WORKS.map(|work| Curve::new(&format!("{}, as the store grows", work.name), "records", "µs"));
    let large = folder.path().join("large.db");
    let sizes = std::iter::successors(Some(SMALL), |size| size.checked_mul(10));
    let mut filled = 0;
    for size in sizes.take_while(|size| *size <= settings.records) {
        report.heading(&format!("growth: {size} records"));
        let begun = Instant::now();
        fill(&large, filled..size, None)?;
        report.figure(&format!("{size} records: seconds to fill"), begun.elapsed().as_secs_f64());
        filled = size;
        opening(&large, size, report)?;
        let small = folder.path().join(format!("small-{size}.db"));
        fill(&small, 0..SMALL, None)?;
        let grown = [Grown::open(&large, size)?, Grown::open(&small, SMALL)?];
        for (work, curve) in WORKS.iter().zip(&mut curves) {
            compare(grown.each_ref(), work, settings, report, curve)?;
        }
        grown.iter().try_for_each(|grown| grown.store.close())?;
    }
    report.curves.extend(curves);
    Ok(())
}

/// Measures one work in turns of a large store and a small one.
fn compare(
    [large, small]: [&Grown; 2],
    work: &Work,
    settings: &Settings,
    report: &mut Report,
    curve: &mut Curve,
) -> Outcome<()> {
    let mut laps = [Vec::new(), Vec::new()];
    for round in 0..=settings.rounds.min(15) as u64 {
        for (grown, laps) in [large, small].iter().zip(&mut laps) {
            let lap = grown.lap(work, round)?;
            // The first round is not measured.
            if round > 0 {
                laps.extend(lap);
            }
        }
    }
    for laps in &mut laps {
        laps.sort_unstable();
    }
    let [large_laps, small_laps] = &laps;
    for (name, share, most) in QUANTILES {
        let us = |laps: &[Duration]| quantile(laps, share).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
        let what = format!("{} records, {}: {name}", large.size, work.name);
        report.figure(&format!("{what} µs"), us(large_laps));
        curve.add(name, count(usize::try_from(large.size)?), us(large_laps));
        let over = us(large_laps) / us(small_laps);
        match most {
            Some(most) => report.goal(&format!("{what} over that at {SMALL}"), Bound::AtMost(most), over),
            None => report.figure(&format!("{what} over that at {SMALL}"), over),
        }
    }
    Ok(())
}

/// An open store with `size` records.
struct Grown {
    store: Store,
    size: u64,
}

impl Grown {
    fn open(path: &Path, size: u64) -> Outcome<Grown> {
        Ok(Grown { store: Store::open(path)?, size })
    }

    /// Returns the time of each call of one turn.
    fn lap(&self, work: &Work, round: u64) -> Outcome<Vec<Duration>> {
        if work.callers == 0 {
            return self.replays(round * work.calls, work.calls);
        }
        // The keys of different works and sizes do not overlap.
        let first = self.size * 1_000 + work.callers as u64 * 1_000_000 + round * work.calls;
        Ok(Threads::over(self.store.clone()).first_calls(work.callers, first..first + work.calls)?.latencies)
    }

    /// Replays records from all parts of the store.
    fn replays(&self, from: u64, times: u64) -> Outcome<Vec<Duration>> {
        let again = |n: u64| {
            // The stride shares no factor with the size, so the order is scattered.
            let key = key(n * 7_919_777 % self.size);
            let begun = Instant::now();
            let call = call(NAME).store(&self.store).key(&key);
            let found: String = call.run(|| Ok::<_, Error>(String::new()))?;
            let time = begun.elapsed();
            if found.is_empty() { Err("a record is missing".into()) } else { Ok(time) }
        };
        (from..from + times).map(again).collect()
    }
}

/// Measures the time and the fsyncs of opening a store after a clean close.
fn opening(path: &Path, size: u64, report: &mut Report) -> Outcome<()> {
    let mut beside = File::create(path.with_extension("fsyncs"))?;
    let (mut opened, mut fsyncs) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let begun = Instant::now();
        let store = Store::open(path)?;
        opened.push(begun.elapsed().as_secs_f64() * 1e3);
        store.close()?;
        let begun = Instant::now();
        for _ in 0..3 {
            beside.write_all(&[1; 4_096])?;
            beside.sync_all()?;
        }
        fsyncs.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    report.figure(&format!("{size} records: ms to open after a clean close"), median(&opened));
    let beyond: Vec<_> = opened.iter().zip(&fsyncs).map(|(opened, fsyncs)| opened - fsyncs).collect();
    let goal = format!("{size} records: ms to open, beyond three fsyncs of a page");
    report.goal(&goal, Bound::AtMost(10.0), median(&beyond));
    match all_system_calls(&Child::new(["open".as_ref(), path.as_os_str()]))? {
        Some(trace) => {
            let forced = trace
                .lines()
                .take_while(|line| !line.contains(MARK))
                .filter(|line| line.contains(" fsync(") || line.contains(" fdatasync("));
            report.goal(
                &format!("{size} records: fsyncs to open"),
                Bound::AtMost(3.0),
                count(forced.count()),
            );
        }
        None => report.skip("fsyncs to open", "`strace` is not installed"),
    }
    Ok(())
}
