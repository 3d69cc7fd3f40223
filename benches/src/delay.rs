//! The cost of a slow disk: fsync waits as long as it is told (`delay.c`), on tmpfs, where it costs nothing of its own.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::child::Told;
use crate::lap::median;
use crate::report::{Bound, Report};
use crate::settings::Settings;

/// How long an fsync takes, in microseconds.
const DELAYS_US: [u32; 6] = [50, 150, 500, 1_000, 2_000, 5_000];
/// The contenders on the curve.
const CONTENDERS: [&str; 3] = ["ours", "ours-async", "by-hand"];
const CALLERS: u32 = 64;

/// Measures the curve.
///
/// # Errors
/// If a child fails.
pub fn curve(settings: &Settings, report: &mut Report) -> Outcome<()> {
    eprintln!("\n== first call, 64 callers, tmpfs with a slower fsync");
    for delay_us in DELAYS_US {
        let mut rates = CONTENDERS.map(|_| Vec::new());
        for _ in 0..settings.rounds.min(7) {
            for (name, rates) in CONTENDERS.iter().zip(&mut rates) {
                rates.push(delayed(name, delay_us, &settings.memory)?);
            }
        }
        let [ours, tasks, by_hand] = &rates;
        for (name, rates) in CONTENDERS.iter().zip(&rates) {
            report.figure(&format!("{name}, fsync + {delay_us} µs, calls/s"), median(rates));
        }
        for (name, ours) in [("threads", ours), ("tasks", tasks)] {
            let ratios: Vec<_> = ours.iter().zip(by_hand).map(|(ours, theirs)| ours / theirs).collect();
            let least = if delay_us >= 500 { 8.0 } else { 5.0 };
            let goal = format!("{name} as fast as Mutex<Connection>, fsync + {delay_us} µs");
            report.goal(&goal, Bound::AtLeast(least), median(&ratios));
        }
    }
    Ok(())
}

fn delayed(name: &str, delay_us: u32, memory: &Path) -> Outcome<f64> {
    let folder = tempfile::tempdir_in(memory)?;
    // Enough for a second or so of the slower ones.
    let calls = if name == "by-hand" { 64 * 20 } else { 64 * 100 };
    let output = Command::new(std::env::current_exe()?)
        .env("IDEM_BENCHES_FSYNC_US", delay_us.to_string())
        .args(["--child", name])
        .arg(folder.path())
        .args(["first", &CALLERS.to_string(), &calls.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(format!("the child failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let told: Told = serde_json::from_slice(&output.stdout)?;
    Ok(told.calls_per_s)
}
