//! The record of a `tx` call, written on the user's connection; see [`crate::tx`] for the rules.

use super::failure::{failed, unreadable};
use super::savepoint::{InTransaction, timeline};
use rusqlite::{Connection, ffi};

use crate::call::{Prepared, refusal};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::decide::{Decision, Expired, Holder, Mode, View, decide};
use crate::protocol::record::{NO_OWNER, Reason, Record};
use crate::scope::context;
use crate::sqlite::timeline::Timeline;
use crate::sqlite::{records, schema};

/// What a `tx` call finds when it begins.
pub(crate) enum Acquired<'conn> {
    /// The record answers.
    Answer(Box<Record>),
    /// The body is to run inside this.
    Claimed(Box<InTransaction<'conn>>),
}

/// Answers from the record, or claims the call.
pub(crate) fn acquire<'conn>(
    conn: &'conn Connection,
    call: &Prepared,
    store_id: &[u8; 16],
    mode: Mode,
) -> Result<Acquired<'conn>, Error> {
    check_journal(conn)?;
    if conn.is_autocommit() {
        if context::scope().call.as_ref().is_some_and(|outer| outer.holds_transaction(store_id)) {
            return Err(refusal::transaction_not_passed());
        }
        check_durable(conn)?;
        // A replay needs no write lock.
        let timeline = timeline(conn)?.0;
        if let Found::Answer(record) = find(conn, call, store_id, &timeline, mode)? {
            return Ok(Acquired::Answer(record));
        }
    }
    let mut inside = InTransaction::begin(conn)?;
    match find(conn, call, store_id, &inside.timeline, mode)? {
        Found::Answer(record) => Ok(Acquired::Answer(record)),
        Found::Absent => {
            inside.claim(call, None, Vec::new(), 1).map(|()| Acquired::Claimed(Box::new(inside)))
        }
        Found::Expired(record, expired) => {
            inside.claim(call, Some(record), expired, 1).map(|()| Acquired::Claimed(Box::new(inside)))
        }
        Found::Interrupted(record) => {
            let attempt = record.attempt.saturating_add(1);
            inside
                .claim(call, Some(record), Vec::new(), attempt)
                .map(|()| Acquired::Claimed(Box::new(inside)))
        }
    }
}

/// Without a journal nothing can be rolled back, and with one in memory a crash tears the file.
fn check_journal(conn: &Connection) -> Result<(), Error> {
    let mode: String = conn
        .prepare_cached("PRAGMA main.journal_mode")
        .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    let is_file = conn.path().is_some_and(|path| !path.is_empty());
    if mode != "off" && (mode != "memory" || !is_file || !conn.is_autocommit()) {
        return Ok(());
    }
    let message =
        format!("the connection is in journal mode `{mode}`, in which a crash can tear the database");
    Err(Error::store(message).advise(Advice::KeepJournal))
}

/// Whether a commit of this connection is forced to disk. It is the user's: we check, and change nothing.
fn check_durable(conn: &Connection) -> Result<(), Error> {
    let synchronous: i64 = conn
        .prepare_cached("PRAGMA synchronous")
        .and_then(|mut pragma| pragma.query_row([], |row| row.get(0)))
        .map_err(failed)?;
    if synchronous >= 2 {
        return Ok(());
    }
    Err(Error::store("the connection does not fsync its commits").advise(Advice::SynchronousFull))
}

enum Found {
    Absent,
    Answer(Box<Record>),
    /// Every record of the call has expired: the first, and the claims of all.
    Expired(Record, Vec<u64>),
    Interrupted(Record),
}

fn find(
    conn: &Connection,
    call: &Prepared,
    store_id: &[u8; 16],
    timeline: &Timeline,
    mode: Mode,
) -> Result<Found, Error> {
    let mut records = records(conn, call)?;
    let is_over =
        |record: &Record| Expired::of(&record.borrowed(), timeline.age_ms(record.at)) == Expired::Record;
    let expired: Vec<u64> =
        records.iter().filter(|record| is_over(record)).map(|record| record.claim).collect();
    records.sort_by_key(is_over);
    let Some(record) = records.into_iter().next() else { return Ok(Found::Absent) };
    let differing = call.differing(&record.borrowed())?;
    let reentrant = call.is_reentrant(store_id);
    // Outside of its transaction a running record of one can be seen only if its body has ended it.
    let ended = record.owner == NO_OWNER && !reentrant;
    let holder = if ended { Holder::Nobody } else { Holder::Alive };
    let age_ms = timeline.age_ms(record.at);
    let view = View { reentrant, ..View::of(&record, holder, age_ms, !differing.is_empty()) };
    match decide(view, mode) {
        Decision::Claim => Ok(Found::Expired(record, expired)),
        Decision::Replay => Ok(Found::Answer(Box::new(record))),
        Decision::Rerun | Decision::Recover => Ok(Found::Interrupted(record)),
        Decision::Wait => Err(running_outside()),
        Decision::RefuseMismatch => Err(refusal::mismatch(&record, &differing)),
        Decision::RefuseReentrant => Err(refusal::reentrant()),
        Decision::RefuseResultGone => Err(refusal::result_gone(&record)),
        refusal @ (Decision::RefuseInDoubt | Decision::RefuseExhausted) => {
            let reason = record.reason.or(ended.then_some(Reason::TransactionEnded));
            Err(refusal::in_doubt(&record, reason, refusal))
        }
    }
}

/// What stands under the name of the call and its earlier ones.
fn records(conn: &Connection, call: &Prepared) -> Result<Vec<Record>, Error> {
    let found = call.slots.iter().filter_map(|slot| records::get(conn, slot).map_err(unreadable).transpose());
    found.collect()
}

/// The id of the store in this database, after a look whether its tables are there and not too new.
pub(crate) fn store_id(conn: &Connection) -> Result<[u8; 16], Error> {
    let read = |name| {
        // Records in an attached database would not commit together with the rows of this one.
        let mut statement = conn.prepare_cached("SELECT value FROM main.idem_meta WHERE name = ?1")?;
        statement.query_row([name], |row| row.get(0))
    };
    let id = read("store").map_err(|error| match error {
        rusqlite::Error::SqliteFailure(failure, Some(text))
            if failure.extended_code == ffi::SQLITE_ERROR && text.contains("no such table") =>
        {
            Error::store("the database has no tables for records").advise(Advice::Install)
        }
        error => failed(error),
    })?;
    schema::check_version(conn)?;
    Ok(id)
}

fn running_outside() -> Error {
    let message = "the same call is running, or was cut off, outside of this transaction";
    Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::OneMode)
}
