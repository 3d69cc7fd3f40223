//! Child processes try the damages, each a share of them. An abort or a hang ends a child, and its parent reports it.
//! Opening takes turns within one process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::calls::Answers;
use super::damage::{self, Damage};
use super::specimen::{Pages, Specimen};
use crate::frame;

/// How many children; each takes every second damage.
pub(super) const SHARES: usize = 2;

/// What came of the damages to one specimen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) classes: BTreeMap<String, Answers>,
    /// Panics, aborts, hangs and wrong values.
    pub(super) violations: Vec<String>,
    /// Wrong values that `SQLite` alone hands out.
    pub(super) control: usize,
    /// By how much the memory of a child has grown at most.
    pub(super) growth_kb: u64,
    /// How many stores a child could not close at most.
    pub(super) left: u64,
}

/// The damages to be tried: all of them, or this many of each sort, evenly spread. Whole files go in any case. And how
/// many there are in all.
pub(super) fn plan(specimen: &Specimen, count: Option<usize>) -> (Vec<Damage>, usize) {
    let mut plan = damage::to_files(&specimen.files);
    let mut parts = damage::to_parts(&specimen.files);
    let mut swaps = damage::to_pages(specimen.pages.len());
    let all = plan.len() + parts.len() + swaps.len();
    if let Some(count) = count {
        // Most of a store with the usual pages is empty, and what is flipped there does nothing.
        parts.retain(|damage| specimen.kind.pages == Pages::Small || !specimen.is_idle(damage));
        thin(&mut parts, count);
        thin(&mut swaps, count);
    }
    plan.extend(swaps);
    plan.extend(parts);
    (plan, all)
}

fn thin(damages: &mut Vec<Damage>, count: usize) {
    let count = count.min(damages.len());
    *damages = (0..count).map(|n| damages[n * damages.len() / count]).collect();
}

/// Tries the damages of a plan in child processes.
pub(super) fn try_all(number: usize, specimen: &Specimen, count: Option<usize>, plan: &[Damage]) -> Tally {
    let folder = frame::fast_folder();
    specimen.save(folder.path());
    let children: Vec<Child> = (0..SHARES).map(|share| start(folder.path(), number, count, share)).collect();
    let mut tally = Tally::default();
    for (share, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().expect("a child ends");
        tally.take_in(&String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            let at = fs::read_to_string(folder.path().join(format!("at-{share}"))).unwrap_or_default();
            let damage = at.trim().parse().ok().and_then(|at: usize| plan.get(at));
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            tally.violations.push(format!("{damage:?}: the process ended, {} {said}", output.status));
        }
    }
    tally
}

fn start(folder: &Path, number: usize, count: Option<usize>, share: usize) -> Child {
    let mut command: Command = frame::child("bytes");
    let count = count.map_or_else(|| "all".to_owned(), |count| count.to_string());
    command.arg(folder).args([number.to_string(), count, share.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child")
}

impl Tally {
    fn take_in(&mut self, output: &str) {
        for line in output.lines() {
            let (head, rest) = line.split_once('\t').unwrap_or((line, ""));
            match head {
                "violation" => self.violations.push(rest.to_owned()),
                "control" => self.control += rest.parse::<usize>().unwrap_or(0),
                "left" => self.left = self.left.max(rest.parse().unwrap_or(0)),
                "grown" => self.growth_kb = self.growth_kb.max(rest.parse().unwrap_or(u64::MAX)),
                class => {
                    let mut counts = rest.split(' ').map(|count| count.parse().expect("a count"));
                    let counts = std::array::from_fn(|_| counts.next().expect("seven counts"));
                    *self.classes.entry(class.to_owned()).or_default() += Answers::from_counts(counts);
                }
            }
        }
    }
}
