//! Reads of records. Every row is checked before it counts as a record.

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, Row, params};

use crate::backend::Selection;
use crate::encoding::digest::Slot;
use crate::protocol::record::{Record, RecordRef};
use crate::sqlite::row::Columns;

/// Upper limit of the results in one page of records, in bytes. A page of 1,000 large results could need a gigabyte.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Why a record was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Sqlite(rusqlite::Error),
    /// The row exists and fails its checks.
    Damaged(&'static str),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        ReadError::Sqlite(error)
    }
}

/// Reads one record by its slot (the unique index).
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the path of the method has one lifetime instead of any"
)]
pub(crate) fn get(conn: &Connection, slot: &Slot) -> Result<Option<Record>, ReadError> {
    visit(conn, slot, |record| record.to_record())
}

/// Shows one record in place to `visitor`, without a copy. Returns what `visitor` returns.
pub(crate) fn visit<T>(
    conn: &Connection,
    slot: &Slot,
    visitor: impl FnOnce(&RecordRef<'_>) -> T,
) -> Result<Option<T>, ReadError> {
    // The text is short because every lookup of a prepared statement hashes the text.
    const GET: &str = "SELECT name,key,status,claim,owner,facts,result FROM main.idem_record WHERE slot=?1";
    let mut statement = conn.prepare_cached(GET)?;
    let mut rows = statement.query([slot.as_slice()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    read_in_place(row, slot).map(|record| Some(visitor(&record)))
}

/// Reads finished records whose purge time is at or before `before_ms`, the oldest first (index `idem_purge`).
///
/// The time in the index is an estimate; the caller checks each record's age.
pub(crate) fn purgeable(conn: &Connection, before_ms: i64, limit: u32) -> Result<Vec<Record>, ReadError> {
    const PURGEABLE: &str = "SELECT name, key, status, claim, owner, facts, result, slot
        FROM main.idem_record WHERE purge_ms <= ?1 ORDER BY purge_ms LIMIT ?2";
    let mut statement = conn.prepare_cached(PURGEABLE)?;
    let mut rows = statement.query(params![before_ms, limit])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()?
        && bytes < PAGE_BYTES_MAX
    {
        // A damaged row stays: the next call with its key gets the error.
        if let Ok(record) = read(row) {
            bytes += result_bytes(&record);
            records.push(record);
        }
    }
    Ok(records)
}

/// Counts the unfinished records (index `idem_open`).
pub(crate) fn count_unfinished(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM main.idem_record WHERE status IN (1, 2)", [], |row| row.get(0))
}

/// Reads the slots of an owner's running records (index `idem_open`).
pub(crate) fn running_slots(conn: &Connection, owner: i64) -> rusqlite::Result<Vec<Slot>> {
    let mut statement = conn.prepare("SELECT slot FROM main.idem_record WHERE status = 1 AND owner = ?1")?;
    statement.query_map([owner], |row| row.get(0))?.collect()
}

/// A record with its number; `Err` for a damaged record.
pub(crate) type Listed = (i64, Result<Record, ReadError>);

/// Reads a page of records. The next page begins after the last record. Only the end of the list is an empty page.
///
/// If the numbers are out of order, pages of the database are in wrong places. The list then fails, because otherwise
/// it might never end.
pub(crate) fn select(conn: &Connection, selection: &Selection<'_>) -> Result<Vec<Listed>, ReadError> {
    const ALL: &str = "SELECT name, key, status, claim, owner, facts, result, slot, id
        FROM main.idem_record
        WHERE id > ?1 AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR substr(key, 1, length(?3)) = ?3)
        ORDER BY id LIMIT ?4";
    const UNFINISHED: &str = "SELECT name, key, status, claim, owner, facts, result, slot, id
        FROM main.idem_record
        WHERE status IN (1, 2) AND id > ?1 AND (?2 IS NULL OR name = ?2)
            AND (?3 IS NULL OR substr(key, 1, length(?3)) = ?3)
        ORDER BY id LIMIT ?4";
    let mut statement = conn.prepare_cached(if selection.unfinished { UNFINISHED } else { ALL })?;
    let mut rows =
        statement.query(params![selection.after, selection.name, selection.key_prefix, selection.limit])?;
    let (mut found, mut bytes, mut last) = (Vec::new(), 0, selection.after);
    while let Some(row) = rows.next()?
        && bytes < PAGE_BYTES_MAX
    {
        let number = row.get(8)?;
        if number <= last {
            return Err(ReadError::Damaged("its number is out of order"));
        }
        last = number;
        let record = read(row);
        bytes += record.as_ref().map_or(0, result_bytes);
        found.push((number, record));
    }
    Ok(found)
}

fn result_bytes(record: &Record) -> usize {
    record.result.as_ref().map_or(0, |result| result.bytes.len())
}

/// Reads a record from a row with a slot.
fn read(row: &Row<'_>) -> Result<Record, ReadError> {
    let slot = row.get(7).map_err(unreadable)?;
    read_in_place(row, &slot).map(|record| record.to_record())
}

/// Checks a row and borrows its record: every value has its type, the checksum matches, and the record is valid.
fn read_in_place<'r>(row: &'r Row<'_>, slot: &'r Slot) -> Result<RecordRef<'r>, ReadError> {
    columns(row, slot).map_err(unreadable)?.record().map_err(ReadError::Damaged)
}

fn unreadable(error: rusqlite::Error) -> ReadError {
    match error {
        rusqlite::Error::SqliteFailure(..) => ReadError::Sqlite(error),
        _ => ReadError::Damaged("a column holds a value of the wrong kind"),
    }
}

fn columns<'r>(row: &'r Row<'_>, slot: &'r Slot) -> rusqlite::Result<Columns<'r>> {
    Ok(Columns {
        slot,
        name: text(row, 0)?,
        key: text(row, 1)?,
        status: row.get(2)?,
        claim: row.get(3)?,
        owner: row.get(4)?,
        facts: row.get_ref(5)?.as_blob()?,
        result: row.get_ref(6)?.as_blob_or_null()?,
    })
}

/// Borrows a text as bytes. The checksum covers bytes, so a check for UTF-8 is not needed.
fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r [u8]> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) => Ok(bytes),
        _ => Err(FromSqlError::InvalidType.into()),
    }
}
