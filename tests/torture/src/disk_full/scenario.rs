//! Three calls on a disk that fails, and the same calls when it works again.

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store};
use rusqlite::{Connection, OptionalExtension};

use crate::shared::call;
use crate::vfs;

pub(super) const NAME: &str = "torture.power";
/// The first word is the `on_interrupt` of the call.
const KEYS: [&str; 3] = ["refuse-1", "rerun-2", "refuse-3"];
/// What is pending is written so soon after the disk works again.
const SOON: Duration = Duration::from_secs(8);

pub(super) struct Scenario {
    pub(super) store: Store,
    hand: Connection,
    failed: Cell<usize>,
}

impl Scenario {
    pub(super) fn new(folder: &Path) -> Scenario {
        let builder = Store::builder().record_within(Duration::from_millis(120)).log_bytes(0);
        let store = builder.open(folder.join("idem.db")).expect("a store");
        let hand = Connection::open(folder.join("hand.db")).expect("a database");
        let make =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE done (key TEXT, value TEXT)";
        hand.execute_batch(make).expect("a table");
        Scenario { store, hand, failed: Cell::new(0) }
    }

    /// Closes the store, unless it is broken: that would wait for what it has lost.
    pub(super) fn end(self, found: &[String]) {
        if !found.is_empty() {
            std::mem::forget(self.store);
        }
    }

    /// How many calls of the disk failed.
    pub(super) fn failed(&self) -> usize {
        self.failed.get()
    }

    pub(super) fn of_calls(&self) -> Vec<String> {
        self.calls(
            |_| (),
            || {
                self.failed.set(vfs::failed());
                vfs::fail(None);
            },
        )
    }

    /// `in_body` gets the key; `heal` makes the disk work again.
    pub(super) fn calls(&self, in_body: impl Fn(&str), heal: impl FnOnce()) -> Vec<String> {
        let mut found = Vec::new();
        let mut ran = [0; 3];
        for (key, ran) in KEYS.into_iter().zip(&mut ran) {
            let answer = self.call(key, || {
                in_body(key);
                *ran += 1;
            });
            found.extend(wrong_answer(key, *ran, &answer));
        }
        heal();
        for (key, ran) in KEYS.into_iter().zip(&mut ran) {
            if *ran > 0 && !self.is_done_soon(key) {
                found.push(format!(
                    "{key}: what was pending is not written, it stands {:?}",
                    self.status(key)
                ));
                continue;
            }
            match self.call(key, || *ran += 1) {
                Ok(value) if value == value_of(key) && *ran == 1 => {}
                other => found.push(format!("{key}: {other:?} on a healthy disk, {ran} effects")),
            }
        }
        found
    }

    fn call(&self, key: &str, effect: impl FnOnce()) -> Result<String, Error> {
        let mode = if key.starts_with("rerun") { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
        let call = call(NAME).store(&self.store).key(key).on_interrupt(mode).wait(Duration::from_millis(300));
        let answer: Result<String, Error> = call.run(|| {
            vfs::mark(format!("effect {key}"));
            effect();
            Ok(value_of(key))
        });
        match &answer {
            Ok(value) => vfs::mark(format!("ack {key} {}", value.len())),
            Err(error) if error.ran() == Ran::No => vfs::mark(format!("refused {key}")),
            Err(_) => {}
        }
        answer
    }

    fn status(&self, key: &str) -> Option<Status> {
        self.store.get(NAME, key).ok().flatten().map(|record| record.status())
    }

    fn is_done_soon(&self, key: &str) -> bool {
        let limit = Instant::now() + SOON;
        while self.status(key) != Some(Status::Done) {
            if Instant::now() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// The control: the effect, then a record without a retry.
    pub(super) fn by_hand(&self, in_body: impl Fn(&str), heal: impl FnOnce()) -> Vec<String> {
        let mut ran = [0; 3];
        let once = |key: &str, ran: &mut i32| {
            let select = "SELECT value FROM done WHERE key = ?1";
            let known: Result<Option<String>, _> =
                self.hand.query_row(select, [key], |row| row.get(0)).optional();
            if let Ok(None) = known {
                in_body(key);
                *ran += 1;
                let _ = self.hand.execute("INSERT INTO done VALUES (?1, ?2)", [key, &value_of(key)]);
            }
        };
        KEYS.into_iter().zip(&mut ran).for_each(|(key, ran)| once(key, ran));
        heal();
        KEYS.into_iter().zip(&mut ran).for_each(|(key, ran)| once(key, ran));
        ran.into_iter().filter(|ran| *ran != 1).map(|ran| format!("{ran} effects")).collect()
    }

    /// The same on a disk of the harness's own.
    pub(super) fn of_hand(&self) -> Vec<String> {
        self.by_hand(|_| (), || vfs::fail(None))
    }
}

pub(super) fn value_of(key: &str) -> String {
    format!("{key}:{}", "x".repeat(6_000))
}

/// An answer on a failing disk must be right about whether the body ran.
fn wrong_answer(key: &str, ran: i32, answer: &Result<String, Error>) -> Option<String> {
    let is_right = match answer {
        Ok(value) => ran == 1 && *value == value_of(key),
        Err(error) if ran == 0 => {
            error.ran() == Ran::No && matches!(error.kind(), ErrorKind::Store | ErrorKind::DiskFull)
        }
        Err(error) => error.ran() == Ran::Yes && error.kind() == ErrorKind::NotRecorded,
    };
    (!is_right).then(|| format!("{key}: {ran} effects and {:?}", answer.as_ref().map(String::len)))
}
