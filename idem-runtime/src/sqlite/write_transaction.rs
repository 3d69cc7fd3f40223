//! A write transaction of ours, with the lock taken at once.

use std::ops::Deref;

use rusqlite::Connection;

/// Rolled back when it is dropped.
///
/// rusqlite's own compiles its BEGIN and its COMMIT anew each time, which is a twentieth of a lone first call.
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
            // What fails here ends with the connection at the latest.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}
