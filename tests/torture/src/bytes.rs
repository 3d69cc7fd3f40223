//! Part 6: hostile bytes. A small store is damaged in every way there is, opened, and asked for what it knew.
//!
//! An error is always right. A body that runs is a *false absent*: none is allowed after damage to table pages, after a
//! truncation or with swapped files; what `SQLite` itself cannot see is counted by its class. A wrong value, a panic, a
//! hang or an abort is never right.

mod fuzz;
mod specimen;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::frame::{Options, Report};
use crate::tally::Tally;
use specimen::{Answers, Damage, Specimen};

pub use fuzz::{corpus, hostile_result, hostile_row};

/// No damage may make a store of a hundred kilobytes need more than this.
const GROWTH_MAX_KB: u64 = 256 << 10;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let specimens = [Specimen::closed(), Specimen::cut_off(), Specimen::cut_off_after_checkpoint()];
    let mut reports: Vec<Report> = specimens.iter().map(|specimen| damaged(specimen, options)).collect();
    reports.push(fuzz::run(options));
    reports
}

fn damaged(specimen: &Specimen, options: &Options) -> Report {
    let mut report = Report::new(format!("hostile bytes: {}", specimen.what));
    let mut tally: BTreeMap<&str, (usize, Answers)> = BTreeMap::new();
    let mut all = specimen.damages();
    if options.short {
        all.retain(|damage| !specimen.is_empty(damage));
    }
    let count = options.points(400, all.len()).min(all.len()).max(1);
    let before_kb = peak_kb();
    let mut unseen = 0;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let whole = specimen.whole_files();
    for damage in whole.iter().chain((0..count).map(|n| &all[n * all.len() / count])) {
        let class = specimen.class(damage);
        let answers = catch_unwind(AssertUnwindSafe(|| specimen.ask(damage)));
        let answers = answers.unwrap_or_else(|_| Answers { panics: 1, ..Answers::default() });
        report.point(wrong(class, damage, &answers));
        unseen += specimen.unseen(damage);
        let entry = tally.entry(class).or_default();
        entry.0 += 1;
        entry.1.add(&answers);
    }
    std::panic::set_hook(hook);
    let growth_kb = peak_kb().saturating_sub(before_kb);
    if growth_kb > GROWTH_MAX_KB {
        report.violation(format!("memory grew by {growth_kb} kB"));
    }
    for (class, (points, answers)) in tally {
        report.note(format!("{class}: {points} points, {answers}"));
    }
    report.note(format!(
        "peak memory grew by {growth_kb} kB; {count} of {} flips, lengths and swaps tried",
        all.len()
    ));
    report.control("the same rows read with SQLite alone, wrong values", unseen);
    report
}

fn wrong(class: &str, damage: &Damage, answers: &Answers) -> Vec<String> {
    let mut wrong = Vec::new();
    if answers.panics > 0 {
        wrong.push(format!("{class}, {damage:?}: a panic"));
    }
    if answers.wrong > 0 {
        wrong.push(format!("{class}, {damage:?}: a wrong value"));
    }
    if answers.ran > 0 && specimen::MUST_NOT_HIDE.contains(&class) {
        wrong.push(format!("{class}, {damage:?}: {} calls ran again", answers.ran));
    }
    wrong
}

/// The most memory this process has had, in kB; 0 where the system does not tell.
pub(crate) fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
