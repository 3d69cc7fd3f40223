//! The two counters of a store: the highest claim number ever issued, and the number of records.
//!
//! One row holds both, so a claim changes one page and one statement writes both. A transaction that changes records ends
//! with [`write`].

use rusqlite::{Connection, params};

/// The highest claim number ever issued. Deleting a record does not free its number.
pub(crate) fn claims_issued(conn: &Connection) -> rusqlite::Result<u64> {
    let issued: i64 = conn
        .prepare_cached("SELECT claims FROM main.idem_count WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    u64::try_from(issued).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, issued))
}

/// The number of records that the counter expects.
pub(crate) fn expected_records(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT records FROM main.idem_count WHERE id = 1", [], |row| row.get(0))
}

/// Writes the highest claim number issued, and adds `added` to the number of records.
pub(crate) fn write(conn: &Connection, issued: Option<u64>, added: i64) -> rusqlite::Result<()> {
    const WRITE: &str =
        "UPDATE main.idem_count SET claims = max(claims, ?1), records = records + ?2 WHERE id = 1";
    if issued.is_none() && added == 0 {
        return Ok(());
    }
    let written = conn.prepare_cached(WRITE)?.execute(params![issued.unwrap_or(0).cast_signed(), added])?;
    if written == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// The records found and the records expected, if the two differ.
///
/// SQLite accepts an old copy of the database beside a newer WAL. The counter then comes from the WAL, because every claim
/// writes its page, and the records come from the copy.
pub(crate) fn lost_records(conn: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    // One statement sees one state of the store. The table is counted; the integrity check compares the indexes with the table.
    let counts = conn.query_row(
        "SELECT (SELECT count(*) FROM main.idem_record NOT INDEXED), (SELECT records FROM main.idem_count WHERE id = 1)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((counts.0 != counts.1).then_some(counts))
}

/// Sets the expected number of records to the number found.
pub(crate) fn accept_records(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE main.idem_count SET records = (SELECT count(*) FROM main.idem_record) WHERE id = 1",
        [],
    )
    .map(drop)
}
