//! A row in a ledger and its record in one commit: a power failure leaves both or neither.
//!
//! `tx = conn` writes the record in the database of the connection, in the transaction of the row. Without an open
//! transaction, a call is one transaction. Inside a transaction of yours, a call is part of it, so a batch of messages
//! costs one commit and one fsync.
//!
//! ```text
//! cargo run --example transaction
//! ```

#![expect(clippy::print_stdout, reason = "the example prints its steps")]

use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use idem_runtime::{Store, idempotent};
use rusqlite::{Connection, TransactionBehavior};
use serde::Serialize;

type Failure = Box<dyn Error>;

/// A message of a queue that delivers at least once.
#[derive(Debug, Serialize)]
struct Message {
    id: String,
    account: i64,
    cents: i64,
}

/// Posts a message to the ledger once, and returns the number of its row.
#[idempotent(name = "bank.post", key = message.id, tx = conn)]
fn post(conn: &Connection, message: &Message) -> Result<i64, Failure> {
    let mut insert = conn.prepare_cached("INSERT INTO ledger (account, cents) VALUES (?1, ?2)")?;
    insert.execute((message.account, message.cents))?;
    Ok(conn.last_insert_rowid())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transaction: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?; // In your program: the database of the application.
    let path = folder.path().join("bank.db");
    let mut conn = open(&path)?;

    let begun = Instant::now();
    messages(0..200).try_for_each(|message| post(&conn, &message).map(drop))?;
    println!("200 messages, a commit each: {:>7.1?}", begun.elapsed());

    let begun = Instant::now();
    post_batch(&mut conn, 200..400)?;
    println!("200 messages in one commit:  {:>7.1?}", begun.elapsed());
    print_counts(&conn, &path, "afterwards")?;

    post_batch(&mut conn, 0..400)?;
    print_counts(&conn, &path, "all delivered again")?;

    roll_back(&mut conn, 400..500)?;
    print_counts(&conn, &path, "100 more, rolled back")?;

    post_batch(&mut conn, 400..500)?;
    print_counts(&conn, &path, "the same 100, committed")?;
    Ok(())
}

/// Opens the application's database, with the tables for records beside its own tables.
#[expect(clippy::disallowed_methods, reason = "the path does not begin with `file:`")]
fn open(path: &Path) -> Result<Connection, Failure> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE ledger (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, cents INTEGER NOT NULL) STRICT;",
    )?;
    idem_runtime::install(&conn)?;
    Ok(conn)
}

fn messages(numbers: Range<i64>) -> impl Iterator<Item = Message> {
    numbers.map(|number| Message { id: format!("M-{number}"), account: number % 7, cents: 100 + number })
}

/// Posts many messages in one transaction. IMMEDIATE keeps other writers out between its reads and its writes.
fn post_batch(conn: &mut Connection, numbers: Range<i64>) -> Result<(), Failure> {
    let batch = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for message in messages(numbers) {
        post(&batch, &message)?;
    }
    // After the commit, rows and records are on disk. Acknowledge the messages then.
    batch.commit()?;
    Ok(())
}

/// Posts many messages in one transaction, and rolls it back.
fn roll_back(conn: &mut Connection, numbers: Range<i64>) -> Result<(), Failure> {
    let batch = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for message in messages(numbers) {
        post(&batch, &message)?;
    }
    batch.rollback()?;
    Ok(())
}

fn print_counts(conn: &Connection, path: &Path, when: &str) -> Result<(), Failure> {
    let rows: i64 = conn.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0))?;
    // A shared store lists, settles and purges the records in an application's database.
    let store = Store::builder().shared().open(path)?;
    let records = store.stats()?.records;
    store.close()?;
    println!("{when:<24} {rows:>4} rows in the ledger, {records:>4} records");
    Ok(())
}
