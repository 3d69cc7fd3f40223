//! How soon those who wait for a killed owner go on.

use std::thread;
use std::time::{Duration, Instant};

use super::{Crew, PROCESSES, Place, Signal, signal};
use crate::frame::{Options, Report};

/// Longer than a round: the owner is killed in it.
const FOREVER_US: u64 = 60_000_000;

pub(super) fn measure(options: &Options) -> Report {
    // A loaded machine, such as one that runs all tests, is late for reasons of its own.
    let (median_max, worst_max) = if options.short { (100, 2_000) } else { (20, 100) };
    let mut report = Report::new(format!(
        "waiters of a killed owner continue: median ≤ {median_max} ms, worst ≤ {worst_max} ms"
    ));
    for mode in ["rerun", "refuse"] {
        let mut times = Vec::new();
        for number in 0..options.points(6, 60).div_ceil(2) {
            match once(mode, number, Owner::Killed) {
                Ok(time) => times.push(time),
                Err(violation) => report.point(vec![violation]),
            }
        }
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        for time in &times {
            let late = *time > Duration::from_millis(worst_max);
            report
                .point(late.then(|| format!("{mode}: waiters went on after {time:?}")).into_iter().collect());
        }
        if median > Duration::from_millis(median_max) {
            report.point(vec![format!("{mode}: the median is {median:?}")]);
        }
        let what = if mode == "rerun" { "one of 16 begins" } else { "all 16 are answered" };
        report.note(format!("{mode}, {what}: median {median:.1?}, worst {worst:.1?}"));
    }
    let stopped = (0..3).filter(|number| once("rerun", *number, Owner::Stopped).is_err());
    report.control("the owner is stopped, not killed: no waiter continues", stopped.count());
    report
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Killed,
    Stopped,
}

/// The first process runs, the others wait, the first is killed.
fn once(mode: &str, number: usize, owner_is: Owner) -> Result<Duration, String> {
    let place = Place::new();
    let mut crew = Crew::new(place.folder.path());
    let owner = crew.pid(0);
    crew.tell(0, &format!("w{number} {mode} 1 {FOREVER_US}"));
    crew.hear(owner, &format!("began w{number}k0"))?;
    for member in 1..PROCESSES {
        crew.tell(member, &format!("w{number} {mode} 1 1000"));
    }
    thread::sleep(Duration::from_millis(150));
    let killed = Instant::now();
    match owner_is {
        Owner::Killed => drop(crew.members.remove(0)),
        Owner::Stopped => signal(owner, Signal::Stop),
    }
    if mode == "refuse" {
        crew.all_say(&format!("done w{number}"))?;
        return Ok(killed.elapsed());
    }
    let limit = Duration::from_millis(if owner_is == Owner::Killed { 10_000 } else { 700 });
    loop {
        let said = crew.said.recv_timeout(limit).map_err(|_| format!("no waiter went on for {limit:?}"))?;
        if said.pid != owner && said.line.starts_with("began") {
            return Ok(said.at.saturating_duration_since(killed));
        }
    }
}
