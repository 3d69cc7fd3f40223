//! The record of a `tx` call, written on the user's connection; see [`crate::tx`] for the rules.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ffi};

use crate::call::Prepared;
use crate::claim::Ending;
use crate::clock::{Clock, Reading, SystemClock};
use crate::decide::{Decision, Holder, Lapsed, Mode, View, decide};
use crate::error::{Error, ErrorKind, Ran};
use crate::queries::{self, Applied, Change, Expect, ReadError};
use crate::record::{NO_OWNER, Reason, Record, Status};
use crate::timeline::Timeline;
use crate::{context, fault, refuse, schema, times};

const DOING: &str = "writing the record in the transaction";

static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);
/// Savepoints are told apart: a body must not be able to release ours with one of its own.
static SAVEPOINT: AtomicU64 = AtomicU64::new(1);

/// What a `tx` call finds when it begins.
pub(crate) enum Opening<'conn> {
    /// The record answers.
    Answer(Box<Record>),
    /// The body is to run inside this.
    Body(Box<InTransaction<'conn>>),
}

/// Our savepoint in a write transaction. Dropped, everything since is rolled back.
pub(crate) struct InTransaction<'conn> {
    conn: &'conn Connection,
    /// The transaction is ours as well, and not only the savepoint.
    ours: bool,
    savepoint: String,
    timeline: Timeline,
    /// The record, running; none until it is claimed.
    record: Option<Record>,
    /// What stood there before and is claimed again.
    over: Option<Record>,
    ended: bool,
}

/// Answers from the record, or claims the call.
pub(crate) fn open<'conn>(
    conn: &'conn Connection,
    call: &Prepared,
    store_id: &[u8; 16],
    mode: Mode,
) -> Result<Opening<'conn>, Error> {
    check_journal(conn)?;
    if conn.is_autocommit() {
        if context::scope().call.as_ref().is_some_and(|outer| outer.holds_transaction(store_id)) {
            return Err(refuse::beside_transaction());
        }
        check_durable(conn)?;
        // A replay needs no write lock.
        let timeline = timeline(conn)?.0;
        if let Found::Answer(record) = find(conn, call, store_id, &timeline, mode)? {
            return Ok(Opening::Answer(record));
        }
    }
    let mut inside = InTransaction::begin(conn)?;
    match find(conn, call, store_id, &inside.timeline, mode)? {
        Found::Answer(record) => Ok(Opening::Answer(record)),
        Found::Nothing => inside.claim(call, None, Vec::new(), 1).map(|()| Opening::Body(Box::new(inside))),
        Found::Expired(record, expired) => {
            inside.claim(call, Some(record), expired, 1).map(|()| Opening::Body(Box::new(inside)))
        }
        Found::Interrupted(record) => {
            let attempt = record.attempt.saturating_add(1);
            inside.claim(call, Some(record), Vec::new(), attempt).map(|()| Opening::Body(Box::new(inside)))
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
    Err(Error::store(format!(
        "the connection is in journal mode `{mode}`, where a crash leaves neither row nor record whole; nothing was \
         run. Use WAL or DELETE"
    )))
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
    Err(Error::store(
        "the connection does not force its commits to disk; nothing was run. Set `PRAGMA synchronous = FULL` on it, or \
         begin a transaction of your own and answer for its durability",
    ))
}

enum Found {
    Nothing,
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
    let is_over = |record: &Record| Lapsed::of(record, timeline.age_ms(record.at)) == Lapsed::Record;
    let expired: Vec<u64> =
        records.iter().filter(|record| is_over(record)).map(|record| record.claim).collect();
    records.sort_by_key(is_over);
    let Some(record) = records.into_iter().next() else { return Ok(Found::Nothing) };
    let differing = call.differing(&record)?;
    let reentrant = call.is_reentrant(store_id);
    // Outside of its transaction a running record of one can be seen only if its body has ended it.
    let ended = record.owner == NO_OWNER && !reentrant;
    let view = View {
        status: record.status,
        holder: if ended { Holder::Nobody } else { Holder::Alive },
        lapsed: Lapsed::of(&record, timeline.age_ms(record.at)),
        has_result: record.result.is_some(),
        attempt: record.attempt,
        differs: !differing.is_empty(),
        reentrant,
        waited: false,
    };
    match decide(view, mode) {
        Decision::Claim => Ok(Found::Expired(record, expired)),
        Decision::Replay => Ok(Found::Answer(Box::new(record))),
        Decision::Rerun | Decision::Recover => Ok(Found::Interrupted(record)),
        Decision::Wait => Err(running_outside()),
        Decision::RefuseMismatch => Err(refuse::mismatch(&record, &differing)),
        Decision::RefuseReentrant => Err(refuse::reentrant()),
        Decision::RefuseResultGone => Err(refuse::result_gone(&record)),
        refusal @ (Decision::RefuseInDoubt | Decision::RefuseExhausted) => {
            let reason = record.reason.or(ended.then_some(Reason::TransactionEnded));
            Err(refuse::in_doubt(&record, reason, refusal))
        }
    }
}

/// What stands under the name of the call and its earlier ones.
fn records(conn: &Connection, call: &Prepared) -> Result<Vec<Record>, Error> {
    let found = call.slots.iter().filter_map(|slot| queries::get(conn, slot).map_err(unreadable).transpose());
    found.collect()
}

/// The boots of the store as of now, and the row of the present one if it is due to be written.
fn timeline(conn: &Connection) -> Result<(Timeline, Option<crate::timeline::BootRow>), Error> {
    let rows = times::read_boots(conn).map_err(failed)?;
    let known = rows.iter().find(|row| row.boot_id == CLOCK.boot_id()).cloned();
    let (timeline, row) = Timeline::open(rows, &CLOCK.boot_id(), Reading::of(&*CLOCK));
    let is_due = known.is_none_or(|known| row.must_replace(&known));
    Ok((timeline, is_due.then_some(row)))
}

impl<'conn> InTransaction<'conn> {
    fn begin(conn: &'conn Connection) -> Result<InTransaction<'conn>, Error> {
        let ours = conn.is_autocommit();
        if ours {
            conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        }
        let number = SAVEPOINT.fetch_add(1, Ordering::Relaxed);
        let savepoint = format!("idem_{}_{number}", std::process::id());
        match open_savepoint(conn, &savepoint) {
            Ok(timeline) => {
                Ok(InTransaction { conn, ours, savepoint, timeline, record: None, over: None, ended: false })
            }
            Err(error) => {
                if ours {
                    // What fails here ends with the connection at the latest.
                    let _ = conn.execute_batch("ROLLBACK");
                }
                Err(error)
            }
        }
    }

    /// Writes the claim row, before anything else in this savepoint.
    fn claim(
        &mut self,
        call: &Prepared,
        over: Option<Record>,
        expired: Vec<u64>,
        attempt: u32,
    ) -> Result<(), Error> {
        let now = self.timeline.now();
        let mut new = Record { attempt, ..call.first_record(over.as_ref(), NO_OWNER, now) };
        new.claim = self.issue_number()?;
        let change = match &over {
            Some(record) if !record.status.is_finished() => {
                let expect = Expect::Exactly(record.claim, record.status);
                Change { slot: record.slot, expect, new: Some(new.clone()) }
            }
            over => call.claim_change(new.clone(), over.as_ref(), expired),
        };
        match queries::apply(self.conn, &change).map_err(unreadable)? {
            Applied::Yes => {
                self.record = Some(new);
                self.over = over;
                Ok(())
            }
            Applied::Damaged(what) => Err(unreadable(ReadError::Damaged(what))),
            Applied::No(_) => {
                Err(Error::store("the record changed inside one transaction; the body was not run"))
            }
        }
    }

    fn issue_number(&self) -> Result<u64, Error> {
        let number = queries::claims_issued(self.conn).map_err(failed)?.saturating_add(1);
        queries::set_claims_issued(self.conn, number).map_err(failed)?;
        Ok(number)
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Writes what the end of the body means, and commits if the transaction is ours.
    ///
    /// An `Err` undoes everything since the savepoint, whatever it means for the record.
    pub(crate) fn end(mut self, ending: Ending, undo: bool) -> Result<(), Error> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        if self.conn.is_autocommit() {
            return Err(self.broken(&record));
        }
        if undo && !self.undo() {
            return Err(self.broken(&record));
        }
        let now = self.timeline.now();
        let new = match ending {
            Ending::Released => None,
            Ending::Finished(status, result) => Some(record.finished(status, result, now)),
            Ending::InDoubt(reason) => Some(record.in_doubt(reason, now)),
        };
        if let Some(new) = new
            && let Err(error) = self.write_end(&record, new, undo)
        {
            return Err(error.unwrap_or_else(|| self.broken(&record)));
        }
        if self.conn.execute_batch(&format!("RELEASE {}", self.savepoint)).is_err() {
            return Err(self.broken(&record));
        }
        self.ended = true;
        if self.ours { self.commit() } else { Ok(()) }
    }

    /// False if the savepoint is gone.
    fn undo(&self) -> bool {
        self.conn.execute_batch(&format!("ROLLBACK TO {}", self.savepoint)).is_ok()
    }

    /// `Err(None)` if the claim row is gone, and the transaction with it.
    fn write_end(&self, record: &Record, new: Record, undone: bool) -> Result<(), Option<Error>> {
        let lifetime_ms = new.next_lifetime().to_ms();
        let purge_ms = lifetime_ms.map(|lifetime_ms| self.timeline.expires_wall_ms(new.at, lifetime_ms));
        let mut new = Record { purge_ms, ..new };
        let expect = match (undone, &self.over) {
            (false, _) => Expect::Exactly(record.claim, Status::Running),
            // The claim row went with the savepoint: the end is written in one go.
            (true, Some(over)) if !over.status.is_finished() => Expect::Exactly(over.claim, over.status),
            (true, over) => free(over.as_ref().map(|over| over.claim)),
        };
        if undone {
            new.claim = self.issue_number().map_err(Some)?;
        }
        let change = Change { slot: new.slot, expect, new: Some(new) };
        match queries::apply(self.conn, &change)
            .map_err(|failure| Some(unreadable(failure).with_ran(Ran::Yes)))?
        {
            Applied::Yes => Ok(()),
            Applied::No(_) => Err(None),
            Applied::Damaged(what) => Err(Some(unreadable(ReadError::Damaged(what)).with_ran(Ran::Yes))),
        }
    }

    fn commit(&self) -> Result<(), Error> {
        let Err(error) = self.conn.execute_batch("COMMIT") else { return Ok(()) };
        let still_open = !self.conn.is_autocommit();
        if still_open {
            // Nothing is lost by a failure here: the transaction ends with the connection at the latest.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let (ran, what) = match fault::of_commit(&error) {
            fault::Fault::Unknown => (
                Ran::Unknown,
                "the commit failed, and whether it is on disk is unknown: both the rows and the record are, or neither. \
                 Retry: the next call finds out",
            ),
            _ => (Ran::Yes, "the commit failed: the rows and the record were rolled back together. Retry"),
        };
        Err(Error::new(ErrorKind::Store, ran, what).because(error))
    }

    /// The body ended the transaction. What is committed stays; the record says that the call is in doubt.
    fn broken(&mut self, record: &Record) -> Error {
        self.ended = true;
        let is_open = !self.ours && !self.conn.is_autocommit();
        if self.ours && !self.conn.is_autocommit() {
            // A transaction that the body began in the place of ours.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let standing = queries::get(self.conn, &record.slot).ok().flatten();
        let committed = standing.as_ref().is_some_and(|standing| standing.claim == record.claim);
        let noted = self.note_doubt(record, standing);
        let what = match (committed, is_open) {
            (true, false) => "what it wrote up to its COMMIT is in the database",
            (true, true) => {
                "what it wrote up to then is in the database, or in the transaction that is still open"
            }
            (false, _) => {
                "what it wrote before was rolled back; what it wrote after that is committed, unless it stood in a \
                 transaction that was left open"
            }
        };
        let and = match noted {
            Ok(()) => "The call is recorded as in doubt",
            Err(_) => "That the call is in doubt could not be recorded",
        };
        let message = format!(
            "its body ended the transaction it was given (COMMIT, ROLLBACK, a conflict clause OR ROLLBACK, or a full \
             disk): {what}. {and}. Keep transaction control out of a `tx` body; to settle this one see `settle`"
        );
        let error = Error::new(ErrorKind::InDoubt, Ran::Yes, message);
        match noted {
            Ok(()) => error,
            Err(cause) => error.because(cause),
        }
    }

    fn note_doubt(&self, record: &Record, standing: Option<Record>) -> Result<(), Error> {
        let doubt = record.in_doubt(Reason::TransactionEnded, self.timeline.now());
        let (claim, expect) = match standing {
            Some(standing) if standing.claim == record.claim => {
                (record.claim, Expect::Exactly(standing.claim, standing.status))
            }
            Some(standing) if self.over.as_ref().is_some_and(|over| over.claim == standing.claim) => {
                (self.issue_number()?, Expect::Exactly(standing.claim, standing.status))
            }
            Some(_) => return Ok(()),
            None => (self.issue_number()?, free(None)),
        };
        let change = Change { slot: record.slot, expect, new: Some(Record { claim, ..doubt }) };
        queries::apply(self.conn, &change).map(drop).map_err(unreadable)
    }
}

impl Drop for InTransaction<'_> {
    /// A panic of the body, or an error before it: nothing of this call stays.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Some(record) = self.record.clone() else {
            roll_back(self.conn, self.ours, &self.savepoint);
            return;
        };
        if self.conn.is_autocommit() || !self.undo() {
            drop(self.broken(&record));
            return;
        }
        roll_back(self.conn, self.ours, &self.savepoint);
    }
}

/// The slot is free: this transaction has looked under every name.
fn free(over: Option<u64>) -> Expect {
    Expect::Free { over, nor_in: Vec::new(), expired: Vec::new() }
}

/// The clock's row stands before the savepoint: what names it must not outlive it.
fn open_savepoint(conn: &Connection, savepoint: &str) -> Result<Timeline, Error> {
    let (timeline, due) = timeline(conn)?;
    if let Some(row) = due {
        times::write_boot(conn, &row).map_err(failed)?;
    }
    conn.execute_batch(&format!("SAVEPOINT {savepoint}")).map_err(failed)?;
    Ok(timeline)
}

/// Undoes what was done since the savepoint, and the transaction if it is ours. Best effort: what fails here ends with
/// the connection.
fn roll_back(conn: &Connection, ours: bool, savepoint: &str) {
    let _ = if ours {
        conn.execute_batch("ROLLBACK")
    } else {
        conn.execute_batch(&format!("ROLLBACK TO {savepoint}; RELEASE {savepoint}"))
    };
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
            Error::store(
                "this database has no tables for records; nothing was run. Make them once with \
                 `idem_runtime::install(&conn)`, or open a shared store on it",
            )
        }
        error => failed(error),
    })?;
    schema::check_version(conn)?;
    Ok(id)
}

fn running_outside() -> Error {
    Error::new(
        ErrorKind::Running,
        Ran::No,
        "the same call is running outside of this transaction, or was cut off there; this one was not run and cannot \
         wait for it inside a transaction. Retry later; use one mode for one name",
    )
}

fn failed(error: rusqlite::Error) -> Error {
    let stale = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_BUSY_SNAPSHOT);
    if stale {
        return Error::store(
            "the transaction reads an older state of the database than there is now, and cannot write; nothing was run. \
             Begin it IMMEDIATE",
        )
        .because(error);
    }
    fault::error(error, DOING)
}

fn unreadable(failure: ReadError) -> Error {
    match failure {
        ReadError::Sqlite(error) => failed(error),
        damaged @ ReadError::Damaged(_) => fault::of_read(damaged, DOING),
    }
}
