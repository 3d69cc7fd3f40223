//! What an open store does when nobody calls.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Error, Store, call};

use crate::Outcome;
use crate::lap::count;
use crate::report::{Bound, Report};
use crate::settings::Settings;

/// How long it is left alone.
const QUIET: Duration = Duration::from_secs(5);

/// Threads of an idle store, and how often the kernel switched to them.
///
/// # Errors
/// If the store cannot be opened.
pub fn idle(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let before = switches()?;
    let store = Store::open(folder.path().join("idle.db"))?;
    // A store that has worked, so that nothing it does at first is missed.
    let _made: u32 = call("bench.idle").store(&store).key("one").run(|| Ok::<_, Error>(1))?;
    wait(Duration::from_millis(1_500));
    let begun = switches()?;
    wait(QUIET);
    let ended = switches()?;
    let own: Vec<_> = ended.iter().filter(|(thread, _)| !before.contains_key(*thread)).collect();
    let woken: u64 = own.iter().map(|(thread, ended)| *ended - begun.get(*thread).unwrap_or(&0)).sum();
    eprintln!("\n== idle");
    report.goal("threads of a store", Bound::AtMost(2.0), count(own.len()));
    report.goal("wake-ups of an idle store in 5 s", Bound::AtMost(0.0), count(usize::try_from(woken)?));
    store.close()?;
    Ok(())
}

/// Voluntary context switches of every thread of this process.
fn switches() -> Outcome<HashMap<String, u64>> {
    let mut switches = HashMap::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        let status = fs::read_to_string(thread.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let number = line.ok_or("the kernel counts no switches")?.trim().parse()?;
        switches.insert(thread.file_name().to_string_lossy().into_owned(), number);
    }
    Ok(switches)
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
