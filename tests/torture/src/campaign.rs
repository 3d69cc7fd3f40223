//! All parts, each in a process of its own: two at a time, and those that measure times alone.

use std::collections::VecDeque;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::PARTS;
use crate::frame::{HEAD, Part};

/// The result of a part: its lines of the table, and its duration.
struct Outcome {
    number: usize,
    rows: Vec<String>,
    told: String,
    is_good: bool,
}

/// Runs them with the other arguments, and prints one table.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let rest: Vec<&String> = args.iter().filter(|arg| *arg != "--all").collect();
    let begun = Instant::now();
    let (timed, others) = PARTS.iter().enumerate().partition(|(_, part)| part.is_timed);
    let mut outcomes = side_by_side(2, others, &rest);
    outcomes.extend(side_by_side(1, timed, &rest));
    outcomes.sort_by_key(|outcome| outcome.number);
    println!("\n{HEAD}");
    outcomes.iter().flat_map(|outcome| &outcome.rows).for_each(|row| println!("{row}"));
    let skipped =
        outcomes.iter().flat_map(|outcome| &outcome.rows).filter(|row| row.contains("| SKIPPED: ")).count();
    eprintln!("\nall parts took {:.0?}; {skipped} lines of the table were SKIPPED", begun.elapsed());
    for outcome in &outcomes {
        eprintln!("  {}", outcome.told);
    }
    if outcomes.iter().all(|outcome| outcome.is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn side_by_side(lanes: usize, parts: VecDeque<(usize, &Part)>, args: &[&String]) -> Vec<Outcome> {
    let (parts, outcomes) = (Mutex::new(parts), Mutex::new(Vec::new()));
    let next = || parts.lock().expect("no panic").pop_front();
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some((number, part)) = next() {
                    let outcome = one(number, part, args);
                    outcomes.lock().expect("no panic").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no panic")
}

fn one(number: usize, part: &Part, args: &[&String]) -> Outcome {
    let begun = Instant::now();
    eprintln!("part {} `{}` begins", part.number, part.name);
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(part.name).args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().filter(|line| line.starts_with("| ") && !HEAD.starts_with(line));
    let mut rows: Vec<String> = lines.map(str::to_owned).collect();
    if rows.is_empty() {
        rows.push(format!(
            "| part `{}` ended early ({}) | 0 | 1 | – | `{}` |",
            part.name, output.status, part.name
        ));
    }
    let is_good = output.status.success();
    let verdict = if is_good { "good" } else { "NOT GOOD" };
    Outcome { number, rows, told: format!("`{}`: {:.0?}, {verdict}", part.name, begun.elapsed()), is_good }
}
