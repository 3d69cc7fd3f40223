//! Exactly once in a database of your own: `on_interrupt = rerun` and a `UNIQUE` column for the token.
//!
//! After a crash the call runs again, and the database ignores a row with a known token. The example uses SQLite
//! through sqlx; the statement works in PostgreSQL as well.
//!
//! ```text
//! cargo run -- recipe --crash-after inserted
//! cargo run -- recipe
//! ```
//!
//! The token is a column of the row, so both are written at once. An effect of several statements needs a transaction
//! around them and a row with the token.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use idem_runtime::{Store, current, idempotent};
use serde::Serialize;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Serialize)]
struct Posting {
    id: String,
    account: i64,
    cents: i64,
}

/// The database of the postings.
#[derive(Debug)]
struct Ledger {
    pool: SqlitePool,
    crash_after: Option<String>,
}

/// Posts once, and returns the number of the row, which any attempt can have written.
#[idempotent(name = "bank.post", key = posting.id, skip(ledger), on_interrupt = rerun(unlimited))]
async fn post(ledger: &Ledger, posting: &Posting) -> Result<i64, Failure> {
    let call = current().ok_or("a posting needs a running idempotent call")?;
    let token = call.token();
    println!("attempt {} with token {token}", call.attempt());
    ledger.crash_after("begun");
    sqlx::query(
        "INSERT INTO posting (token, account, cents) VALUES (?, ?, ?) ON CONFLICT (token) DO NOTHING",
    )
    .bind(&token)
    .bind(posting.account)
    .bind(posting.cents)
    .execute(&ledger.pool)
    .await?;
    ledger.crash_after("inserted");
    let number = sqlx::query_scalar("SELECT id FROM posting WHERE token = ?").bind(&token);
    Ok(number.fetch_one(&ledger.pool).await?)
}

impl Ledger {
    /// Opens or creates the database. With `synchronous = FULL`, a power failure loses no recorded row.
    async fn open(path: &Path, crash_after: Option<String>) -> Result<Ledger, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePool::connect_with(options).await?;
        let table = "CREATE TABLE IF NOT EXISTS posting (
            id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, account INTEGER NOT NULL, cents INTEGER NOT NULL
        ) STRICT";
        sqlx::query(table).execute(&pool).await?;
        Ok(Ledger { pool, crash_after })
    }

    fn crash_after(&self, moment: &str) {
        if self.crash_after.as_deref() == Some(moment) {
            println!("crash after `{moment}`");
            process::abort();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [folder] => run(folder.into(), None).await,
        [folder, "--crash-after", moment @ ("begun" | "inserted")] => {
            run(folder.into(), Some((*moment).to_owned())).await
        }
        _ => Err("expected a folder, and optionally `--crash-after begun|inserted`".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqlx-recipe: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(folder: PathBuf, crash_after: Option<String>) -> Result<(), Failure> {
    std::fs::create_dir_all(&folder)?;
    let store = Store::open(folder.join("idem.db"))?;
    idem_runtime::init(store.clone())?;
    let ledger = Ledger::open(&folder.join("theirs.db"), crash_after).await?;

    let number = post(&ledger, &Posting { id: "P-1".into(), account: 7, cents: 1_250 }).await?;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM posting").fetch_one(&ledger.pool).await?;
    println!("posted as row {number} of {rows}");

    ledger.pool.close().await;
    store.close()?;
    Ok(())
}
