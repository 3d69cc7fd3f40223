//! Part 2: power cuts. Acknowledged outcomes are there afterwards, and started bodies are known.

mod cut;
#[cfg(target_os = "linux")]
mod ext4;
mod forces;
mod workload;

use std::ops::Range;
use std::path::Path;

use crate::frame::{Dice, Options, Report, fast_folder};
use crate::vfs::{Event, Failing, Synchronous};
use workload::Kind;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    #[cfg(target_os = "linux")]
    let real = ext4::run(options);
    #[cfg(not(target_os = "linux"))]
    let real = Report::skipped("power cuts of a real file system", "needs Linux, root and loop devices");
    vec![simulated(options), failing(options), forces::run(), real]
}

pub(crate) fn child(args: &[&str]) {
    #[cfg(target_os = "linux")]
    ext4::child(args);
    #[cfg(not(target_os = "linux"))]
    panic!("{args:?}");
}

const STATES_OF_A_LOG: usize = 125;

/// A VFS that keeps what is written and what is synced apart.
fn simulated(options: &Options) -> Report {
    let mut report = Report::new("simulated power cuts: unsynced writes dropped, reordered, torn, trashed");
    let mut dice = Dice::new(options.seed);
    let states = options.points(250, 24_000);
    while report.points() < states {
        for kind in [Kind::Store, Kind::Store, Kind::Tx] {
            for violations in cuts(&mut dice, kind, Synchronous::AsAsked) {
                report.point(violations);
            }
        }
    }
    let mut shown = 0;
    for _ in 0..(states / 3_000).clamp(1, 4) {
        let cuts = cuts(&mut dice, Kind::Store, Synchronous::Normal);
        shown += cuts.into_iter().filter(|violations| !violations.is_empty()).count();
    }
    let off =
        cuts(&mut dice, Kind::Store, Synchronous::Off).into_iter().filter(|found| !found.is_empty()).count();
    report.control(
        format!("`synchronous = NORMAL`, states with a loss (OFF: {off} of {STATES_OF_A_LOG})"),
        shown,
    );
    report
}

/// A sync that fails during calls with checkpoints all the time.
///
/// What is lost if the power fails in the very moment in which the store makes up for it is told apart, and is no
/// violation if the store is then refused: what the kernel gave up it cannot force, and writes again.
fn failing(options: &Options) -> Report {
    let mut report = Report::new("EIO once at any sync of 180 calls with checkpoints; then a power cut");
    let mut dice = Dice::new(options.seed);
    let (mut meanwhile, mut refused) = (0, 0);
    for first in (1..).step_by(if options.short { 16 } else { 1 }) {
        let folder = fast_folder();
        let syncs = Failing::Syncs { first, count: 1 };
        let (log, failed) = workload::play_failing(folder.path(), Synchronous::AsAsked, syncs, dice.roll());
        if failed == 0 {
            break;
        }
        for _ in 0..if options.short { 5 } else { 10 } {
            let at = dice.below(log.len() + 1);
            let found = cut_at(&log, at, &mut dice);
            if making_up(&log).contains(&at) {
                meanwhile += 1;
                if found.iter().any(|what| what.contains("it does not open")) {
                    refused += 1;
                    continue;
                }
            }
            report.point(found.into_iter().map(|what| format!("EIO at sync {first}: {what}")).collect());
        }
    }
    report.note(format!(
        "{meanwhile} of them while the store made up for the failed sync; it was refused after {refused} of those"
    ));
    let folder = fast_folder();
    let never = Failing::Syncs { first: usize::MAX, count: 1 };
    let (log, _) = workload::play_failing(folder.path(), Synchronous::Normal, never, dice.roll());
    let lost = (0..100).filter(|_| !cut(&log, &mut dice).is_empty()).count();
    report.control("`synchronous = NORMAL`, states with a loss", lost);
    report
}

/// A state that a cut during a workload of a store can leave, and what is wrong with it.
pub(crate) fn cut(log: &[Event], dice: &mut Dice) -> Vec<String> {
    let at = dice.below(log.len() + 1);
    cut_at(log, at, dice)
}

/// From the failed sync until SQLite resets the WAL.
fn making_up(log: &[Event]) -> Range<usize> {
    let failed = log.iter().position(|event| matches!(event, Event::FailedSync { .. })).unwrap_or(log.len());
    let is_anew = |event: &Event| matches!(event, Event::Write { file, at: 0, .. } if file.ends_with("-wal"));
    let anew = log.iter().skip(failed).position(is_anew).map_or(log.len(), |after| failed + after);
    failed..anew + 1
}

fn cut_at(log: &[Event], at: usize, dice: &mut Dice) -> Vec<String> {
    let image = fast_folder();
    let how = cut::write_image(log, at, image.path(), dice);
    let found = workload::violations(image.path(), Kind::Store, &log[..at]);
    found.into_iter().map(|what| format!("cut at {at} of {}, {how:?}: {what}", log.len())).collect()
}

/// What a process that is killed after the last of these events leaves.
pub(crate) fn killed(log: &[Event], folder: &Path) {
    cut::write_whole(log, folder);
}

/// What is wrong with a store that was left after these events.
pub(crate) fn left(folder: &Path, log: &[Event]) -> Vec<String> {
    workload::violations(folder, Kind::Store, log)
}

/// One workload, and the states that a cut during it can leave.
fn cuts(dice: &mut Dice, kind: Kind, synchronous: Synchronous) -> Vec<Vec<String>> {
    let folder = fast_folder();
    let log = workload::play(folder.path(), kind, synchronous, dice.roll());
    (0..STATES_OF_A_LOG)
        .map(|_| {
            let at = dice.below(log.len() + 1);
            let image = fast_folder();
            let how = cut::write_image(&log, at, image.path(), dice);
            let found = workload::violations(image.path(), kind, &log[..at]);
            if !found.is_empty()
                && synchronous == Synchronous::AsAsked
                && std::env::var_os("TORTURE_KEEP").is_some()
            {
                let _ = std::process::Command::new("cp")
                    .arg("-r")
                    .arg(image.path())
                    .arg("/tmp/torture-kept")
                    .status();
            }
            found
                .into_iter()
                .map(|what| format!("{kind:?}, cut at {at} of {}, {how:?}: {what}", log.len()))
                .collect()
        })
        .collect()
}
