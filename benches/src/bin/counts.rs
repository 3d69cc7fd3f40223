//! The costs of a call as counts: fsyncs, SQL statements, futexes, instructions, allocations and bytes on disk.
//!
//! Each count is the difference of two runs, without opening and closing. With 64 callers, a count depends on the
//! number of calls in a commit. A delay in each fsync makes that number independent of the machine.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};

use idem_benches::contender::embedded::embedded;
use idem_benches::lap::count;
use idem_benches::tools::{Child, instructions, statements, system_calls};
use idem_benches::{Outcome, child};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The contender, the work and the callers of each row.
const COUNTED: [(&str, &str, usize); 16] = [
    ("ours", "replay", 1),
    ("ours-async", "replay", 1),
    ("ours-tx", "replay", 1),
    ("by-hand", "replay", 1),
    ("bare-select", "replay", 1),
    ("ours", "first", 1),
    ("ours-async", "first", 1),
    ("ours-rerun", "first", 1),
    ("ours-tx", "first", 1),
    ("by-hand", "first", 1),
    ("bare-channel", "first", 1),
    ("ours", "first", 64),
    ("ours-async", "first", 64),
    ("ours-rerun", "first", 64),
    ("by-hand", "first", 64),
    ("bare-channel", "first", 64),
];
/// The calls of the shorter run. The longer run makes twice as many.
const CALLS: usize = 1_920;
/// The delay of an fsync with many callers, in microseconds.
const FSYNC_US: u32 = 500;
/// The folder of the stores, in memory: counts do not depend on the disk.
const MEMORY: &str = "/dev/shm";
const USAGE: &str = "usage: counts [--out DIR] [CONTENDER…]";

/// The costs of one call. A count is `None` if its tool is not installed or the work has no such count.
#[derive(Debug, Serialize)]
struct Counts {
    contender: &'static str,
    work: &'static str,
    callers: usize,
    fsyncs: Option<f64>,
    statements: Option<f64>,
    futexes: Option<f64>,
    instructions: Option<f64>,
    allocations: Option<f64>,
    bytes_on_disk: Option<f64>,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "--child").is_some() {
        return child::run(arguments);
    }
    let mut out = PathBuf::from("target/benches");
    let mut wanted = Vec::new();
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--out" => out = arguments.next().ok_or(USAGE)?.into(),
            name if COUNTED.iter().any(|(known, ..)| *known == name) => wanted.push(argument),
            _ => return Err(format!("unknown argument `{argument}`\n\n{USAGE}").into()),
        }
    }
    println!(
        "| contender | work | callers | fsyncs | statements | futexes | instructions | allocations | bytes on disk |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|");
    let mut table = Vec::new();
    for (name, work, callers) in COUNTED {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let counts = Counted { name, work, callers }.counts()?;
            println!("{}", row(&counts));
            table.push(counts);
        }
    }
    if table.iter().any(|counts| counts.fsyncs.is_none() || counts.instructions.is_none()) {
        eprintln!(
            "\n!!! SKIPPED: counts shown as `–` need `strace` and `valgrind`, and at least one is not installed"
        );
    }
    fs::create_dir_all(&out)?;
    fs::write(out.join("counts.json"), serde_json::to_string_pretty(&table)?)?;
    eprintln!("written: {}", out.join("counts.json").display());
    Ok(())
}

/// Returns a row of the table in Markdown.
fn row(counts: &Counts) -> String {
    let shown = |count: Option<f64>, decimals: usize| {
        // A difference of two runs can be slightly negative.
        count.map_or_else(|| "–".to_owned(), |count| format!("{:.decimals$}", count.max(0.0)))
    };
    [
        counts.contender.to_owned(),
        counts.work.to_owned(),
        counts.callers.to_string(),
        shown(counts.fsyncs, 2),
        shown(counts.statements, 2),
        shown(counts.futexes, 2),
        shown(counts.instructions, 0),
        shown(counts.allocations, 1),
        shown(counts.bytes_on_disk, 0),
    ]
    .iter()
    .fold("|".to_owned(), |row, cell| format!("{row} {cell} |"))
}

/// One row of counts.
#[derive(Clone, Copy)]
struct Counted {
    name: &'static str,
    work: &'static str,
    callers: usize,
}

impl Counted {
    fn counts(self) -> Outcome<Counts> {
        const FSYNCS: [&str; 2] = ["fsync", "fdatasync"];
        Ok(Counts {
            contender: self.name,
            work: self.work,
            callers: self.callers,
            fsyncs: difference(|calls| self.system_calls(calls, &FSYNCS))?,
            statements: difference(|calls| self.in_child(calls, |child| statements(child).map(Some)))?,
            futexes: difference(|calls| self.system_calls(calls, &["futex"]))?,
            instructions: difference(|calls| self.in_child(calls, instructions))?,
            allocations: difference(|calls| self.allocations(calls))?,
            bytes_on_disk: if self.work == "first" { difference(|calls| self.bytes(calls))? } else { None },
        })
    }

    /// Runs a child that makes `calls` calls in a new folder.
    fn in_child<T>(self, calls: usize, run: impl FnOnce(&Child) -> Outcome<T>) -> Outcome<T> {
        let folder = tempfile::tempdir_in(MEMORY)?;
        let fsync_us = if self.callers > 1 { FSYNC_US } else { 0 };
        run(&Child::calling(self.name, folder.path(), self.work, self.callers, calls, fsync_us))
    }

    fn system_calls(self, calls: usize, counted: &[&str]) -> Outcome<Option<u64>> {
        let found = self.in_child(calls, |child| system_calls(child, counted))?;
        Ok(found.map(|found| found.values().sum()))
    }

    /// Counts the allocations of Rust code on all threads, without those of `SQLite`.
    fn allocations(self, calls: usize) -> Outcome<Option<u64>> {
        let folder = tempfile::tempdir_in(MEMORY)?;
        let contender = embedded(self.name, folder.path())?;
        let region = Region::new(ALLOCATOR);
        if self.work == "replay" {
            contender.replays(0, calls)?;
            return Ok(Some(u64::try_from(region.change().allocations)?));
        }
        contender.first_calls(self.callers, 0..u64::try_from(calls)?)?;
        // The harness allocates one text for each key.
        Ok(Some(u64::try_from(region.change().allocations - calls)?))
    }

    /// Returns the bytes on disk after `calls` first calls and a clean close.
    fn bytes(self, calls: usize) -> Outcome<Option<u64>> {
        let folder = tempfile::tempdir_in(MEMORY)?;
        embedded(self.name, folder.path())?.first_calls(self.callers, 0..u64::try_from(calls)?)?;
        Ok(Some(size(folder.path())?))
    }
}

/// Returns the cost of one call: the difference of two runs.
fn difference(of: impl Fn(usize) -> Outcome<Option<u64>>) -> Outcome<Option<f64>> {
    let (Some(less), Some(more)) = (of(CALLS)?, of(2 * CALLS)?) else { return Ok(None) };
    let [less, more] = [usize::try_from(less)?, usize::try_from(more)?].map(count);
    Ok(Some((more - less) / count(CALLS)))
}

/// Returns the bytes of all files in a folder.
fn size(folder: &Path) -> Outcome<u64> {
    let sizes = fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum()
}
