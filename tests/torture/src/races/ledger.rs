//! What all bodies wrote, in the order they wrote it, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::{Counts, KEYS};

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// Where the present round begins.
    round_at: u64,
    remarks: Vec<String>,
}

/// A line: key, what, value, and the rest.
type Line = (String, String, String);

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Ledger {
        Ledger { path, round_at: 0, remarks: Vec::new() }
    }

    pub(super) fn remark(&mut self, remarks: impl Iterator<Item = String>) {
        self.remarks.extend(remarks);
    }

    /// The lines of this round.
    fn lines(&self) -> (Vec<Line>, u64) {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(self.round_at)).expect("a position");
            file.read_to_string(&mut text).expect("text");
        }
        let lines = text.lines().map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            (word(), word(), word())
        });
        (lines.collect(), self.round_at + text.len() as u64)
    }

    /// Keys whose bodies this process has started and not ended.
    pub(super) fn held_by(&self, pid: u32) -> BTreeSet<String> {
        let mut held = BTreeSet::new();
        for (key, what, value) in self.lines().0 {
            match what.as_str() {
                "begin" if value.starts_with(&format!("{pid}.")) => drop(held.insert(key)),
                "begin" | "end" => drop(held.remove(&key)),
                _ => {}
            }
        }
        held
    }

    /// Those of the keys whose last body another process has started.
    pub(super) fn begun_by_others(&self, held: &BTreeSet<String>, pid: u32) -> Vec<String> {
        let still = self.held_by(pid);
        held.difference(&still).cloned().collect()
    }

    /// What is wrong with this round, which is over.
    pub(super) fn judge(&mut self, mode: &str, killed: &[u32], counts: &mut Counts) -> Vec<String> {
        let (lines, end) = self.lines();
        self.round_at = end;
        let mut found: Vec<String> = std::mem::take(&mut self.remarks);
        let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (key, what, value) in lines {
            keys.entry(key).or_default().push((what, value));
        }
        if keys.len() != KEYS {
            found.push(format!("{} keys instead of {KEYS}", keys.len()));
        }
        for (key, events) in keys {
            counts.bodies += events.iter().filter(|(what, _)| what == "begin").count();
            counts.in_doubt +=
                usize::from(events.iter().any(|(what, text)| what == "err" && text.contains("InDoubt")));
            for wrong in of_key(mode, killed, &events) {
                found.push(format!("{key}: {wrong}; killed {killed:?}; {events:?}"));
            }
        }
        found
    }
}

fn of_key(mode: &str, killed: &[u32], events: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let was_killed = |value: &str| {
        let pid = value.split('.').next().and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| killed.contains(&pid))
    };
    let of = |wanted: &str| {
        events.iter().filter(|(what, _)| what == wanted).map(|(_, value)| value.as_str()).collect()
    };
    let (begun, ended): (Vec<&str>, Vec<&str>) = (of("begin"), of("end"));
    let (done, errors): (Vec<&str>, Vec<&str>) = (of("ok"), of("err"));
    if let Some(overlap) = overlap(events) {
        found.push(overlap);
    }
    if done.iter().any(|value| *value != done[0] || !ended.contains(value)) {
        found.push("two results, or the result of no effect".to_owned());
    }
    if mode == "refuse" {
        if begun.len() > 1 {
            found.push("more than one effect".to_owned());
        }
        let excused = begun.iter().all(|value| was_killed(value)) && !killed.is_empty();
        if !errors.is_empty() && !excused {
            found.push("an error, although no process that ran it was killed".to_owned());
        }
        if !errors.is_empty() && !done.is_empty() {
            found.push("done for some and in doubt for others".to_owned());
        }
        if errors.iter().any(|error| !error.contains(" InDoubt ")) {
            found.push("an error that is not `InDoubt`".to_owned());
        }
        if done.is_empty() && errors.is_empty() {
            found.push("no answer".to_owned());
        }
    } else {
        if done.is_empty() || !errors.is_empty() {
            found.push("the key is lost".to_owned());
        }
        if begun.iter().filter(|value| !was_killed(value)).count() > 1 {
            found.push("repeated though its owner was not killed".to_owned());
        }
    }
    found
}

/// A body that ended after another body of the same key had started.
fn overlap(events: &[(String, String)]) -> Option<String> {
    let mut running: Option<&str> = None;
    for (what, value) in events {
        match what.as_str() {
            "begin" => running = Some(value),
            "end" if running == Some(value) => running = None,
            "end" => return Some(format!("{value} ran beside another")),
            _ => {}
        }
    }
    None
}
