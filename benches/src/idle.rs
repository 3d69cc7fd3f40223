//! The work of an open store without calls. A separate process counts it from inside and with strace.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::lap::count;
use crate::report::{Bound, Report};
use crate::settings::Settings;
use crate::tools::{Child, MARK, all_system_calls};

/// The length of the idle time.
const QUIET_S: u64 = 10;
/// The time before the idle time, in which the store ends its first work.
const SETTLE: Duration = Duration::from_millis(1_500);

/// The work of a store's threads in an idle time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quiet {
    /// Threads, without the one that waits.
    pub threads: usize,
    /// Voluntary and involuntary context switches of these threads.
    pub switches: u64,
}

/// Measures threads, context switches and system calls of an idle store.
///
/// # Errors
/// If the store cannot be opened.
pub fn idle(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let seconds = QUIET_S.to_string();
    let child =
        |file: &str| Child::new(["idle".as_ref(), folder.path().join(file).as_os_str(), seconds.as_ref()]);
    report.heading("idle");
    let quiet: Quiet = serde_json::from_slice(&child("watched.db").output()?)?;
    report.goal("threads of a store", Bound::AtMost(2.0), count(quiet.threads));
    let switches = count(usize::try_from(quiet.switches)?);
    report.goal(&format!("context switches of an idle store in {QUIET_S} s"), Bound::AtMost(0.0), switches);
    match all_system_calls(&child("traced.db"))? {
        Some(trace) => {
            let goal = format!("system calls of an idle store in {QUIET_S} s");
            report.goal(&goal, Bound::AtMost(0.0), count(beside_the_watcher(&trace)?));
        }
        None => report.skip("system calls of an idle store", "`strace` is not installed"),
    }
    Ok(())
}

/// Counts the context switches of all other threads during `time`. Calls `mark` at its begin and at its end.
///
/// # Errors
/// If the kernel does not count switches.
pub fn watch(time: Duration, mark: impl Fn()) -> Outcome<Quiet> {
    wait(SETTLE);
    let begun = switches()?;
    mark();
    wait(time);
    mark();
    let ended = switches()?;
    let switches = ended.iter().map(|(thread, ended)| ended - begun.get(thread).unwrap_or(&0)).sum();
    Ok(Quiet { threads: ended.len(), switches })
}

/// Returns the context switches of every thread of this process except the first.
fn switches() -> Outcome<HashMap<String, u64>> {
    let mut switches = HashMap::new();
    let first = std::process::id().to_string();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        let name = thread.file_name().to_string_lossy().into_owned();
        if name == first {
            continue;
        }
        let status = fs::read_to_string(thread.path().join("status"))?;
        let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        let numbers = lines.map(|(_, number)| number.trim().parse::<u64>());
        switches.insert(name, numbers.sum::<Result<u64, _>>()?);
    }
    Ok(switches)
}

/// Counts the system calls between two marks of a trace, without those of the thread that makes the marks.
fn beside_the_watcher(trace: &str) -> Outcome<usize> {
    let thread_of = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut lines = trace.lines().skip_while(|line| !line.contains(MARK));
    let watcher = lines.next().and_then(thread_of).ok_or("the trace contains no mark")?;
    let quiet = lines.take_while(|line| !line.contains(MARK));
    Ok(quiet.filter(|line| thread_of(line).as_ref() != Some(&watcher)).count())
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_of_other_threads_between_the_marks_are_counted() {
        let mark = format!("7 statx(AT_FDCWD, \"{MARK}\", 0) = -1 ENOENT");
        let trace = format!(
            "8 futex(a) = 0\n{mark}\n7 futex(b) = 0\n8 futex(c) = 0\n9 read(3) = 1\n{mark}\n9 exit(0)"
        );
        assert_eq!(beside_the_watcher(&trace).unwrap(), 2);
        assert!(beside_the_watcher("8 futex(a) = 0").is_err());
    }
}
