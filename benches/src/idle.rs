//! What an open store does when nobody calls: it is looked at from within and by strace, in a process of its own.

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

/// How long it is left alone.
const QUIET_S: u64 = 10;
/// How long a store may take to come to rest.
const SETTLE: Duration = Duration::from_millis(1_500);

/// What the threads of a store did in a quiet time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quiet {
    /// Threads besides the one that waits.
    pub threads: usize,
    /// How often the kernel switched to one of them, whether they gave way or were made to.
    pub switches: u64,
}

/// Threads, context switches and system calls of an idle store.
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

/// Lets the time pass and counts what all other threads did in it; `mark` is called when it begins and when it ends.
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

/// Context switches of every thread of this process but its first.
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

/// How many system calls a trace shows between the two marks, but for those of the thread that makes the marks.
fn beside_the_watcher(trace: &str) -> Outcome<usize> {
    let thread_of = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut lines = trace.lines().skip_while(|line| !line.contains(MARK));
    let watcher = lines.next().and_then(thread_of).ok_or("the trace does not show the quiet time")?;
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
    fn what_other_threads_do_between_the_marks_is_counted() {
        let mark = format!("7 statx(AT_FDCWD, \"{MARK}\", 0) = -1 ENOENT");
        let trace = format!(
            "8 futex(a) = 0\n{mark}\n7 futex(b) = 0\n8 futex(c) = 0\n9 read(3) = 1\n{mark}\n9 exit(0)"
        );
        assert_eq!(beside_the_watcher(&trace).unwrap(), 2);
        assert!(beside_the_watcher("8 futex(a) = 0").is_err());
    }
}
