//! Part 8: a full disk, a failing disk, and a writer that others hold up.

mod ends;
mod held_up;
mod scenario;
#[cfg(target_os = "linux")]
mod tmpfs;
mod unknown;

use crate::frame::{Dice, Options, Report, fast_folder};
use crate::power;
use crate::vfs::{self, Failing, Synchronous};
use scenario::Scenario;

pub(crate) use held_up::child;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let mut reports = vec![full(options), failing(options), unknown::run(options), ends::run(options)];
    #[cfg(target_os = "linux")]
    reports.push(tmpfs::run(options));
    #[cfg(not(target_os = "linux"))]
    reports.push(Report::skipped("a 1 MiB file system", "needs Linux and root"));
    reports.push(held_up::run(options));
    reports
}

/// No space after the nth write of three calls, for every n; then there is space again.
fn full(options: &Options) -> Report {
    let mut report =
        Report::new("no space, starting at any write of three calls; then space again, without a restart");
    for writes in (0..).step_by(if options.short { 9 } else { 1 }) {
        let (found, failed) = play(Some(Failing::FullAfter(writes)), Scenario::of_calls);
        if failed == 0 {
            break;
        }
        report.point(found.into_iter().map(|what| format!("full after {writes} writes: {what}")).collect());
        if options.short && !report.violations().is_empty() {
            break;
        }
    }
    let shown = (0..6).map(|writes| play(Some(Failing::FullAfter(writes)), Scenario::of_hand).0.len()).sum();
    report.control("record after the effect, by hand", shown);
    report
}

/// Syncs that fail: the commit they belong to is unknown.
fn failing(options: &Options) -> Report {
    let mut report = Report::new("EIO at any sync of three calls, once, twice or for good; then a power cut");
    let mut dice = Dice::new(options.seed);
    for count in [1, 2, usize::MAX] {
        for first in (1..).step_by(if options.short { 4 } else { 1 }) {
            let about = format!("EIO at sync {first}, {count} times");
            let folder = fast_folder();
            vfs::record(folder.path(), Synchronous::AsAsked);
            let scenario = Scenario::new(folder.path());
            vfs::fail(Some(Failing::Syncs { first, count }));
            let mut found = scenario.of_calls();
            let failed = scenario.failed();
            let log = vfs::stop();
            scenario.end(&found);
            for _ in 0..if options.short { 2 } else { 20 } {
                found.extend(power::cut(&log, &mut dice));
            }
            if failed == 0 {
                break;
            }
            report.point(found.into_iter().map(|what| format!("{about}: {what}")).collect());
        }
    }
    let by_hand = |first| play(Some(Failing::Syncs { first, count: usize::MAX }), Scenario::of_hand).0.len();
    report.control("record after the effect, by hand", (1..6).map(by_hand).sum());
    report
}

/// Gives what was wrong, and how many calls of the disk failed.
fn play(failing: Option<Failing>, calls: impl Fn(&Scenario) -> Vec<String>) -> (Vec<String>, usize) {
    let folder = fast_folder();
    vfs::record(folder.path(), Synchronous::AsAsked);
    let scenario = Scenario::new(folder.path());
    vfs::fail(failing);
    let found = calls(&scenario);
    let failed = scenario.failed();
    scenario.end(&found);
    vfs::stop();
    (found, failed)
}
