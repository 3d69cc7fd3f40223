//! The two numbers of a store: the highest claim number ever given, and how many records there are.
//!
//! They stand in one row, so a claim changes one page and one statement writes both. Who changes records in a
//! transaction ends it with [`write`].

use rusqlite::{Connection, params};

/// The highest claim number ever issued. It never goes down: deleting a record does not make its number free.
pub(crate) fn claims_issued(conn: &Connection) -> rusqlite::Result<u64> {
    let issued: i64 =
        conn.prepare_cached("SELECT claims FROM idem_count WHERE id = 1")?.query_row([], |row| row.get(0))?;
    u64::try_from(issued).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, issued))
}

/// How many records there should be.
pub(crate) fn records(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT records FROM idem_count WHERE id = 1", [], |row| row.get(0))
}

/// Writes the highest claim number, if one was issued, and by how many the records have become more or fewer.
pub(crate) fn write(conn: &Connection, issued: Option<u64>, added: i64) -> rusqlite::Result<()> {
    const WRITE: &str = "UPDATE idem_count SET claims = max(claims, ?1), records = records + ?2 WHERE id = 1";
    if issued.is_none() && added == 0 {
        return Ok(());
    }
    let written = conn.prepare_cached(WRITE)?.execute(params![issued.unwrap_or(0).cast_signed(), added])?;
    if written == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// How many records there are and how many there should be, if they are not as many.
///
/// An old copy of the database beside a newer log can be whole as far as `SQLite` sees. The number stands on the page that
/// every claim writes, so it comes from the log, and the records from the copy.
pub(crate) fn lost_records(conn: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    // The table itself is counted: its indexes were compared with it.
    // Both in one statement, which sees one state of the store.
    let counts = conn.query_row(
        "SELECT (SELECT count(*) FROM idem_record NOT INDEXED), (SELECT records FROM idem_count WHERE id = 1)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((counts.0 != counts.1).then_some(counts))
}

/// Takes the records there are for all there should be.
pub(crate) fn accept_records(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("UPDATE idem_count SET records = (SELECT count(*) FROM idem_record) WHERE id = 1", [])
        .map(drop)
}
