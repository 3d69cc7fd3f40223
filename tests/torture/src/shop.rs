//! The application that calls stand in for.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

/// Its own database, made if it is not there.
pub(crate) fn shop(folder: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(folder.join("shop.db"))?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS effect (key TEXT, value TEXT)",
    )?;
    Ok(conn)
}
