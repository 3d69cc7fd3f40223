//! Another process holds the write lock, and is stopped with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, Ran, Status, Store};
use rusqlite::Connection;

use super::scenario::NAME;
use crate::frame::{self, Options, Report, fast_folder};
use crate::shared::call;

const CALLS: usize = 16;

/// `DATABASE`: begins a transaction at the first line and ends it with the input.
pub(crate) fn child(args: &[&str]) {
    let [database] = *args else { panic!("{args:?}") };
    let conn = Connection::open(database).expect("a database");
    conn.busy_timeout(Duration::from_secs(30)).expect("a timeout");
    conn.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    std::io::stdout().write_all(b"held\n").expect("a pipe");
    let _ = std::io::stdin().read(&mut [0]);
    conn.execute_batch("ROLLBACK").expect("an end");
}

struct Holder(Child);

impl Holder {
    /// Returns once the write lock is held.
    fn start(database: &Path) -> Holder {
        let mut command = frame::child("disk");
        let mut child =
            command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "held\n");
        Holder(child)
    }

    fn send(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(status.expect("`kill`").success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub(super) fn run(options: &Options) -> Report {
    let mut report = Report::new("another process holds the write lock (stopped or not) while 16 bodies end");
    if cfg!(not(unix)) {
        return Report::skipped("a held write lock", "needs signals");
    }
    let holds_ms: &[u64] = if options.short { &[400] } else { &[50, 400, 1_500, 5_000] };
    let mut worst = Worst::default();
    for is_stopped in [false, true] {
        for hold_ms in holds_ms {
            for patience_ms in [100, 20_000] {
                let hold = Duration::from_millis(*hold_ms);
                // Its refusal takes seconds.
                let asks = !options.short || !is_stopped && patience_ms == 100;
                let found = once(hold, is_stopped, Duration::from_millis(patience_ms), asks, &mut worst);
                let about = format!("held for {hold:?}, stopped {is_stopped}, patience {patience_ms} ms");
                report.point(found.into_iter().map(|what| format!("{about}: {what}")).collect());
            }
        }
    }
    report.note(format!("worst {worst:.1?}"));
    report.control("an INSERT that does not wait, by hand", by_hand());
    report
}

/// The longest of each.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Worst {
    /// Until a claim with a `wait` of 20 ms was refused.
    refusal: Duration,
    /// From the end of the hold until all outcomes were written.
    writing: Duration,
}

/// Bodies end while the lock is held: `Ok` later, or `NotRecorded` now, and recorded in any case.
fn once(hold: Duration, is_stopped: bool, patience: Duration, asks: bool, worst: &mut Worst) -> Vec<String> {
    let folder = fast_folder();
    let store =
        Store::builder().record_within(patience).open(folder.path().join("idem.db")).expect("a store");
    let begun = std::sync::Barrier::new(CALLS + 1);
    let ends = std::sync::Barrier::new(CALLS + 1);
    let mut found = Vec::new();
    let mut released = Instant::now();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS)
            .map(|n| {
                let (store, begun, ends) = (&store, &begun, &ends);
                scope.spawn(move || -> Result<usize, Error> {
                    call(NAME).store(store).key(&n).run(|| {
                        begun.wait();
                        ends.wait();
                        Ok(n)
                    })
                })
            })
            .collect();
        begun.wait();
        let holder = Holder::start(store.path());
        if is_stopped {
            holder.send("-STOP");
        }
        ends.wait();
        if asks {
            found.extend(refused_claim(&store, worst));
        }
        thread::sleep(hold);
        if is_stopped {
            holder.send("-CONT");
        }
        drop(holder);
        released = Instant::now();
        for (n, call) in calls.into_iter().enumerate() {
            match call.join().expect("no panic") {
                Ok(value) if value == n => {}
                Err(error) if error.kind() == ErrorKind::NotRecorded && patience <= hold + hold => {}
                other => found.push(format!("call {n}: {other:?}")),
            }
        }
    });
    let limit = Instant::now() + Duration::from_secs(5);
    let is_done = |n: &usize| {
        store.get(NAME, n).expect("a readable store").is_some_and(|record| record.status() == Status::Done)
    };
    while !(0..CALLS).all(|n| is_done(&n)) && Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
    }
    worst.writing = worst.writing.max(released.elapsed());
    found.extend((0..CALLS).filter(|n| !is_done(n)).map(|n| format!("call {n} is lost")));
    if !found.is_empty() {
        // Closing would wait for what is lost.
        std::mem::forget(store);
    }
    found
}

/// A claim behind a foreign lock fails closed.
fn refused_claim(store: &Store, worst: &mut Worst) -> Option<String> {
    let asked = Instant::now();
    let wait = Duration::from_millis(20);
    let answer: Result<usize, Error> = call(NAME).store(store).key("late").wait(wait).run(|| Ok(0));
    worst.refusal = worst.refusal.max(asked.elapsed());
    let is_closed =
        answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Store && error.ran() == Ran::No);
    (!is_closed).then(|| format!("a claim behind a foreign lock: {answer:?}"))
}

/// The control: a record that is lost where the lock is held.
fn by_hand() -> usize {
    let folder = fast_folder();
    let path = folder.path().join("hand.db");
    let conn = Connection::open(&path).expect("a database");
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE done (key INTEGER)").expect("a table");
    conn.busy_timeout(Duration::from_millis(10)).expect("a timeout");
    let holder = Holder::start(&path);
    let lost = (0..CALLS).filter(|_| conn.execute("INSERT INTO done VALUES (1)", []).is_err()).count();
    drop(holder);
    lost
}
