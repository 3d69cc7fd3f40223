//! The report: printed during the run, and written as JSON at its end.

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::lap::{Lap, median};
use crate::tournament::Result;

/// The results of one run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The machine: processors and kernel.
    pub machine: String,
    /// The load average before and after the run. Above 0.2 per processor, other processes were at work.
    pub load: Vec<f64>,
    /// Skipped contenders, with the reason.
    pub skipped: Vec<String>,
    /// One table for each work with several contenders.
    pub tables: Vec<Table>,
    /// Figures over a varied quantity.
    pub curves: Vec<Curve>,
    /// The goals of the measured works.
    pub goals: Vec<Goal>,
    /// Single figures.
    pub figures: Vec<Figure>,
    /// The duration of each work in seconds.
    pub took_s: Vec<(String, f64)>,
}

/// The contenders of one work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Table {
    /// The work.
    pub work: String,
    /// One row for each contender. The others are compared with the first.
    pub rows: Vec<Row>,
}

/// The figures of one contender.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The contender.
    pub contender: String,
    /// Calls per second: the median over the rounds.
    pub calls_per_s: f64,
    /// The mean time of a call: the median over the rounds.
    pub mean_us: f64,
    /// The median time of a call: the median over the rounds.
    pub p50_us: f64,
    /// The 99th percentile of the time of a call: the median over the rounds.
    pub p99_us: f64,
    /// How many times as fast the first row is: the median of the ratios in each round.
    pub first_is: f64,
    /// The first and the third quartile of these ratios.
    pub first_is_between: (f64, f64),
}

/// Lines over one axis, both axes logarithmic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// The work.
    pub work: String,
    /// The varied quantity, with its unit.
    pub x: String,
    /// The measured quantity, with its unit.
    pub y: String,
    /// The lines, in the order of their first points.
    pub lines: Vec<Line>,
}

/// One line of a curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The name of the line.
    pub name: String,
    /// The points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A goal and the measured figure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Goal {
    /// The compared quantities.
    pub goal: String,
    /// The bound.
    pub bound: Bound,
    /// The figure.
    pub measured: f64,
    /// Whether it is within the bound.
    pub met: bool,
}

/// A bound of a figure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Bound {
    /// The lower bound.
    AtLeast(f64),
    /// The upper bound.
    AtMost(f64),
}

/// A single figure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// The quantity, with its unit.
    pub what: String,
    /// The number.
    pub value: f64,
}

impl Curve {
    /// Returns a curve without lines.
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
    /// Returns a report with the name of the machine.
    #[must_use]
    pub fn new() -> Report {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("{processors} processors, Linux {}", kernel.trim());
        Report { machine, load: vec![load()], ..Report::default() }
    }

    /// Prints the heading of the next work.
    pub fn heading(&self, work: &str) {
        eprintln!("\n== {work}");
    }

    /// Adds and prints a skipped contender. The end of the run prints it again.
    pub fn skip(&mut self, who: &str, why: &str) {
        eprintln!("\n!!! SKIPPED: {who}: {why}\n");
        let skipped = format!("{who}: {why}");
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }

    /// Adds and prints the results of one work, compared with the first.
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

    /// Adds and prints a goal.
    pub fn goal(&mut self, goal: &str, bound: Bound, measured: f64) {
        let met = match bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        };
        eprintln!("   {} {goal}: {measured:.2}, goal {bound:?}", if met { "met " } else { "MISS" });
        self.goals.push(Goal { goal: goal.to_owned(), bound, measured, met });
    }

    /// Adds and prints a figure.
    pub fn figure(&mut self, what: &str, value: f64) {
        eprintln!("   {what}: {value:.2}");
        self.figures.push(Figure { what: what.to_owned(), value });
    }

    /// Returns the report as JSON.
    ///
    /// # Errors
    /// If the report cannot be encoded.
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
