//! Part 6: hostile bytes. A small store is damaged in every way there is, opened, and asked for what it knew.
//!
//! An error is always right. A body that runs is a *false absent*: none is allowed but where `SQLite` itself cannot see
//! the damage, and there it is counted. A wrong value, a panic, a hang or an abort is never right.

mod calls;
mod damage;
mod fuzz;
mod share;
mod specimen;
mod trial;

use crate::frame::{Options, Report};
use crate::tally::Tally as _;
use share::Tally;
use specimen::{KINDS, Specimen};

pub use fuzz::{corpus, hostile_result, hostile_row};
pub(crate) use trial::child;

/// No damage may make a store of a few kilobytes need more than this: four connections with full caches.
const GROWTH_MAX_KB: u64 = 32 << 10;
/// One that could not be closed keeps what it has: its pages, connections and threads.
const LEFT_MAX_KB: u64 = 512;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let mut reports: Vec<Report> = (0..KINDS.len()).map(|number| damaged(number, options)).collect();
    reports.push(fuzz::run(options));
    reports
}

fn damaged(number: usize, options: &Options) -> Report {
    let specimen = Specimen::make(KINDS[number]);
    let mut report = Report::new(format!("hostile bytes: {}", specimen.kind.what));
    let count = match (options.points, options.short) {
        (None, true) => Some(100),
        (None, false) if specimen.kind.is_exhausted() => None,
        (points, _) => Some(points.unwrap_or(4_000)),
    };
    let (plan, all) = share::plan(&specimen, count);
    let tally = share::try_all(number, &specimen, count, &plan);
    judge(&mut report, &tally);
    let bytes: usize = specimen.files.values().map(Vec::len).sum();
    report.note(format!("{bytes} bytes: {} of {all} damages", plan.len()));
    report
}

fn judge(report: &mut Report, tally: &Tally) {
    let tried: usize = tally.classes.values().map(|answers| answers.points).sum();
    report.points_tried(tried);
    let mut violations = tally.violations.clone();
    for (class, answers) in &tally.classes {
        report.note(format!("{class}: {}", answers.text()));
    }
    if tally.growth_kb > GROWTH_MAX_KB + tally.left * LEFT_MAX_KB {
        violations.push(format!("memory grew by {} kB", tally.growth_kb));
    }
    report.note(format!("peak memory grew by {} kB; {} stores were left open", tally.growth_kb, tally.left));
    for violation in violations {
        report.violation(violation);
    }
    report.control("the same rows read with SQLite alone, wrong values", tally.control);
}

/// The most memory this process has had, in kB; 0 where the system does not tell.
pub(crate) fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
