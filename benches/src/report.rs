//! What was measured: on the terminal while it goes on, as JSON at the end.

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::lap::{Lap, median};
use crate::tournament::Result;

/// Everything of one run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The machine: processors and kernel.
    pub machine: String,
    /// Processes ready to run per processor, before the run and after it. Above 0.2 others were at work.
    pub load: Vec<f64>,
    /// Contenders that were not there, and why.
    pub skipped: Vec<String>,
    /// One for each work with several contenders.
    pub tables: Vec<Table>,
    /// What depends on something that was varied.
    pub curves: Vec<Curve>,
    /// The goals that could be judged.
    pub goals: Vec<Goal>,
    /// Single figures.
    pub figures: Vec<Figure>,
    /// How long each work took to measure, in seconds.
    pub took_s: Vec<(String, f64)>,
}

/// The contenders of one work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Table {
    /// What they did.
    pub work: String,
    /// The first is the one the others are compared with.
    pub rows: Vec<Row>,
}

/// What one contender did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub contender: String,
    /// Median over the rounds.
    pub calls_per_s: f64,
    /// Median over the rounds of the mean time of a call.
    pub mean_us: f64,
    /// Median over the rounds.
    pub p50_us: f64,
    /// Median over the rounds.
    pub p99_us: f64,
    /// How many times as fast the first row is: the median of the paired ratios.
    pub first_is: f64,
    /// The middle half of those ratios.
    pub first_is_between: (f64, f64),
}

/// Lines over one axis, both axes logarithmic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// What was done.
    pub work: String,
    /// What was varied, with its unit.
    pub x: String,
    /// What was measured, with its unit.
    pub y: String,
    /// In the order in which they were first added to.
    pub lines: Vec<Line>,
}

/// One line of a curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Who or what it is.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// A goal and what was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Goal {
    /// What, against what.
    pub goal: String,
    /// The bound.
    pub bound: Bound,
    /// The figure.
    pub measured: f64,
    /// Whether it is within the bound.
    pub met: bool,
}

/// On which side of a number a figure has to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// One number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, with its unit.
    pub what: String,
    /// The number.
    pub value: f64,
}

impl Curve {
    /// A curve without lines.
    #[must_use]
    pub fn new(work: &str, x: &str, y: &str) -> Curve {
        Curve { work: work.to_owned(), x: x.to_owned(), y: y.to_owned(), lines: Vec::new() }
    }

    /// Adds a point to a line.
    pub fn add(&mut self, line: &str, x: f64, y: f64) {
        if let Some(line) = self.lines.iter_mut().find(|known| known.name == line) {
            line.points.push((x, y));
        } else {
            self.lines.push(Line { name: line.to_owned(), points: vec![(x, y)] });
        }
    }
}

impl Report {
    /// A report that names the machine.
    #[must_use]
    pub fn new() -> Report {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("{processors} processors, Linux {}", kernel.trim());
        Report { machine, load: vec![load()], ..Report::default() }
    }

    /// Says what comes next.
    pub fn heading(&self, work: &str) {
        eprintln!("\n== {work}");
    }

    /// Says loudly that somebody does not take part; the end of the run says it again.
    pub fn skip(&mut self, who: &str, why: &str) {
        eprintln!("\n!!! SKIPPED: {who}: {why}\n");
        let skipped = format!("{who}: {why}");
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }

    /// Adds and prints the results of one work; the others are compared with the first.
    pub fn table(&mut self, work: &str, results: &[Result]) {
        let Some(first) = results.first() else { return };
        let rows: Vec<_> = results.iter().map(|result| row(first, result)).collect();
        eprintln!(
            "\n== {work}\n{:>12} {:>10} {:>10} {:>9}  contender",
            "calls/s", "p50 µs", "p99 µs", "first is"
        );
        for row in &rows {
            let between = format!("({:.2} – {:.2})", row.first_is_between.0, row.first_is_between.1);
            eprintln!(
                "{:>12.0} {:>10.2} {:>10.1} {:>7.2} ×  {} {between}",
                row.calls_per_s, row.p50_us, row.p99_us, row.first_is, row.contender
            );
        }
        self.tables.push(Table { work: work.to_owned(), rows });
    }

    /// Judges and prints a goal.
    pub fn goal(&mut self, goal: &str, bound: Bound, measured: f64) {
        let met = match bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        };
        eprintln!("   {} {goal}: {measured:.2}, goal {bound:?}", if met { "met " } else { "MISS" });
        self.goals.push(Goal { goal: goal.to_owned(), bound, measured, met });
    }

    /// Adds and prints one number.
    pub fn figure(&mut self, what: &str, value: f64) {
        eprintln!("   {what}: {value:.2}");
        self.figures.push(Figure { what: what.to_owned(), value });
    }

    /// The whole as JSON.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn json(&mut self) -> Outcome<String> {
        self.load.push(load());
        Ok(serde_json::to_string_pretty(self)?)
    }
}

fn row(first: &Result, result: &Result) -> Row {
    let mut ratios: Vec<_> =
        first.laps.iter().zip(&result.laps).map(|(first, other)| first.rate() / other.rate()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let quartile = |share| crate::lap::quantile(&ratios, share).unwrap_or(f64::NAN);
    Row {
        contender: result.name.to_owned(),
        calls_per_s: result.median(Lap::rate),
        mean_us: result.median(Lap::mean_us),
        p50_us: result.median(|lap| lap.quantile_us(0.5)),
        p99_us: result.median(|lap| lap.quantile_us(0.99)),
        first_is: median(&ratios),
        first_is_between: (quartile(0.25), quartile(0.75)),
    }
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
