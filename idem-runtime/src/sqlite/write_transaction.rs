//! A transaction that takes the write lock when it begins.

use std::ops::Deref;

use rusqlite::Connection;

/// A write transaction. Dropping it without a commit rolls it back.
///
/// rusqlite's transaction compiles its BEGIN and its COMMIT each time, which costs a twentieth of a lone first call.
#[derive(Debug)]
pub(crate) struct WriteTransaction<'conn> {
    conn: &'conn Connection,
}

impl<'conn> WriteTransaction<'conn> {
    pub(crate) fn begin(conn: &'conn Connection) -> rusqlite::Result<WriteTransaction<'conn>> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(WriteTransaction { conn })
    }

    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl Drop for WriteTransaction<'_> {
    fn drop(&mut self) {
        if !self.conn.is_autocommit() {
            // If the rollback fails, closing the connection ends the transaction.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}
