//! A commit whose fsync failed: its frames are in the WAL, and a recovery of that WAL finds them.
//!
//! A caller whose body did not run may do its work by another way. So the claim must not appear later, to a process that
//! opens the store next: as a call in doubt it would never be decided.

use std::path::Path;

use idem_runtime::Store;
use rusqlite::Connection;

use super::scenario::{NAME, Scenario};
use crate::frame::{Options, Report, fast_folder};
use crate::power;
use crate::vfs::{self, Event, Failing, Synchronous};

const KEYS_BY_HAND: [&str; 3] = ["hand-1", "hand-2", "hand-3"];

pub(super) fn run(_: &Options) -> Report {
    let mut report = Report::new(
        "EIO once at any sync of three calls, the process killed after any answer, its WAL recovered",
    );
    for first in 1.. {
        let (log, failed) = play(first, |scenario| drop(scenario.of_calls()));
        if failed == 0 {
            break;
        }
        for at in answers(&log) {
            let found = killed_at(&log[..at]);
            let about = format!("EIO at sync {first}, killed at {at} of {}", log.len());
            report.point(found.into_iter().map(|what| format!("{about}: {what}")).collect());
        }
    }
    let by_hand = |first| {
        let (log, _) = play(first, |scenario| claims_by_hand(scenario.store.path()));
        answers(&log).into_iter().map(|at| hand_killed_at(&log[..at]).len()).sum::<usize>()
    };
    report.control("a failed commit counts as not done, by hand", (1..6).map(by_hand).sum());
    report
}

/// Everything that was written and said while one sync failed, and whether it did.
fn play(first: usize, calls: impl Fn(&Scenario)) -> (Vec<Event>, usize) {
    let folder = fast_folder();
    vfs::record(folder.path(), Synchronous::AsAsked);
    let scenario = Scenario::new(folder.path());
    vfs::fail(Some(Failing::Syncs { first, count: 1 }));
    calls(&scenario);
    let failed = vfs::failed().max(scenario.failed());
    let log = vfs::so_far();
    scenario.end(&[]);
    vfs::stop();
    (log, failed)
}

/// Up to and with each answer.
fn answers(log: &[Event]) -> Vec<usize> {
    let is_answer = |event: &Event| matches!(event, Event::Mark(text) if !text.starts_with("effect"));
    log.iter().enumerate().filter(|(_, event)| is_answer(event)).map(|(at, _)| at + 1).collect()
}

fn killed_at(log: &[Event]) -> Vec<String> {
    let folder = fast_folder();
    power::killed(log, folder.path());
    let mut found = power::left(folder.path(), log);
    match Store::open(folder.path().join("idem.db")) {
        Ok(store) => found
            .extend(refused_and_there(log, |key| store.get(NAME, key).is_ok_and(|record| record.is_some()))),
        Err(error) => found.push(format!("it does not open: {error}")),
    }
    found
}

/// Calls that were refused as not run, and stand in the store all the same.
fn refused_and_there(log: &[Event], stands: impl Fn(&str) -> bool) -> Vec<String> {
    let said = |start: &str| -> Vec<&str> {
        let marks =
            log.iter().filter_map(|event| if let Event::Mark(text) = event { Some(text) } else { None });
        marks.filter_map(|text| text.strip_prefix(start)).collect()
    };
    let effects = said("effect ");
    let never_ran = said("refused ").into_iter().filter(|key| !effects.contains(key));
    never_ran
        .filter(|key| stands(key))
        .map(|key| format!("{key}: refused as not run, and yet it stands"))
        .collect()
}

/// The control: a claim is a row, and one whose commit fails is refused.
fn claims_by_hand(store: &Path) {
    let conn = Connection::open(store.with_file_name("hand.db")).expect("a database");
    conn.execute_batch("PRAGMA synchronous = FULL").expect("a pragma");
    for key in KEYS_BY_HAND {
        match conn.execute("INSERT INTO done VALUES (?1, '')", [key]) {
            Ok(_) => vfs::mark(format!("effect {key}")),
            Err(_) => vfs::mark(format!("refused {key}")),
        }
    }
}

fn hand_killed_at(log: &[Event]) -> Vec<String> {
    let folder = fast_folder();
    power::killed(log, folder.path());
    let conn = Connection::open(folder.path().join("hand.db")).expect("a database");
    let count = "SELECT count(*) FROM done WHERE key = ?1";
    refused_and_there(log, |key| {
        conn.query_row(count, [key], |row| row.get(0)).is_ok_and(|rows: i64| rows > 0)
    })
}
