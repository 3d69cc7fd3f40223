//! A run of one contender in a process of its own, so that it can be traced, counted and delayed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::contender::embedded;

/// What a child prints, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Calls per second, without the time to start.
    pub calls_per_s: f64,
}

/// Does what `CONTENDER FOLDER first|replay CALLERS CALLS` says, and prints what came of it.
///
/// # Errors
/// If the arguments are wrong or a call fails.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let mut next = || arguments.next().ok_or("a child needs CONTENDER FOLDER first|replay CALLERS CALLS");
    let (name, folder, work, callers, calls) = (next()?, next()?, next()?, next()?, next()?);
    let contender = embedded(&name, Path::new(&folder))?;
    let lap = match &*work {
        "first" => contender.first_calls(callers.parse()?, 0..calls.parse()?)?,
        "replay" => contender.replays(0, calls.parse()?)?,
        other => return Err(format!("there is no work `{other}`").into()),
    };
    serde_json::to_writer(std::io::stdout(), &Told { calls_per_s: lap.rate() })?;
    Ok(())
}
