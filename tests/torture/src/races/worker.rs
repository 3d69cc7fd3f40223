//! One of the processes: it executes the commands of its input, line by line.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use idem_runtime::{Error, OnInterrupt, Store};
use rusqlite::Connection;

use crate::shared::call;

const WORKERS: usize = 8;
const LEASE_MS: i64 = 20;

/// `FOLDER`; lines are `ROUND MODE KEYS BODY_US`, the answer is `done ROUND`.
pub(crate) fn child(args: &[&str]) {
    let [folder] = *args else { panic!("{args:?}") };
    let folder = PathBuf::from(folder);
    // Each process runs checkpoints all the time.
    let store = Store::builder().log_bytes(0).open(folder.join("idem.db")).expect("a store");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let [round, mode, keys, body_us] = words[..] else { panic!("`{line}`") };
        let (keys, body_us): (usize, u64) =
            (keys.parse().expect("a number"), body_us.parse().expect("a number"));
        let desk =
            Desk { store: store.clone(), folder: folder.clone(), body: Duration::from_micros(body_us) };
        let name = round.trim_start_matches("again-");
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let desk = &desk;
                scope.spawn(move || {
                    for n in 0..keys {
                        desk.make(mode, &format!("{name}k{}", (n + worker) % keys));
                    }
                });
            }
        });
        say(&format!("done {round}"));
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).expect("a pipe");
}

struct Desk {
    store: Store,
    folder: PathBuf,
    body: Duration,
}

impl Desk {
    fn write(&self, line: &str) {
        let mut ledger =
            OpenOptions::new().append(true).create(true).open(self.folder.join("ledger")).expect("a ledger");
        ledger.write_all(format!("{line}\n").as_bytes()).expect("a line");
    }

    fn make(&self, mode: &str, key: &str) {
        let answer = match mode {
            "lease" => Ok(self.with_lease(key)),
            mode => self.call(mode, key),
        };
        let pid = std::process::id();
        match answer {
            Ok(value) => self.write(&format!("{key} ok {value}")),
            Err(error) => self.write(&format!("{key} err {pid} {:?} {error}", error.kind())),
        }
    }

    fn call(&self, mode: &str, key: &str) -> Result<String, Error> {
        let mode = if mode == "rerun" { OnInterrupt::rerun_unlimited() } else { OnInterrupt::Refuse };
        let call = call("torture.race").store(&self.store).key(key).on_interrupt(mode);
        call.run(|| Ok(self.body(key)))
    }

    fn body(&self, key: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let value = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.write(&format!("{key} begin {value}"));
        say(&format!("began {key}"));
        thread::sleep(self.body);
        self.write(&format!("{key} end {value}"));
        value
    }

    /// The control: the holder of a lease counts as alive while it lasts, and as dead after it.
    fn with_lease(&self, key: &str) -> String {
        let conn = leases(&self.folder);
        loop {
            let now_ms =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_millis();
            let now_ms = i64::try_from(now_ms).expect("this era");
            let claim = "INSERT INTO lease VALUES (?1, ?2, NULL) ON CONFLICT (key)
                         DO UPDATE SET until = ?2 WHERE value IS NULL AND until < ?3";
            let claimed = conn.execute(claim, (key, now_ms + LEASE_MS, now_ms)).expect("a statement");
            if claimed > 0 {
                let value = self.body(key);
                conn.execute("UPDATE lease SET value = ?2 WHERE key = ?1", [key, &value])
                    .expect("a statement");
                return value;
            }
            let value: Option<String> = conn
                .query_row("SELECT value FROM lease WHERE key = ?1", [key], |row| row.get(0))
                .expect("a row");
            if let Some(value) = value {
                return value;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn leases(folder: &Path) -> Connection {
    let conn = Connection::open(folder.join("lease.db")).expect("a database");
    conn.busy_timeout(Duration::from_secs(30)).expect("a timeout");
    let make = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
                CREATE TABLE IF NOT EXISTS lease (key TEXT PRIMARY KEY, until INTEGER, value TEXT)";
    conn.execute_batch(make).expect("a table");
    conn
}
