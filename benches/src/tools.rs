//! This very program again, as a child under a tool that counts: strace, callgrind, or our own count of statements.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use crate::Outcome;

/// What tells a child how long its fsyncs take, in microseconds (`delay.c`).
const FSYNC_US: &str = "IDEM_BENCHES_FSYNC_US";
/// What tells a child to count statements, and where to write their number (`trace.c`).
const STATEMENTS: &str = "IDEM_BENCHES_STATEMENTS";

/// What a trace shows where a child called [`mark`].
pub const MARK: &str = "/benches/mark";

/// A moment that a trace shows: a look at a file that is not there.
pub fn mark() {
    let _ = fs::metadata(MARK);
}

/// What this program is to do as a child.
#[derive(Clone, Debug)]
pub struct Child {
    /// What stands after `--child`.
    arguments: Vec<OsString>,
    /// How much longer than it does an fsync is to take.
    fsync_us: u32,
}

impl Child {
    /// A child with these words after `--child`.
    pub fn new<const N: usize>(arguments: [&OsStr; N]) -> Child {
        Child { arguments: arguments.map(OsStr::to_owned).to_vec(), fsync_us: 0 }
    }

    /// A child that makes calls of one contender, with fsyncs that take so much longer.
    #[must_use]
    pub fn calling(
        name: &str,
        folder: &Path,
        work: &str,
        callers: usize,
        calls: usize,
        fsync_us: u32,
    ) -> Child {
        let (callers, calls) = (callers.to_string(), calls.to_string());
        let arguments = [name.as_ref(), folder.as_os_str(), work.as_ref(), callers.as_ref(), calls.as_ref()];
        Child { fsync_us, ..Child::new(arguments) }
    }

    /// What it prints.
    ///
    /// # Errors
    /// If it fails.
    pub fn output(&self) -> Outcome<Vec<u8>> {
        Ok(succeeded(self.told(&mut Command::new(std::env::current_exe()?)).output()?)?.stdout)
    }

    /// A command with what the child is to be told behind it.
    fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.fsync_us > 0 {
            command.env(FSYNC_US, self.fsync_us.to_string());
        }
        command.arg("--child").args(&self.arguments)
    }
}

/// How often a child made these system calls; `None` without strace.
///
/// # Errors
/// If the child fails.
pub fn system_calls(child: &Child, counted: &[&str]) -> Outcome<Option<HashMap<String, u64>>> {
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("table");
    let mut strace = Command::new("strace");
    // The filter lets all other system calls pass at full speed.
    strace.args(["-f", "--seccomp-bpf", "-c", "-U", "name,calls", "-e"]);
    strace.arg(format!("trace={}", counted.join(","))).arg("-o").arg(&table);
    if run_under(&mut strace, child)?.is_none() {
        return Ok(None);
    }
    let table = fs::read_to_string(table)?;
    let calls = |line: &str| {
        let (name, calls) = line.trim().split_once(' ')?;
        counted.contains(&name).then_some((name.to_owned(), calls.trim().parse().ok()?))
    };
    Ok(Some(table.lines().filter_map(calls).collect()))
}

/// Every system call of a child, a line each with the thread's number in front; `None` without strace.
///
/// # Errors
/// If the child fails.
pub fn all_system_calls(child: &Child) -> Outcome<Option<String>> {
    let folder = tempfile::tempdir()?;
    let lines = folder.path().join("lines");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&lines);
    if run_under(&mut strace, child)?.is_none() {
        return Ok(None);
    }
    Ok(Some(fs::read_to_string(lines)?))
}

/// How many instructions a child needs; `None` without valgrind.
///
/// # Errors
/// If the child fails.
pub fn instructions(child: &Child) -> Outcome<Option<u64>> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.display()));
    if run_under(&mut valgrind, child)?.is_none() {
        return Ok(None);
    }
    let log = fs::read_to_string(log)?;
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    Ok(Some(collected.ok_or("valgrind collected nothing")?.1.trim().parse()?))
}

/// How many statements `SQLite` begins in a child, on all its connections.
///
/// # Errors
/// If the child fails.
pub fn statements(child: &Child) -> Outcome<u64> {
    let folder = tempfile::tempdir()?;
    let number = folder.path().join("number");
    succeeded(child.told(Command::new(std::env::current_exe()?).env(STATEMENTS, &number)).output()?)?;
    Ok(fs::read_to_string(number)?.trim().parse()?)
}

/// Runs a child under a tool; `None` if the tool is not installed.
fn run_under(tool: &mut Command, child: &Child) -> Outcome<Option<Output>> {
    match child.told(tool.arg(std::env::current_exe()?)).output() {
        Ok(output) => succeeded(output).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The output of a child that did what it was told; otherwise, what it said.
fn succeeded(output: Output) -> Outcome<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("the child failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}
