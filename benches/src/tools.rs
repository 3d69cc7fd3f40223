//! Child processes of this program under a tool that counts: strace, callgrind, or the counter of statements.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use crate::Outcome;

/// The variable with the delay of each fsync in microseconds (`delay.c`).
const FSYNC_US: &str = "IDEM_BENCHES_FSYNC_US";
/// The variable with the file for the number of statements (`trace.c`).
const STATEMENTS: &str = "IDEM_BENCHES_STATEMENTS";

/// The path in a trace where a child called [`mark`].
pub const MARK: &str = "/benches/mark";

/// Marks a moment in a trace with the `stat` of a file that does not exist.
pub fn mark() {
    let _ = fs::metadata(MARK);
}

/// A child process of this program.
#[derive(Clone, Debug)]
pub struct Child {
    /// The arguments after `--child`.
    arguments: Vec<OsString>,
    /// The delay of each fsync in microseconds.
    fsync_us: u32,
}

impl Child {
    /// Returns a child with these arguments after `--child`.
    pub fn new<const N: usize>(arguments: [&OsStr; N]) -> Child {
        Child { arguments: arguments.map(OsStr::to_owned).to_vec(), fsync_us: 0 }
    }

    /// Returns a child that makes calls of one contender, with a delay in each fsync.
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

    /// Runs the child and returns its standard output.
    ///
    /// # Errors
    /// If it fails.
    pub fn output(&self) -> Outcome<Vec<u8>> {
        Ok(succeeded(self.told(&mut Command::new(std::env::current_exe()?)).output()?)?.stdout)
    }

    /// Adds the arguments and the delay of the child to a command.
    fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.fsync_us > 0 {
            command.env(FSYNC_US, self.fsync_us.to_string());
        }
        command.arg("--child").args(&self.arguments)
    }
}

/// Counts these system calls of a child; `None` if strace is not installed.
///
/// # Errors
/// If the child fails.
pub fn system_calls(child: &Child, counted: &[&str]) -> Outcome<Option<HashMap<String, u64>>> {
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("table");
    let mut strace = Command::new("strace");
    // The filter does not slow down other system calls.
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

/// Returns a line with thread id for each system call of a child; `None` if strace is not installed.
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

/// Counts the instructions of a child; `None` if valgrind is not installed.
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

/// Counts the statements that `SQLite` begins in a child, on all connections.
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

/// Returns the output of a successful child, or an error with its standard error.
fn succeeded(output: Output) -> Outcome<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("the child failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}
