//! What does not drift: fsyncs, system calls that wake or sleep, instructions and allocations per call.
//!
//! Every count is the difference of two runs, so that opening and closing drop out.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::alloc::System;
use std::path::Path;
use std::process::Command;

use idem_benches::contender::embedded;
use idem_benches::lap::count;
use idem_benches::{Outcome, child, key};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Contender, work, callers.
const COUNTED: [(&str, &str, usize); 12] = [
    ("ours", "replay", 1),
    ("ours-async", "replay", 1),
    ("by-hand", "replay", 1),
    ("bare-select", "replay", 1),
    ("ours", "first", 1),
    ("ours-rerun", "first", 1),
    ("by-hand", "first", 1),
    ("bare-channel", "first", 1),
    ("ours", "first", 64),
    ("ours-async", "first", 64),
    ("by-hand", "first", 64),
    ("bare-channel", "first", 64),
];
/// How many calls the longer run makes more than the shorter one, which makes as many.
const CALLS: usize = 1_920;
/// Where the stores stand: what is counted does not depend on the disk.
const MEMORY: &str = "/dev/shm";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "--child").is_some() {
        return child::run(arguments);
    }
    println!(
        "{:<14} {:<7} {:>7}  {:>8} {:>8} {:>13} {:>12}",
        "contender", "work", "callers", "fsyncs", "futexes", "instructions", "allocations"
    );
    for (name, work, callers) in COUNTED {
        let counts = [
            difference(|calls| system_calls(name, work, callers, calls, &["fsync", "fdatasync"]))?,
            difference(|calls| system_calls(name, work, callers, calls, &["futex"]))?,
            difference(|calls| instructions(name, work, callers, calls))?,
            if callers == 1 { allocations(name, work)? } else { None },
        ];
        let [fsyncs, futexes, instructions, allocations] =
            counts.map(|count| count.map_or_else(|| "skipped".to_owned(), |count| format!("{count:.2}")));
        println!(
            "{name:<14} {work:<7} {callers:>7}  {fsyncs:>8} {futexes:>8} {instructions:>13} {allocations:>12}"
        );
    }
    Ok(())
}

/// What each further call adds; `None` where the tool is not installed.
fn difference(of: impl Fn(usize) -> Outcome<Option<f64>>) -> Outcome<Option<f64>> {
    let (Some(less), Some(more)) = (of(CALLS)?, of(2 * CALLS)?) else { return Ok(None) };
    Ok(Some((more - less) / count(CALLS)))
}

fn system_calls(
    name: &str,
    work: &str,
    callers: usize,
    calls: usize,
    counted: &[&str],
) -> Outcome<Option<f64>> {
    let folder = tempfile::tempdir_in(MEMORY)?;
    let table = folder.path().join("table");
    let trace = format!("trace={}", counted.join(","));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-e", &trace, "-o"]).arg(&table);
    if !run(&mut strace, folder.path(), name, work, callers, calls)? {
        return Ok(None);
    }
    let table = std::fs::read_to_string(table)?;
    let lines = table.lines().filter(|line| counted.iter().any(|counted| line.trim_end().ends_with(counted)));
    // Share, seconds, microseconds per call, calls.
    let calls = lines.filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    Ok(Some(calls.sum()))
}

fn instructions(name: &str, work: &str, callers: usize, calls: usize) -> Outcome<Option<f64>> {
    let folder = tempfile::tempdir_in(MEMORY)?;
    let log = folder.path().join("log");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.display()));
    if !run(&mut valgrind, folder.path(), name, work, callers, calls)? {
        return Ok(None);
    }
    let log = std::fs::read_to_string(log)?;
    let line =
        log.lines().find_map(|line| line.split_once("Collected :")).ok_or("valgrind collected nothing")?;
    Ok(Some(line.1.trim().parse()?))
}

/// Runs this program as a child under a tool; false if the tool is not installed.
fn run(
    tool: &mut Command,
    folder: &Path,
    name: &str,
    work: &str,
    callers: usize,
    calls: usize,
) -> Outcome<bool> {
    let child = tool.arg(std::env::current_exe()?).args(["--child", name]).arg(folder);
    match child.args([work, &callers.to_string(), &calls.to_string()]).output() {
        Ok(output) if output.status.success() => Ok(true),
        Ok(output) => Err(format!("the child failed: {}", String::from_utf8_lossy(&output.stderr)).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Allocations of our own code and of Rust libraries, on all threads; those inside `SQLite` are not seen.
fn allocations(name: &str, work: &str) -> Outcome<Option<f64>> {
    if name.ends_with("select") {
        return Ok(None);
    }
    let folder = tempfile::tempdir_in(MEMORY)?;
    let contender = embedded(name, folder.path())?;
    let mut caller = contender.caller()?;
    let keys: Vec<_> = (0..2 * CALLS as u64).map(key).collect();
    let (warm_up, counted) = keys.split_at(CALLS);
    let mut call = |key: &String| if work == "first" { caller.first(key) } else { caller.again(key) };
    if work == "replay" {
        contender.first_calls(1, 0..2 * CALLS as u64)?;
    }
    warm_up.iter().try_for_each(&mut call)?;
    let region = Region::new(ALLOCATOR);
    counted.iter().try_for_each(&mut call)?;
    Ok(Some(count(region.change().allocations) / count(CALLS)))
}
