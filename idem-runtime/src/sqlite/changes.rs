//! The changes of records: a compare-and-swap on the claim number and the status.
//!
//! A [`Change`] names the claim number and the statuses it expects, and the record that takes their place. A change is
//! applied completely or not at all. If a change does not match, its caller gets the present row.

use rusqlite::{CachedStatement, Connection, ToSql, params};

use crate::encoding::digest::Slot;
use crate::protocol::change::{Applied, Change, Expect, Precondition};
use crate::protocol::record::Record;
use crate::sqlite::records::{ReadError, get};
use crate::sqlite::{counters, row};

/// Initial capacity for the facts of a record with a few arguments, in bytes.
const FACTS_BYTES: usize = 128;

/// Inserts the record of a claim. One statement, so no other process acts between a check and an insert.
const CLAIM: &str =
    "INSERT INTO main.idem_record (slot, name, key, status, claim, owner, facts, result, purge_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (slot) DO NOTHING";

/// Replaces a record by its slot. Name and key stay unchanged.
///
/// Every write after a claim carries its claim number, and so does a claim that replaces an expired record. If no row
/// changes, the write is fenced.
const REPLACE: &str =
    "UPDATE main.idem_record SET status = ?2, claim = ?3, owner = ?4, facts = ?5, result = ?6, purge_ms = ?7
    WHERE slot = ?1 AND claim = ?8 AND (?9 >> status) & 1 AND (?10 = 0 OR owner = ?10)";

/// Replaces a record by its row id, without a search of the index.
///
/// SQLite may give the id of a deleted row to another record. The claim number decides here as well: no other record ever
/// has it.
const REPLACE_ROW: &str =
    "UPDATE main.idem_record SET status = ?2, claim = ?3, owner = ?4, facts = ?5, result = ?6, purge_ms = ?7
    WHERE id = ?1 AND claim = ?8 AND (?9 >> status) & 1 AND (?10 = 0 OR owner = ?10)";

/// Applies one change and updates the counters; see [`Changes::apply`].
pub(crate) fn apply(
    conn: &Connection,
    change: &mut Change,
    issued: Option<u64>,
) -> Result<Applied, ReadError> {
    let mut changes = Changes::new(conn);
    let applied = changes.apply(change)?;
    changes.finish(issued)?;
    Ok(applied)
}

/// Applies changes inside one write transaction. The changes share their statements: every lookup of a prepared statement
/// hashes its whole text.
pub(crate) struct Changes<'conn> {
    conn: &'conn Connection,
    claim: Option<CachedStatement<'conn>>,
    replace: Option<CachedStatement<'conn>>,
    replace_row: Option<CachedStatement<'conn>>,
    /// Records inserted minus records deleted.
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

    /// Applies a change. A claim must have its number.
    ///
    /// A change that is applied a second time succeeds: after a commit with an unknown outcome, the whole batch is applied
    /// again.
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
        Ok(if is_applied(standing.as_ref(), change) {
            Applied::Yes
        } else {
            Applied::No(standing.map(Box::new))
        })
    }

    /// Writes the counters: the number of records, and the highest claim number issued.
    pub(crate) fn finish(self, issued: Option<u64>) -> rusqlite::Result<()> {
        counters::write(self.conn, issued, self.added)
    }

    /// Inserts a record. False if the slot has a row, which stays unchanged.
    fn insert(&mut self, new: &mut Record) -> Result<bool, ReadError> {
        let statement = prepared(&mut self.claim, self.conn, CLAIM)?;
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

    /// Replaces a record. False if the row does not meet the precondition.
    fn replace(&mut self, new: &Record, precondition: Precondition) -> Result<bool, ReadError> {
        pack(new, &mut self.facts)?;
        if new.row.is_some() {
            let statement = prepared(&mut self.replace_row, self.conn, REPLACE_ROW)?;
            if execute(statement, &new.row, new, &self.facts, precondition)? {
                return Ok(true);
            }
        }
        let statement = prepared(&mut self.replace, self.conn, REPLACE)?;
        Ok(execute(statement, &new.slot.as_slice(), new, &self.facts, precondition)?)
    }

    /// Deletes a record. False if the row does not meet the precondition.
    fn delete(&mut self, slot: &Slot, precondition: Precondition) -> Result<bool, ReadError> {
        const DELETE: &str = "DELETE FROM main.idem_record
            WHERE slot = ?1 AND (claim = ?2 OR ?2 = 0) AND (?3 >> status) & 1 AND (?4 = 0 OR owner = ?4)";
        let mut statement = self.conn.prepare_cached(DELETE)?;
        let Precondition { claim, statuses, owner } = precondition;
        let changed = statement.execute(params![slot.as_slice(), claim.cast_signed(), statuses, owner])?;
        self.added -= i64::from(changed > 0);
        Ok(changed > 0)
    }
}

/// Executes a replacement of the row at `place`. False if the row does not meet the precondition.
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

/// Packs the facts of a record. Refuses a record that a read would refuse.
fn pack(new: &Record, facts: &mut Vec<u8>) -> Result<(), ReadError> {
    let new = new.borrowed();
    if let Some(flaw) = new.validate() {
        return Err(ReadError::Damaged(flaw));
    }
    row::pack(&new, facts);
    Ok(())
}

/// Prepares a statement on its first use.
fn prepared<'a, 'conn>(
    statement: &'a mut Option<CachedStatement<'conn>>,
    conn: &'conn Connection,
    sql: &'static str,
) -> rusqlite::Result<&'a mut CachedStatement<'conn>> {
    Ok(match statement {
        Some(statement) => statement,
        None => statement.insert(conn.prepare_cached(sql)?),
    })
}

/// Whether an earlier try has applied the change.
fn is_applied(standing: Option<&Record>, change: &Change) -> bool {
    match (standing, &change.new) {
        // Another end of the same claim, such as a `settle`, may have the same number and status.
        (Some(standing), Some(new)) => standing.same_as(new),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
