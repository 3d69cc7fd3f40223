//! Part 1: a program of three calls, killed before and after each of its syscalls, and with errors in those that
//! write; started again twice, and compared with what is promised.

mod model;
mod program;
#[cfg(target_os = "linux")]
mod tracer;

use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::{self, Options, Report, fast_folder};
use model::{Mode, Variant};

pub(crate) use program::child;

/// Longer than any run with a failing disk takes.
const HUNG: Duration = Duration::from_secs(60);
const STREAMS: usize = 2;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    #[cfg(target_os = "linux")]
    let reports = vec![kills(options), errors(options)];
    #[cfg(not(target_os = "linux"))]
    let reports =
        vec![Report::skipped("SIGKILL and errors at every syscall", "needs Linux's ptrace and strace")];
    reports
}

/// Every point of every variant, or as many as asked for, evenly spread.
#[cfg(target_os = "linux")]
fn kills(options: &Options) -> Report {
    let what = "SIGKILL before and after every syscall";
    let mut report = Report::new(format!("{what}: refuse, rerun, recover (sync, async), tx"));
    if let Some(why) = tracer::missing() {
        return Report::skipped(what, why);
    }
    for variant in model::VARIANTS {
        let stops = stops_of(variant, options.short);
        let share = options.points(210, usize::MAX).div_ceil(model::VARIANTS.len());
        let swept = sweep(variant, &stops, share);
        report.note(format!(
            "{variant}: {} kills, and {} runs that had ended before their stop came (not counted), at about {} stops",
            swept.kills.len(),
            swept.over,
            stops.len()
        ));
        for found in swept.kills {
            report.point(found);
        }
    }
    // Until something shows: in the short form the few points may all miss the moment.
    let naive = Variant { mode: Mode::Naive, is_async: false };
    let stops = stops_of(naive, options.short);
    let shown = sweep(naive, &stops, options.points(60, usize::MAX)).kills;
    report.control("check, run, then record, by hand", shown.iter().map(Vec::len).sum());
    report
}

/// What came of the stops of a program.
#[derive(Debug, Default)]
struct Swept {
    /// What was wrong after each kill.
    kills: Vec<Vec<String>>,
    /// How many runs were over before they could be killed.
    over: usize,
}

/// The stops of an undisturbed run; with `calls_only`, from the first sign of a call on.
#[cfg(target_os = "linux")]
fn stops_of(variant: Variant, calls_only: bool) -> Range<usize> {
    let folder = fast_folder();
    let (effects, answers) = (folder.path().join("effects"), folder.path().join("answers"));
    let mut first = 1;
    let watched = |stop| {
        if calls_only && !effects.exists() && !answers.exists() {
            first = stop;
        }
    };
    let last = tracer::trace(start(folder.path(), variant, "close"), usize::MAX, watched).stops;
    // The order of threads differs from run to run: begin a little before, and end a little after.
    first.saturating_sub(last / 20).max(1)..last + last / 20
}

/// Kills at `share` points in several streams, and checks each.
#[cfg(target_os = "linux")]
fn sweep(variant: Variant, stops: &Range<usize>, share: usize) -> Swept {
    let stride = (stops.len() / share.max(1)).max(1);
    let next = AtomicUsize::new(0);
    let swept = Mutex::new(Swept::default());
    thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(|| {
                loop {
                    let at = stops.start + next.fetch_add(1, Ordering::Relaxed) * stride;
                    if at >= stops.end {
                        return;
                    }
                    let folder = fast_folder();
                    if !tracer::kill_at(start(folder.path(), variant, "close"), at).was_killed {
                        swept.lock().expect("no panic").over += 1;
                        continue;
                    }
                    let found = after(folder.path(), variant, &format!("{variant}, killed at stop {at}"));
                    swept.lock().expect("no panic").kills.push(found);
                }
            });
        }
    });
    swept.into_inner().expect("no panic")
}

/// Runs twice more, undisturbed, and compares.
fn after(folder: &Path, variant: Variant, about: &str) -> Vec<String> {
    for run in 1..=2 {
        let mut child = start_run(folder, variant, "close", run).spawn().expect("a process");
        drop(child.stdin.take());
        if let Some(hung) = wait(&mut child) {
            return vec![format!("{about}: run {run} {hung}")];
        }
    }
    let violations = model::violations(folder, variant);
    if !violations.is_empty() && std::env::var_os("TORTURE_KEEP").is_some() {
        let _ = Command::new("cp").arg("-r").arg(folder).arg("/tmp/torture-kept").status();
    }
    violations.into_iter().map(|violation| format!("{about}: {violation}")).collect()
}

/// Waits for the end; a text if it did not come.
fn wait(child: &mut Child) -> Option<&'static str> {
    let limit = Instant::now() + HUNG;
    loop {
        if child.try_wait().expect("a child").is_some() {
            return None;
        }
        if Instant::now() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Some("hung");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn start(folder: &Path, variant: Variant, ending: &str) -> Child {
    start_run(folder, variant, ending, 0).spawn().expect("a process")
}

fn start_run(folder: &Path, variant: Variant, ending: &str, run: usize) -> Command {
    let mut command = frame::child("syscalls");
    let form = if variant.is_async { "async" } else { "sync" };
    command.args([variant.mode.name(), form, ending, &run.to_string()]).arg(folder).stdin(Stdio::piped());
    command
}

/// One call fails, or all from some call on, for each call of each kind.
#[cfg(target_os = "linux")]
fn errors(options: &Options) -> Report {
    const KINDS: [&str; 7] =
        ["pwrite64", "fdatasync,fsync", "ftruncate", "openat", "write", "mkdir", "fallocate"];
    let what = "ENOSPC and EIO at every write-like call, once and from then on";
    let mut report = Report::new(what);
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return Report::skipped(what, "strace is not installed");
    }
    let share = options.points(28, usize::MAX);
    let mut plans = Vec::new();
    for variant in model::VARIANTS {
        for kind in KINDS {
            for error in ["ENOSPC", "EIO"] {
                plans.extend(["", "+"].map(|from_then| (variant, kind, error, from_then)));
            }
        }
    }
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (limit, stride) = if share == usize::MAX { (200, 1) } else { (1, (plans.len() / share).max(1)) };
    let first = |at: usize| if limit == 1 { 1 + at % 7 } else { 1 };
    thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((variant, kind, error, from_then)) = plans.get(at * stride).copied() else {
                        return;
                    };
                    for when in first(at)..first(at) + limit {
                        let inject = format!("inject={kind}:error={error}:when={when}{from_then}");
                        let Some(violations) = with_error(variant, &inject, from_then) else { break };
                        found.lock().expect("no panic").push(violations);
                    }
                }
            });
        }
    });
    found.into_inner().expect("no panic").into_iter().for_each(|violations| report.point(violations));
    let naive = Variant { mode: Mode::Naive, is_async: false };
    let shown =
        (1..30).filter_map(|when| with_error(naive, &format!("inject=pwrite64:error=EIO:when={when}+"), "+"));
    report.control("check, run, then record, by hand", shown.map(|found| found.len()).sum());
    report
}

/// `None` once there is no such call any more.
#[cfg(target_os = "linux")]
fn with_error(variant: Variant, inject: &str, from_then: &str) -> Option<Vec<String>> {
    let folder = fast_folder();
    let trace = folder.path().join("trace");
    // With a disk that stays broken, closing would wait for it.
    let ending = if from_then.is_empty() { "close" } else { "exit" };
    let inner = start_run(folder.path(), variant, ending, 0);
    let calls = inject.split(['=', ':']).nth(1).unwrap_or_default();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-e", &format!("trace={calls}"), "-e", inject, "-o"]).arg(&trace);
    strace.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = strace.spawn().expect("strace");
    if let Some(hung) = wait(&mut child) {
        return Some(vec![format!("{variant}, {inject}: it {hung}")]);
    }
    let injected =
        std::fs::read(&trace).is_ok_and(|text| String::from_utf8_lossy(&text).contains("INJECTED"));
    injected.then(|| after(folder.path(), variant, &format!("{variant}, {inject}")))
}
