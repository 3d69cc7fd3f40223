//! Lower bounds: the disk and `SQLite` without the runtime.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rusqlite::{Connection, params};

use super::Contender;
use super::by_hand::connect;
use crate::lap::{Caller, Lap, repeated};
use crate::{Outcome, key, result};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, done INTEGER NOT NULL, result BLOB)";
const CLAIM: &str = "INSERT OR IGNORE INTO calls (key, done) VALUES (?1, 0)";
const COMPLETE: &str = "UPDATE calls SET done = 1, result = ?2 WHERE key = ?1";
const FINISHED: &str = "INSERT INTO calls (key, done, result) VALUES (?1, 1, ?2)";

/// One write, and the channel for its commit.
type Request = (String, Option<String>, SyncSender<()>);

/// The rows that a call sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A claim, and then a completion.
    ClaimAndCompletion,
    /// The finished row only, which protects from nothing.
    FinishedRow,
}

/// Writes through a channel to one thread, which commits all that have arrived.
#[derive(Debug)]
pub struct Channel {
    sent: Sent,
    requests: Option<Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Channel {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path, sent: Sent) -> Outcome<Channel> {
        let conn = connect(&folder.join("bare-channel.db"), TABLE)?;
        let (requests, incoming) = channel();
        // If the commit fails, its callers get no answer and return an error.
        let writer = thread::spawn(move || drop(write(&conn, sent, &incoming)));
        Ok(Channel { sent, requests: Some(requests), writer: Some(writer) })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write(conn: &Connection, sent: Sent, incoming: &Receiver<Request>) -> rusqlite::Result<()> {
    let with_result = if sent == Sent::FinishedRow { FINISHED } else { COMPLETE };
    while let Ok(first) = incoming.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(incoming.try_iter()).collect();
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for (key, result, _) in &batch {
            match result {
                None => conn.prepare_cached(CLAIM)?.execute([key])?,
                Some(result) => conn.prepare_cached(with_result)?.execute(params![key, result.as_bytes()])?,
            };
        }
        conn.prepare_cached("COMMIT")?.execute([])?;
        for (_, _, done) in batch {
            let _ = done.send(());
        }
    }
    Ok(())
}

impl Contender for Channel {
    fn name(&self) -> &'static str {
        match self.sent {
            Sent::ClaimAndCompletion => "bare: claim and completion through a channel",
            Sent::FinishedRow => "bare: finished rows through a channel",
        }
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        let requests = self.requests.clone().ok_or("the channel is closed")?;
        Ok(Box::new(Sending { sent: self.sent, requests }))
    }
}

struct Sending {
    sent: Sent,
    requests: Sender<Request>,
}

impl Sending {
    fn write(&self, key: &str, result: Option<String>) -> Outcome<()> {
        let (done, written) = sync_channel(1);
        self.requests.send((key.to_owned(), result, done))?;
        Ok(written.recv()?)
    }
}

impl Caller for Sending {
    fn first(&mut self, key: &str) -> Outcome<()> {
        if self.sent == Sent::ClaimAndCompletion {
            self.write(key, None)?;
        }
        self.write(key, Some(result()))
    }

    fn again(&mut self, _key: &str) -> Outcome<()> {
        Err("it only writes".into())
    }
}

/// Finished rows, inserted by one thread in batches of one row per caller.
#[derive(Debug)]
pub struct Insert(Mutex<Connection>);

impl Insert {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Insert> {
        Ok(Insert(Mutex::new(connect(&folder.join("bare-insert.db"), TABLE)?)))
    }
}

impl Contender for Insert {
    fn name(&self) -> &'static str {
        "bare: finished rows in batches, no callers"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Err("it has no callers".into())
    }

    fn first_calls(&self, callers: usize, keys: Range<u64>) -> Outcome<Lap> {
        let conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<_> = keys.map(key).collect();
        let begun = Instant::now();
        for batch in keys.chunks(callers) {
            conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for key in batch {
                conn.prepare_cached(FINISHED)?.execute(params![key, result().as_bytes()])?;
            }
            conn.prepare_cached("COMMIT")?.execute([])?;
        }
        let elapsed = begun.elapsed();
        Ok(Lap { elapsed, latencies: vec![elapsed; keys.len()] })
    }
}

/// One SELECT of the result by its key, on a separate connection.
#[derive(Debug)]
pub struct Select(Mutex<Connection>);

impl Select {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Select> {
        Ok(Select(Mutex::new(connect(&folder.join("bare-select.db"), TABLE)?)))
    }
}

impl Contender for Select {
    fn name(&self) -> &'static str {
        "bare: cached SELECT"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Err("it has no callers".into())
    }

    fn replays(&self, n: u64, times: usize) -> Outcome<Lap> {
        let conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(n);
        conn.prepare_cached(FINISHED)?.execute(params![key, result().as_bytes()])?;
        repeated(times, || {
            let mut statement = conn.prepare_cached("SELECT result FROM calls WHERE key = ?1")?;
            let _result: Vec<u8> = statement.query_row([&key], |row| row.get(0))?;
            Ok(())
        })
    }
}

/// Appends of pages, each with one fsync. Two are the lower bound of a claim and a completion, one of a call with a
/// single commit.
#[derive(Debug)]
pub struct Fsyncs {
    file: Mutex<File>,
    bytes: Vec<u8>,
    appends: usize,
}

/// The size of a WAL between two checkpoints.
const FILE_BYTES: u64 = 4_000 * PAGE_BYTES;
/// A page and its WAL header.
pub const PAGE_BYTES: u64 = 4_096 + 24;

impl Fsyncs {
    /// Creates a file in `folder` and writes it once, so that later writes change only its contents.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(folder: &Path, pages_per_commit: u64, appends: usize) -> Outcome<Fsyncs> {
        let mut file = File::create(folder.join(format!("bare-fsyncs-{appends}")))?;
        file.write_all(&vec![1; usize::try_from(FILE_BYTES)?])?;
        file.sync_all()?;
        file.rewind()?;
        let bytes = vec![2; usize::try_from(pages_per_commit * PAGE_BYTES)?];
        Ok(Fsyncs { file: Mutex::new(file), bytes, appends })
    }
}

impl Contender for Fsyncs {
    fn name(&self) -> &'static str {
        if self.appends == 1 {
            "bare: one fsync of as many bytes"
        } else {
            "bare: two fsyncs of as many bytes"
        }
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(Appending(self)))
    }
}

struct Appending<'a>(&'a Fsyncs);

impl Caller for Appending<'_> {
    fn first(&mut self, _key: &str) -> Outcome<()> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..self.0.appends {
            if file.stream_position()? + PAGE_BYTES * 16 > FILE_BYTES {
                file.seek(SeekFrom::Start(0))?;
            }
            file.write_all(&self.0.bytes)?;
            // `SQLite` as compiled by `libsqlite3-sys` makes the same system call.
            file.sync_all()?;
        }
        Ok(())
    }

    fn again(&mut self, _key: &str) -> Outcome<()> {
        Err("it only writes".into())
    }
}
