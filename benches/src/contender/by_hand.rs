//! The handwritten alternative: a connection behind a mutex, insert-or-ignore, then update.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::Contender;
use crate::lap::Caller;
use crate::{Outcome, result};

/// Opens a connection in WAL mode with `synchronous = FULL`, as the runtime does.
///
/// # Errors
/// If the database cannot be opened.
pub fn connect(path: &Path, table: &str) -> Outcome<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::default())?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("the database stays in journal mode `{mode}`").into());
    }
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000")?;
    conn.execute_batch(table)?;
    Ok(conn)
}

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, done INTEGER NOT NULL, result BLOB)";

/// `Mutex<Connection>`.
#[derive(Debug)]
pub struct ByHand {
    conn: Mutex<Connection>,
}

impl ByHand {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<ByHand> {
        Ok(ByHand { conn: Mutex::new(connect(&folder.join("by-hand.db"), TABLE)?) })
    }
}

impl Contender for ByHand {
    fn name(&self) -> &'static str {
        "Mutex<Connection>"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(ByHandCaller(&self.conn)))
    }
}

struct ByHandCaller<'a>(&'a Mutex<Connection>);

impl ByHandCaller<'_> {
    fn execute(&self, sql: &str, parameters: impl rusqlite::Params) -> Outcome<usize> {
        let conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(conn.prepare_cached(sql)?.execute(parameters)?)
    }
}

impl Caller for ByHandCaller<'_> {
    fn first(&mut self, key: &str) -> Outcome<()> {
        let claimed = self.execute("INSERT OR IGNORE INTO calls (key, done) VALUES (?1, 0)", [key])?;
        if claimed == 0 {
            return Err("the key is taken".into());
        }
        let result = result();
        self.execute("UPDATE calls SET done = 1, result = ?2 WHERE key = ?1", (key, result.as_bytes()))?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        let conn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = conn.prepare_cached("SELECT result FROM calls WHERE key = ?1 AND done = 1")?;
        let found: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
        found.map(drop).ok_or_else(|| "there is no result".into())
    }
}
