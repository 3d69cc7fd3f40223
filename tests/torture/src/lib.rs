//! The proof campaign: the promise under kills, power cuts, full disks and turned clocks.
//!
//! ```text
//! cargo run --release -p idem-torture -- --all            every part, long form, and one table at the end
//! cargo run --release -p idem-torture -- PART… [--points N] [--seed N]
//! cargo run -p idem-torture -- PART --short               what the default tests run
//! ```
//! Every part prints the points it tried, the violations, and a negative control: a deliberately broken variant that
//! must show violations, or the part proves nothing. A violation, and a control that shows none, is a failure. What
//! cannot run on a machine is `SKIPPED`, loudly.
#![allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unused_self,
    reason = "a harness: it waits, opens databases by path, prints a table, and ends at its first surprise; it runs on 64 bits; stand-ins have the shape \
              of what they stand in for"
)]

pub mod bytes;
pub mod frame;

mod campaign;
mod clocks;
mod disk_full;
mod load;
mod model;
mod power;
mod races;
mod real;
mod schedules;
mod shared;
mod shop;
mod states;
mod syscalls;
mod tally;
mod upgrade;
mod vfs;

use std::process::ExitCode;

use frame::{Options, Part, Report};

/// All parts, in the order of the campaign.
pub const PARTS: &[Part] = &[
    Part { number: 1, name: "syscalls", is_timed: false, run: syscalls::run },
    Part { number: 2, name: "power", is_timed: false, run: power::run },
    Part { number: 3, name: "races", is_timed: true, run: races::run },
    Part { number: 4, name: "model", is_timed: false, run: model::run },
    Part { number: 5, name: "states", is_timed: false, run: states::run },
    Part { number: 5, name: "schedules", is_timed: false, run: schedules::run },
    Part { number: 6, name: "bytes", is_timed: false, run: bytes::run },
    Part { number: 7, name: "clocks", is_timed: false, run: clocks::run },
    Part { number: 8, name: "disk", is_timed: false, run: disk_full::run },
    Part { number: 9, name: "load", is_timed: true, run: load::run },
    Part { number: 10, name: "upgrade", is_timed: false, run: upgrade::run },
];

/// The program: a part, all of them, or a child process of one.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "child") {
        return child(&args[1..]);
    }
    let options = Options::parse(&args);
    if options.all {
        return campaign::run(&args);
    }
    let asked: Vec<&Part> = PARTS.iter().filter(|part| args.iter().any(|arg| arg == part.name)).collect();
    if asked.is_empty() {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        eprintln!("which part? `--all`, or some of: {}", names.join(" "));
        return ExitCode::FAILURE;
    }
    let reports: Vec<Report> = asked.into_iter().flat_map(|part| part.run(&options)).collect();
    println!("\n{}", frame::HEAD);
    for report in &reports {
        println!("{}", report.row());
    }
    if reports.iter().all(Report::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The roles that parts start this program in.
fn child(args: &[String]) -> ExitCode {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["syscalls", rest @ ..] => syscalls::child(rest),
        ["races", rest @ ..] => races::child(rest),
        ["power", rest @ ..] => power::child(rest),
        ["disk", rest @ ..] => disk_full::child(rest),
        ["bytes", rest @ ..] => bytes::child(rest),
        ["model", rest @ ..] => model::child(rest),
        ["fixture", path] => upgrade::write_fixture(std::path::Path::new(path)),
        _ => panic!("no such role: {args:?}"),
    }
    ExitCode::SUCCESS
}
