//! Every statement on the tables, and the one way records are read and written.
//!
//! The protocol is a compare-and-swap: a [`Change`] names the claim number and the statuses it expects and the
//! record that takes their place. It is applied wholly or not at all; whoever lost gets the row that stands.

use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{CachedStatement, Connection, Row, ToSql, params};

use crate::backend::Selection;
use crate::encoding::digest::Slot;
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::{Record, RecordRef, Status};
use crate::sqlite::row::Columns;
use crate::sqlite::{counters, row};

/// A row that cannot be reached, or can and is not to be believed.
#[derive(Debug)]
pub(crate) enum ReadError {
    Sqlite(rusqlite::Error),
    Damaged(&'static str),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        ReadError::Sqlite(error)
    }
}

/// Reads one record by its slot (the unique index) and checks it.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method by its path has one lifetime, not any"
)]
pub(crate) fn get(conn: &Connection, slot: &Slot) -> Result<Option<Record>, ReadError> {
    look(conn, slot, |record| record.to_record())
}

/// The same for a record of which less than all is wanted.
pub(crate) fn look<T>(
    conn: &Connection,
    slot: &Slot,
    at: impl FnOnce(&RecordRef<'_>) -> T,
) -> Result<Option<T>, ReadError> {
    // Short: a cached statement is found by its text at every call.
    const GET: &str = "SELECT name,key,status,claim,owner,facts,result FROM idem_record WHERE slot=?1";
    let mut statement = conn.prepare_cached(GET)?;
    let mut rows = statement.query([slot.as_slice()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    read_in_place(row, slot).map(|record| Some(at(&record)))
}

/// Applies one change, and counts what it adds; see [`Changes::apply`].
pub(crate) fn apply(
    conn: &Connection,
    change: &mut Change,
    issued: Option<u64>,
) -> Result<Applied, ReadError> {
    let mut changes = Changes::new(conn);
    let applied = changes.apply(change)?;
    changes.end(issued)?;
    Ok(applied)
}

/// Room for the facts of a record with a few arguments.
const FACTS_BYTES: usize = 128;

/// Changes inside one write transaction. They share their statements: each look into the cache hashes a whole text.
pub(crate) struct Changes<'conn> {
    conn: &'conn Connection,
    claim: Option<CachedStatement<'conn>>,
    replace: Option<CachedStatement<'conn>>,
    replace_row: Option<CachedStatement<'conn>>,
    /// By how many the records have become more.
    added: i64,
    facts: Vec<u8>,
}

impl<'conn> Changes<'conn> {
    pub(crate) fn new(conn: &'conn Connection) -> Changes<'conn> {
        Changes {
            conn,
            claim: None,
            replace: None,
            replace_row: None,
            added: 0,
            facts: Vec::with_capacity(FACTS_BYTES),
        }
    }

    /// Applies a change. A claim's number must be assigned by then.
    ///
    /// Applying a change a second time is a success: after a commit whose outcome is unknown, the whole batch is
    /// applied again.
    pub(crate) fn apply(&mut self, change: &mut Change) -> Result<Applied, ReadError> {
        let precondition = Precondition::of(&change.expect);
        let changed = match (&change.expect, &mut change.new) {
            (Expect::Free { over, nor_in, expired }, Some(new)) => {
                for slot in nor_in {
                    let earlier = get(self.conn, slot)?.filter(|earlier| !expired.contains(&earlier.claim));
                    if let Some(earlier) = earlier {
                        return Ok(Applied::No(Some(Box::new(earlier))));
                    }
                }
                (over.is_some() && self.replace(new, precondition)?) || self.insert(new)?
            }
            (_, Some(new)) => self.replace(new, precondition)?,
            (_, None) => self.delete(&change.slot, precondition)?,
        };
        if changed {
            return Ok(Applied::Yes);
        }
        let standing = get(self.conn, &change.slot)?;
        Ok(if stands_already(standing.as_ref(), change) {
            Applied::Yes
        } else {
            Applied::No(standing.map(Box::new))
        })
    }

    /// Ends the changes of a transaction: it counts them, and notes the highest claim number that was issued.
    pub(crate) fn end(self, issued: Option<u64>) -> rusqlite::Result<()> {
        counters::write(self.conn, issued, self.added)
    }

    /// False if there is a row in its slot: it stays.
    fn insert(&mut self, new: &mut Record) -> Result<bool, ReadError> {
        let statement = kept(&mut self.claim, self.conn, CLAIM)?;
        pack(new, &mut self.facts)?;
        let changed = statement.execute(params![
            new.slot.as_slice(),
            new.name,
            new.key,
            new.status as i64,
            new.claim.cast_signed(),
            new.owner,
            self.facts,
            new.result.as_ref().map(|result| result.bytes.as_slice()),
            new.purge_ms,
        ])?;
        if changed == 0 {
            return Ok(false);
        }
        self.added += 1;
        new.row = Some(self.conn.last_insert_rowid());
        Ok(true)
    }

    /// False if what the precondition asks for does not stand there.
    fn replace(&mut self, new: &Record, precondition: Precondition) -> Result<bool, ReadError> {
        pack(new, &mut self.facts)?;
        if new.row.is_some() {
            let statement = kept(&mut self.replace_row, self.conn, REPLACE_ROW)?;
            if execute(statement, &new.row, new, &self.facts, precondition)? {
                return Ok(true);
            }
        }
        let statement = kept(&mut self.replace, self.conn, REPLACE)?;
        Ok(execute(statement, &new.slot.as_slice(), new, &self.facts, precondition)?)
    }

    fn delete(&mut self, slot: &Slot, precondition: Precondition) -> Result<bool, ReadError> {
        const DELETE: &str = "DELETE FROM idem_record
            WHERE slot = ?1 AND (claim = ?2 OR ?2 = 0) AND (?3 >> status) & 1 AND (?4 = 0 OR owner = ?4)";
        let mut statement = self.conn.prepare_cached(DELETE)?;
        let Precondition { claim, statuses, owner } = precondition;
        let changed = statement.execute(params![slot.as_slice(), claim.cast_signed(), statuses, owner])?;
        self.added -= i64::from(changed > 0);
        Ok(changed > 0)
    }
}

/// Puts `new` where `place` says, if the precondition lets it.
fn execute(
    statement: &mut CachedStatement<'_>,
    place: &dyn ToSql,
    new: &Record,
    facts: &[u8],
    precondition: Precondition,
) -> rusqlite::Result<bool> {
    let changed = statement.execute(params![
        place,
        new.status as i64,
        new.claim.cast_signed(),
        new.owner,
        facts,
        new.result.as_ref().map(|result| result.bytes.as_slice()),
        new.purge_ms,
        precondition.claim.cast_signed(),
        precondition.statuses,
        precondition.owner,
    ])?;
    Ok(changed > 0)
}

fn pack(new: &Record, facts: &mut Vec<u8>) -> Result<(), ReadError> {
    let new = new.borrowed();
    if let Some(flaw) = new.validate() {
        return Err(ReadError::Damaged(flaw));
    }
    row::pack(&new, facts);
    Ok(())
}

fn kept<'a, 'conn>(
    statement: &'a mut Option<CachedStatement<'conn>>,
    conn: &'conn Connection,
    sql: &'static str,
) -> rusqlite::Result<&'a mut CachedStatement<'conn>> {
    Ok(match statement {
        Some(statement) => statement,
        None => statement.insert(conn.prepare_cached(sql)?),
    })
}

fn stands_already(standing: Option<&Record>, change: &Change) -> bool {
    match (standing, &change.new) {
        // Number and status alone would take another end of the same claim, such as a `settle`, for this one.
        (Some(standing), Some(new)) => standing.same_as(new),
        (None, None) => true,
        _ => false,
    }
}

/// What a write insists on. No claim and no owner has number 0.
#[derive(Clone, Copy)]
struct Precondition {
    /// 0 for any, which only a delete may have.
    claim: u64,
    /// A set, one bit each.
    statuses: i64,
    /// 0 for any.
    owner: i64,
}

impl Precondition {
    fn of(expect: &Expect) -> Precondition {
        const fn bit(status: Status) -> i64 {
            1 << status as i64
        }
        let (claim, statuses, owner) = match *expect {
            Expect::Free { over, .. } => (over.unwrap_or(0), bit(Status::Done) | bit(Status::Failed), 0),
            Expect::Unfinished { claim, owner } => {
                (claim, bit(Status::Running) | bit(Status::InDoubt), owner)
            }
            Expect::Exactly(claim, status) => (claim, bit(status), 0),
            Expect::Any => (0, -1, 0),
        };
        Precondition { claim, statuses, owner }
    }
}

/// One statement, so that there is no moment between "look" and "take".
const CLAIM: &str = "INSERT INTO idem_record (slot, name, key, status, claim, owner, facts, result, purge_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (slot) DO NOTHING";

/// Every write after a claim carries its number, and so does a claim in the place of a record that has expired: no row
/// changed means fenced. Name and key are those of the slot.
const REPLACE: &str =
    "UPDATE idem_record SET status = ?2, claim = ?3, owner = ?4, facts = ?5, result = ?6, purge_ms = ?7
    WHERE slot = ?1 AND claim = ?8 AND (?9 >> status) & 1 AND (?10 = 0 OR owner = ?10)";

/// The same without a search of the index. Rows are numbered anew when others are gone, so the claim number decides here
/// as well; no other record ever has it.
const REPLACE_ROW: &str =
    "UPDATE idem_record SET status = ?2, claim = ?3, owner = ?4, facts = ?5, result = ?6, purge_ms = ?7
    WHERE id = ?1 AND claim = ?8 AND (?9 >> status) & 1 AND (?10 = 0 OR owner = ?10)";

/// A row as a record, believed only if it is whole: every value of its kind, the checksum right, no flaw.
fn read(row: &Row<'_>) -> Result<Record, ReadError> {
    let slot = row.get(7).map_err(unreadable)?;
    read_in_place(row, &slot).map(|record| record.to_record())
}

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

/// What is compared and summed up as bytes needs no look whether it is UTF-8.
fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r [u8]> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) => Ok(bytes),
        _ => Err(FromSqlError::InvalidType.into()),
    }
}

/// A page of records ends when their results have reached this size: a page of 1,000 could be a gigabyte.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Slots of finished records whose purge time has come by the wall clock, oldest first (index `idem_purge`).
///
/// The time in the index is an estimate; the caller checks each record's age.
pub(crate) fn purgeable(conn: &Connection, before_ms: i64, limit: u32) -> Result<Vec<Record>, ReadError> {
    const PURGEABLE: &str = "SELECT name, key, status, claim, owner, facts, result, slot
        FROM idem_record WHERE purge_ms <= ?1 ORDER BY purge_ms LIMIT ?2";
    let mut statement = conn.prepare_cached(PURGEABLE)?;
    let mut rows = statement.query(params![before_ms, limit])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()?
        && bytes < PAGE_BYTES_MAX
    {
        // A damaged row stays where it is, for whoever calls it to be told.
        if let Ok(record) = read(row) {
            bytes += result_bytes(&record);
            records.push(record);
        }
    }
    Ok(records)
}

/// How many unfinished records there are (index `idem_open`).
pub(crate) fn count_unfinished(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM idem_record WHERE status IN (1, 2)", [], |row| row.get(0))
}

/// A record with its number; `Err` for one that is damaged.
pub(crate) type Listed = (i64, Result<Record, ReadError>);

/// A page of records; the next one begins after its last. Empty only at the end.
///
/// Numbers that do not rise are pages in the wrong places; to go on from there could lead round in a circle for ever.
pub(crate) fn select(conn: &Connection, selection: &Selection<'_>) -> Result<Vec<Listed>, ReadError> {
    const ALL: &str = "SELECT name, key, status, claim, owner, facts, result, slot, id
        FROM idem_record
        WHERE id > ?1 AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR substr(key, 1, length(?3)) = ?3)
        ORDER BY id LIMIT ?4";
    const UNFINISHED: &str = "SELECT name, key, status, claim, owner, facts, result, slot, id
        FROM idem_record
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
