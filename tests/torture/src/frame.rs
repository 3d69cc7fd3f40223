//! Options, reports and random numbers of all parts.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A part of the campaign.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its number in the table.
    pub number: u32,
    /// Its name on the command line.
    pub name: &'static str,
    /// It measures times, so that nothing else may run beside it.
    pub is_timed: bool,
    /// Runs it; a report for every line of the table.
    pub run: fn(&Options) -> Vec<Report>,
}

impl Part {
    /// Runs it and prints what came out.
    pub fn run(&self, options: &Options) -> Vec<Report> {
        let begun = Instant::now();
        let mut reports = (self.run)(options);
        for report in &mut reports {
            report.part = *self;
            report.print();
        }
        eprintln!("part {} `{}` took {:.1?}", self.number, self.name, begun.elapsed());
        reports
    }
}

/// How thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Every part.
    pub all: bool,
    /// The short form of the default tests.
    pub short: bool,
    /// How many points, instead of the form's own number.
    pub points: Option<usize>,
    /// The seed of all chance.
    pub seed: u64,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Options {
        let number = |name: &str| {
            let at = args.iter().position(|arg| arg == name)?;
            let value = args.get(at + 1).and_then(|value| value.parse::<u64>().ok());
            Some(value.unwrap_or_else(|| panic!("`{name}` takes a number")))
        };
        let flag = |name: &str| args.iter().any(|arg| arg == name);
        Options {
            all: flag("--all"),
            short: flag("--short"),
            points: number("--points").and_then(|points| usize::try_from(points).ok()),
            seed: number("--seed").unwrap_or(0x1de8),
        }
    }

    /// The number of points: what was asked for, or that of the form.
    pub fn points(&self, short: usize, long: usize) -> usize {
        self.points.unwrap_or(if self.short { short } else { long })
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Report {
    part: Part,
    what: String,
    points: usize,
    violations: Vec<String>,
    /// The broken variant, and how many violations it showed.
    control: Option<(String, usize)>,
    skipped: Option<String>,
    notes: Vec<String>,
    begun: Instant,
    /// Until the last point or the control.
    took: Duration,
}

impl Report {
    /// Nothing tried yet.
    pub fn new(what: impl Into<String>) -> Report {
        let part = Part { number: 0, name: "", is_timed: false, run: |_| Vec::new() };
        Report {
            part,
            what: what.into(),
            points: 0,
            violations: Vec::new(),
            control: None,
            skipped: None,
            notes: Vec::new(),
            begun: Instant::now(),
            took: Duration::ZERO,
        }
    }

    /// A part that cannot run here. It is reported and is no failure.
    pub fn skipped(what: impl Into<String>, why: impl Into<String>) -> Report {
        Report { skipped: Some(why.into()), ..Report::new(what) }
    }

    /// Adds a point and prints its violations at once.
    pub fn point(&mut self, violations: Vec<String>) {
        self.points += 1;
        self.took = self.begun.elapsed();
        for violation in violations.iter().take(20_usize.saturating_sub(self.violations.len())) {
            eprintln!("  VIOLATION {violation}");
        }
        self.violations.extend(violations);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What the broken variant showed; nothing is a failure of the harness.
    pub fn control(&mut self, what: impl Into<String>, violations: usize) {
        self.took = self.begun.elapsed();
        self.control = Some((what.into(), violations));
    }

    /// What was wrong.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many points were tried.
    pub fn points(&self) -> usize {
        self.points
    }

    pub(crate) fn is_good(&self) -> bool {
        let tried = self.points > 0 && self.violations.is_empty();
        self.skipped.is_some() || tried && self.control.as_ref().is_some_and(|(_, shown)| *shown > 0)
    }

    /// In one go, for another part may be talking too.
    fn print(&self) {
        let Report { what, points, violations, .. } = self;
        if let Some(why) = &self.skipped {
            return eprintln!("SKIPPED: {what}: {why} (0 points tried)");
        }
        let mut said = format!("{what}: {points} points, {} violations, {:.1?}", violations.len(), self.took);
        let control = match &self.control {
            Some((control, 0)) => format!("{control}: NOTHING, BUT IT MUST: the harness is blind"),
            Some((control, shown)) => format!("{control}: {shown} violations, as it must"),
            None => "NONE: the line proves nothing".to_owned(),
        };
        for line in std::iter::once(&format!("control, {control}")).chain(&self.notes) {
            said.extend(["\n  ", line]);
        }
        eprintln!("{said}");
    }

    /// Its line of the table, as `docs/proof.md` has it.
    pub(crate) fn row(&self) -> String {
        let Report { part, what, points, violations, .. } = self;
        if let Some(why) = &self.skipped {
            return format!("| {what} | SKIPPED: {why} | – | – | `{}` |", part.name);
        }
        let control = self.control.as_ref();
        let control =
            control.map_or_else(|| "–".to_owned(), |(what, shown)| format!("{what}: {}", grouped(*shown)));
        let (points, violations) = (grouped(*points), grouped(violations.len()));
        format!("| {what} | {points} | {violations} | {control} | `{}` |", part.name)
    }
}

/// The head of the table.
pub(crate) const HEAD: &str =
    "| what is done | points | violations | control | part |\n|---|--:|--:|---|---|";

/// `12000` as `12,000`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Random numbers that a seed repeats (`xorshift64*`).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() >> 16).unwrap_or(0) % limit
    }
}

/// This program again, in a role.
pub fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.args(["child", role]);
    command
}

/// A folder in memory where there is one: a kill loses nothing that was written, so no disk is needed.
pub fn fast_folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}
