//! The child process: this program, run to be traced, counted or delayed.

use std::path::Path;
use std::time::Duration;

use idem_runtime::{Error, Store, call};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::contender::embedded::embedded;
use crate::idle::watch;
use crate::tools::mark;

/// The JSON output of a child that makes calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Calls per second, without the start of the process.
    pub calls_per_s: f64,
}

/// Runs the arguments after `--child`: `open FILE`, `idle FILE SECONDS`, or
/// `CONTENDER FOLDER first|replay CALLERS CALLS`.
///
/// # Errors
/// If the arguments are wrong or a call fails.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let mut next = || arguments.next().ok_or("a child needs more arguments");
    match &*next()? {
        "open" => open(Path::new(&next()?)),
        "idle" => idle(Path::new(&next()?), Duration::from_secs(next()?.parse()?)),
        name => {
            let contender = embedded(name, Path::new(&next()?))?;
            let (work, callers, calls) = (next()?, next()?.parse()?, next()?.parse()?);
            let lap = match &*work {
                "first" => contender.first_calls(callers, 0..u64::try_from(calls)?)?,
                "replay" => contender.replays(0, calls)?,
                other => return Err(format!("there is no work `{other}`").into()),
            };
            serde_json::to_writer(std::io::stdout(), &Told { calls_per_s: lap.rate() })?;
            Ok(())
        }
    }
}

/// Opens a store, makes a mark, and closes the store.
fn open(path: &Path) -> Outcome<()> {
    let store = Store::open(path)?;
    mark();
    Ok(store.close()?)
}

/// Keeps a store idle between two marks.
fn idle(path: &Path, time: Duration) -> Outcome<()> {
    let store = Store::open(path)?;
    // The store does its first work before the idle time.
    let _made: u32 = call("bench.idle").store(&store).key("one").run(|| Ok::<_, Error>(1))?;
    let quiet = watch(time, mark)?;
    store.close()?;
    serde_json::to_writer(std::io::stdout(), &quiet)?;
    Ok(())
}
