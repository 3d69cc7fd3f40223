//! This program in a process of its own, so that it can be traced, counted and delayed.

use std::path::Path;
use std::time::Duration;

use idem_runtime::{Error, Store, call};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::contender::embedded::embedded;
use crate::idle::watch;
use crate::tools::mark;

/// What a child that makes calls prints, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Calls per second, without the time to start.
    pub calls_per_s: f64,
}

/// Does what is said after `--child`: `open FILE`, `idle FILE SECONDS`, or `CONTENDER FOLDER first|replay CALLERS CALLS`.
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

/// Opens a store, marks that moment, and closes it.
fn open(path: &Path) -> Outcome<()> {
    let store = Store::open(path)?;
    mark();
    Ok(store.close()?)
}

/// Leaves a store alone, between two marks.
fn idle(path: &Path, time: Duration) -> Outcome<()> {
    let store = Store::open(path)?;
    // A store that has worked, so that nothing it does at first is missed.
    let _made: u32 = call("bench.idle").store(&store).key("one").run(|| Ok::<_, Error>(1))?;
    let quiet = watch(time, mark)?;
    store.close()?;
    serde_json::to_writer(std::io::stdout(), &quiet)?;
    Ok(())
}
