//! The rows of owners.

use rusqlite::{Connection, OptionalExtension, params};

use crate::locks::owner_lock::OwnerFacts;
use crate::sqlite::records::ReadError;
use crate::sqlite::write_transaction::WriteTransaction;

/// Makes a random token for a new owner.
pub(crate) fn new_token(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))
}

/// Reads the token and the facts of an owner. `None` if there is no row.
pub(crate) fn get(conn: &Connection, number: i64) -> Result<Option<(String, OwnerFacts)>, ReadError> {
    let mut statement = conn.prepare_cached(
        "SELECT token, pid, pid_start, pid_space, boot_id, host FROM main.idem_owner WHERE number = ?1",
    )?;
    let owner = statement.query_row([number], |row| {
        let facts = OwnerFacts {
            pid: row.get(1)?,
            pid_start: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
            pid_space: row.get(3)?,
            boot_id: row.get(4)?,
            host: row.get(5)?,
        };
        Ok((row.get(0)?, facts))
    });
    Ok(owner.optional()?)
}

/// Inserts an owner. Returns its number.
pub(crate) fn insert(conn: &Connection, token: &str, facts: &OwnerFacts) -> rusqlite::Result<i64> {
    let pid_start = facts.pid_start.map(u64::cast_signed);
    conn.execute(
        "INSERT INTO main.idem_owner (token, pid, pid_start, pid_space, boot_id, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![token, facts.pid, pid_start, facts.pid_space, facts.boot_id, facts.host],
    )?;
    Ok(conn.last_insert_rowid())
}

/// The numbers of all owners.
pub(crate) fn numbers(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare("SELECT number FROM main.idem_owner")?;
    let numbers = statement.query_map([], |row| row.get(0))?;
    numbers.collect()
}

/// Deletes the row of an owner.
pub(crate) fn delete(conn: &Connection, number: i64) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM main.idem_owner WHERE number = ?1", [number]).map(drop)
}

/// Deletes the row of an owner in a transaction, unless running records name the owner. Returns the number of these
/// records.
pub(crate) fn delete_unless_running(conn: &Connection, number: i64) -> rusqlite::Result<i64> {
    const RUNNING: &str = "SELECT count(*) FROM main.idem_record WHERE status = 1 AND owner = ?1";
    let transaction = WriteTransaction::begin(conn)?;
    let running: i64 = transaction.query_row(RUNNING, [number], |row| row.get(0))?;
    if running == 0 {
        delete(&transaction, number)?;
    }
    transaction.commit()?;
    Ok(running)
}
