//! The cost of a slow disk. `delay.c` delays each fsync; the store is on tmpfs, where an fsync is free.

use std::path::Path;

use crate::Outcome;
use crate::child::Told;
use crate::lap::median;
use crate::report::{Bound, Curve, Report};
use crate::settings::Settings;
use crate::tools::Child;

/// The delays of an fsync in microseconds.
const DELAYS_US: [u32; 6] = [50, 150, 500, 1_000, 2_000, 5_000];
/// The contenders on the curve.
const CONTENDERS: [&str; 3] = ["ours", "ours-async", "by-hand"];
/// The names of the contenders in the report.
const NAMES: [&str; 3] = ["idempotent, threads", "idempotent, tasks", "Mutex<Connection>"];
const CALLERS: usize = 64;

/// Measures first calls over the delay of an fsync.
///
/// # Errors
/// If a child fails.
pub fn curve(settings: &Settings, report: &mut Report) -> Outcome<()> {
    report.heading("first call, 64 callers, tmpfs with a slower fsync");
    let work = "first call, 64 callers, as a disk gets slower";
    let mut curve = Curve::new(work, "what an fsync takes, µs", "calls/s");
    let rounds = settings.rounds.min(7);
    for delay_us in DELAYS_US {
        let mut rates = CONTENDERS.map(|_| Vec::new());
        for _ in 0..rounds {
            for (name, rates) in CONTENDERS.iter().zip(&mut rates) {
                rates.push(delayed(name, delay_us, &settings.memory)?);
            }
        }
        let [ours, tasks, by_hand] = &rates;
        for (name, rates) in NAMES.iter().zip(&rates) {
            report.figure(&format!("{name}, fsync + {delay_us} µs, calls/s"), median(rates));
            curve.add(name, f64::from(delay_us), median(rates));
        }
        for (name, ours) in [("threads", ours), ("tasks", tasks)] {
            let ratios: Vec<_> = ours.iter().zip(by_hand).map(|(ours, theirs)| ours / theirs).collect();
            let least = if delay_us >= 500 { 8.0 } else { 5.0 };
            let goal = format!("{name} as fast as Mutex<Connection>, fsync + {delay_us} µs");
            report.goal(&goal, Bound::AtLeast(least), median(&ratios));
        }
    }
    report.curves.push(curve);
    Ok(())
}

fn delayed(name: &str, delay_us: u32, memory: &Path) -> Outcome<f64> {
    let folder = tempfile::tempdir_in(memory)?;
    // About one second for the slower contenders.
    let calls = match (name, delay_us) {
        ("by-hand", ..=500) => 64 * 10,
        ("by-hand", _) => 64 * 3,
        (_, ..=500) => 64 * 100,
        _ => 64 * 50,
    };
    let child = Child::calling(name, folder.path(), "first", CALLERS, calls, delay_us);
    let told: Told = serde_json::from_slice(&child.output()?)?;
    Ok(told.calls_per_s)
}
