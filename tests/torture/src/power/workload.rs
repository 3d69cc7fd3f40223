//! Calls that report their effects and answers, and the check that a disk agrees with these.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use idem_runtime::{Error, OnInterrupt, Status, Store, install};
use rusqlite::{Connection, OptionalExtension};

use crate::frame::Dice;
use crate::shared::call;
use crate::shop::shop;
use crate::vfs::{self, Event, Failing, Synchronous};

pub(super) const NAME: &str = "torture.power";
const OPENS: usize = 3;
const WORKERS: usize = 3;
const CALLS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Effects outside, records in a store.
    Store,
    /// Rows and records in one database.
    Tx,
}

/// Plays a workload in `folder`; gives everything that was written.
pub(super) fn play(folder: &Path, kind: Kind, synchronous: Synchronous, seed: u64) -> Vec<Event> {
    vfs::record(folder, synchronous);
    for open in 0..OPENS {
        match kind {
            Kind::Store => in_a_store(folder, open, seed, None),
            Kind::Tx => in_transactions(folder, open, seed),
        }
    }
    vfs::stop()
}

/// Makes the calls in a store with checkpoints all the time, on a disk that fails. Gives the number of failures.
pub(super) fn play_failing(
    folder: &Path,
    synchronous: Synchronous,
    failing: Failing,
    seed: u64,
) -> (Vec<Event>, usize) {
    vfs::record(folder, synchronous);
    in_a_store(folder, OPENS - 1, seed & !1, Some(failing));
    let failed = vfs::failed();
    (vfs::stop(), failed)
}

pub(super) fn value(key: &str, dice: &mut Dice) -> String {
    // Some span several pages.
    let size = if dice.below(4) == 0 { dice.below(20_000) } else { dice.below(200) };
    format!("{key}:{}", "x".repeat(size))
}

fn in_a_store(folder: &Path, open: usize, seed: u64, failing: Option<Failing>) {
    // Every second store runs checkpoints all the time.
    let log_bytes = if seed.is_multiple_of(2) { 0 } else { u64::MAX };
    let store = Store::builder().log_bytes(log_bytes).open(folder.join("idem.db")).expect("a store");
    if failing.is_some() {
        vfs::fail(failing);
    }
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let store = &store;
            scope.spawn(move || {
                let mut dice = Dice::new(seed ^ ((open * WORKERS + worker) as u64));
                let calls = if failing.is_some() { 5 * CALLS } else { CALLS };
                for n in 0..calls {
                    let rerun = dice.below(2) == 0;
                    let key = format!("{}-{open}-{worker}-{n}", if rerun { "rerun" } else { "refuse" });
                    let mode = if rerun { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
                    let call = call(NAME).store(store).key(&key).on_interrupt(mode);
                    let value = value(&key, &mut dice);
                    let done: Result<String, Error> = call.run(|| {
                        vfs::mark(format!("effect {key}"));
                        Ok(value)
                    });
                    match done {
                        Ok(value) => vfs::mark(format!("ack {key} {}", value.len())),
                        Err(error) => assert!(failing.is_some(), "an undisturbed call: {error}"),
                    }
                }
            });
        }
    });
    if open + 1 < OPENS {
        store.close().expect("a close");
    } else {
        // The last one is cut off before, during and after its close.
        drop(store);
    }
}

fn in_transactions(folder: &Path, open: usize, seed: u64) {
    let conn = shop(folder).expect("a database");
    install(&conn).expect("tables");
    let mut dice = Dice::new(seed ^ open as u64);
    for n in 0..CALLS {
        let key = format!("tx-{open}-{n}");
        let value = value(&key, &mut dice);
        let done: Result<usize, Error> = call(NAME).key(&key).tx(&conn).run(|| {
            conn.execute("INSERT INTO effect VALUES (?1, ?2)", [&key, &value]).expect("a row");
            Ok(value.len())
        });
        vfs::mark(format!("ack {key} {}", done.expect("an undisturbed call")));
        if dice.below(6) == 0 {
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("a checkpoint");
        }
    }
}

/// What was said before the cut: effects, and acknowledged results with their sizes.
fn said(log: &[Event]) -> (BTreeSet<&str>, BTreeMap<&str, usize>) {
    let (mut effects, mut acks) = (BTreeSet::new(), BTreeMap::new());
    for event in log {
        let Event::Mark(text) = event else { continue };
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["effect", key] => drop(effects.insert(key)),
            ["ack", key, size] => drop(acks.insert(key, size.parse().expect("a size"))),
            ["refused", _] => {}
            _ => unreachable!("a mark: {text}"),
        }
    }
    (effects, acks)
}

/// Compares a disk after a cut with what was said before it.
pub(super) fn violations(image: &Path, kind: Kind, log: &[Event]) -> Vec<String> {
    let (effects, acks) = said(log);
    let checked = match kind {
        Kind::Store => of_store(image, &effects, &acks),
        Kind::Tx => of_transactions(image, &acks),
    };
    checked.unwrap_or_else(|error| vec![error])
}

fn of_store(
    image: &Path,
    effects: &BTreeSet<&str>,
    acks: &BTreeMap<&str, usize>,
) -> Result<Vec<String>, String> {
    let store = Store::open(image.join("idem.db")).map_err(|error| format!("it does not open: {error}"))?;
    let mut found = store.verify().map_err(|error| error.to_string())?;
    for key in effects {
        let record = store.get(NAME, *key).map_err(|error| error.to_string())?;
        let status = record.map(|record| record.status());
        match (acks.contains_key(key), status) {
            (true, Some(Status::Done)) | (false, Some(Status::Done | Status::InDoubt)) => {}
            // Whoever asks runs it, which is what `rerun` is for.
            (false, None) if key.starts_with("rerun") => {}
            (acked, status) => found.push(format!("{key}: acknowledged {acked}, stands {status:?}")),
        }
    }
    for (key, size) in acks.iter().rev().take(4) {
        let replayed: Result<String, Error> =
            call(NAME).store(&store).key(*key).run(|| Ok("again".to_owned()));
        match replayed {
            Ok(value) if value.len() == *size && value.starts_with(&format!("{key}:")) => {}
            other => {
                found
                    .push(format!("{key}: acknowledged {size} bytes, replayed {:?}", other.map(|v| v.len())));
            }
        }
    }
    let lost = effects.iter().filter(|key| key.starts_with("rerun") && !acks.contains_key(*key));
    for key in lost {
        let again = call(NAME).store(&store).key(*key).on_interrupt(OnInterrupt::rerun());
        match again.run(|| Ok::<_, Error>("again".to_owned())) {
            Ok(value) if value == "again" || value.starts_with(&format!("{key}:")) => {}
            other => found.push(format!("{key}: not acknowledged, and then {other:?}")),
        }
    }
    found.extend(numbers_given_twice(image)?);
    Ok(found)
}

/// A number whose record went with the power is another call's afterwards; one on disk never is.
fn numbers_given_twice(image: &Path) -> Result<Option<String>, String> {
    const TWICE: &str = "SELECT count(*) - count(DISTINCT claim), (SELECT claims FROM idem_count) \
                                < max(claim) FROM idem_record HAVING count(*) > 0";
    let conn = Connection::open(image.join("idem.db")).map_err(|error| error.to_string())?;
    let found = conn.query_row(TWICE, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)));
    let found = found.optional().map_err(|error| error.to_string())?;
    Ok(found.filter(|found| *found != (0, false)).map(|found| format!("claim numbers: {found:?}")))
}

fn of_transactions(image: &Path, acks: &BTreeMap<&str, usize>) -> Result<Vec<String>, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let conn = shop(image).map_err(text)?;
    install(&conn).map_err(|error| error.to_string())?;
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(text)?;
    let mut found: Vec<String> = (check != "ok").then_some(check).into_iter().collect();
    for open in 0..OPENS {
        for n in 0..CALLS {
            let key = format!("tx-{open}-{n}");
            let count = "SELECT count(*) FROM effect WHERE key = ?1";
            let rows: i64 = conn.query_row(count, [&key], |row| row.get(0)).map_err(text)?;
            let count = "SELECT count(*) FROM idem_record WHERE key = ?1 AND status = 3";
            let records: i64 = conn.query_row(count, [&key], |row| row.get(0)).map_err(text)?;
            if rows != records || acks.contains_key(key.as_str()) && rows != 1 {
                found.push(format!(
                    "{key}: {rows} rows, {records} records, acknowledged {}",
                    acks.contains_key(&*key)
                ));
            }
        }
    }
    Ok(found)
}
