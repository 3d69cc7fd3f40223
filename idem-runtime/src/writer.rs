//! The one thread that writes, with group commit.
//!
//! # Batches
//! Everything that came while the last commit was forced to disk shares the next one; a lone caller waits for
//! nobody. Replies are sent after the COMMIT, and after a look whether the files are still the ones that were opened.
//!
//! # When a write fails
//! Claims fail closed: their callers have not started anything. What ended stays in `pending` and is tried again
//! while the process lives; after a failure one request at a time, so that one that can never be written does not
//! hold up the others. A COMMIT that failed in fsync is unknown: the connection is opened anew and the same batch
//! applied again, which changes nothing if it is there already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::claim::Claim;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Ran};
use crate::fault::{self, Fault};
use crate::gate::Gate;
use crate::high_water::HighWater;
use crate::identity::Identity;
use crate::purge;
use crate::queries::{self, Applied, Expect, ReadError};
use crate::queue::{Request, Urgency, Work};
use crate::record::Record;
use crate::schema::{self, Role};

/// How long to queue behind other processes before taking the write lock without a turn.
const TURN: Duration = Duration::from_millis(500);
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// What the writer answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The call is this caller's to run.
    Claimed(Claim),
    Written,
    /// Not written: this record stands instead, or none.
    Stands(Option<Box<Record>>),
    Failed(Error),
}

struct Failure {
    fault: Fault,
    error: Error,
}

impl Failure {
    fn refused(error: Error) -> Failure {
        Failure { fault: Fault::Refused, error }
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) core: Arc<Core>,
    /// Gone after a commit whose outcome is unknown, until it could be opened anew.
    pub(crate) conn: Option<Connection>,
    pub(crate) gate: Gate,
    pub(crate) high_water: HighWater,
    pub(crate) identity: Identity,
    pub(crate) pending: Vec<Request>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) purge: purge::Rhythm,
}

/// The last write failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    backoff: Duration,
    error: Error,
}

impl Writer {
    /// Writes until the store closes. Gives whether everything was written and the file left in order.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        loop {
            let patience = (!self.pending.is_empty())
                .then(|| self.trouble.as_ref().map_or(Duration::ZERO, |t| t.backoff));
            match self.core.queue.next(patience) {
                Work::Batch(requests) => self.pending.extend(requests),
                Work::Idle => {}
                Work::Over => break,
            }
            if self.core.must_give_up() {
                break;
            }
            let written = self.write_pending();
            self.purge_slice(written);
        }
        let lost = self.pending.len();
        self.pending.drain(..).for_each(|request| request.answer(Reply::Failed(not_recorded())));
        self.core.queue.end(&Error::new(ErrorKind::Closed, Ran::No, "the store is closed; open it again"));
        if lost > 0 {
            return Err(not_recorded());
        }
        self.leave()
    }

    /// One attempt at what is pending; gives how many requests it wrote.
    fn write_pending(&mut self) -> usize {
        self.drop_the_late();
        let count = if self.trouble.is_some() { self.pending.len().min(1) } else { self.pending.len() };
        let mut batch: Vec<Request> = self.pending.drain(..count).collect();
        if batch.is_empty() {
            return 0;
        }
        match self.commit_surely(&mut batch) {
            Ok(applied) => {
                self.trouble = None;
                for (request, applied) in batch.into_iter().zip(applied) {
                    self.deliver(request, applied);
                }
                count
            }
            Err(failure) => {
                self.keep_or_fail(batch, failure);
                0
            }
        }
    }

    /// Requests nobody waits for are skipped; those whose time is over fail.
    fn drop_the_late(&mut self) {
        let now = Instant::now();
        for request in std::mem::take(&mut self.pending) {
            match request.urgency {
                _ if request.is_abandoned() => {}
                Urgency::Until(deadline) if deadline <= now => {
                    let error = self.trouble.as_ref().map(|trouble| trouble.error.clone());
                    request.answer(Reply::Failed(error.unwrap_or_else(too_late)));
                }
                _ => self.pending.push(request),
            }
        }
    }

    /// A commit; if its outcome is unknown, once more on a new connection.
    fn commit_surely(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        let first = self.commit(batch);
        match first {
            Err(Failure { fault: Fault::Unknown, .. }) => {
                self.conn = None;
                self.commit(batch).map_err(|second| Failure { fault: Fault::Unknown, ..second })
            }
            _ => first,
        }
    }

    fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        let Writer { core, conn, gate, high_water, identity, .. } = self;
        check_files(core, identity)?;
        let conn = connection(conn, core).map_err(Failure::refused)?;
        let turn = gate.enter(TURN);
        let due = core.times.take_due();
        let written = write(conn, core, batch, due.as_ref());
        drop(turn);
        match written {
            Ok((applied, issued)) => {
                check_files(core, identity)?;
                if let Some(issued) = issued
                    && let Err(error) = high_water.raise(issued)
                {
                    crate::event::store_trouble(&format!(
                        "the high-water file could not be written ({error})"
                    ));
                }
                Ok(applied)
            }
            Err(failure) => {
                core.times.give_back(due);
                for claim in batch.iter().filter(|request| request.is_claim()).filter_map(number) {
                    core.flights.cancel(claim);
                }
                Err(failure)
            }
        }
    }

    fn deliver(&self, request: Request, applied: Applied) {
        let ended = match request.change.expect {
            Expect::Free { .. } | Expect::Whatever => None,
            Expect::Unfinished(claim) | Expect::Exactly(claim, _) => Some(claim),
        };
        match applied {
            Applied::Yes => {
                if let Some(ended) = ended {
                    self.core.flights.land(ended, request.change.new.as_ref());
                }
                let reply = match (&request.change.new, request.is_claim()) {
                    (Some(record), true) => {
                        let before = request.before.clone();
                        Reply::Claimed(Claim::new(Arc::clone(&self.core), record.clone(), before))
                    }
                    _ => Reply::Written,
                };
                request.answer(reply);
            }
            Applied::No(standing) => {
                if let (Some(ended), Urgency::Persist) = (ended, request.urgency) {
                    self.core.flights.land(ended, standing.as_deref());
                }
                request.answer(Reply::Stands(standing));
            }
        }
    }

    /// What ended stays pending; whoever has not started yet is refused.
    fn keep_or_fail(&mut self, batch: Vec<Request>, failure: Failure) {
        crate::event::store_trouble(&failure.error.to_string());
        let poisoned = self.core.check_poison().is_err();
        for request in batch {
            match request.urgency {
                _ if poisoned => request.answer(Reply::Failed(failure.error.clone())),
                Urgency::Until(_) if failure.fault != Fault::Busy => self.refuse(request, &failure),
                _ => self.pending.push(request),
            }
        }
        let backoff =
            self.trouble.as_ref().map_or(BACKOFF_FIRST, |trouble| (trouble.backoff * 2).min(BACKOFF_LAST));
        self.trouble = Some(Trouble { backoff, error: failure.error });
    }

    /// Refuses a claim. If its commit is unknown it may yet be found on disk, so it is taken back as well.
    fn refuse(&mut self, request: Request, failure: &Failure) {
        if let (Fault::Unknown, true, Some(record)) = (failure.fault, request.is_claim(), &request.change.new)
        {
            drop(Claim::new(Arc::clone(&self.core), record.clone(), request.before.clone()));
        }
        request.answer(Reply::Failed(failure.error.clone()));
    }

    fn purge_slice(&mut self, written: usize) {
        if self.trouble.is_some() || !self.purge.is_due() {
            return;
        }
        let Some(conn) = &self.conn else { return };
        let limit = purge::limit(written);
        let mut batch = purge::slice(&self.core, conn, limit);
        self.purge.found(batch.len(), limit);
        if !batch.is_empty() && self.commit(&mut batch).is_err() {
            // Nothing is lost: the same records are found again.
            self.purge.pause();
        }
    }

    /// A clean end: nothing names this owner any more, and the WAL is folded into the database.
    fn leave(mut self) -> Result<(), Error> {
        let conn = connection(&mut self.conn, &self.core)?;
        let left = |error| fault::error(error, "closing the store");
        // There is nothing else to do until the end of the close.
        conn.busy_timeout(self.core.give_up_in()).map_err(left)?;
        let turn = self.gate.enter(TURN);
        let transaction = schema::begin(conn).map_err(left)?;
        let running: i64 = transaction
            .query_row(
                "SELECT count(*) FROM idem_record WHERE status = 1 AND owner = ?1",
                [self.core.owner],
                |row| row.get(0),
            )
            .map_err(left)?;
        if running == 0 {
            transaction
                .execute("DELETE FROM idem_owner WHERE number = ?1", [self.core.owner])
                .map_err(left)?;
        }
        transaction.commit().map_err(left)?;
        drop(turn);
        // Busy where another process reads: then the last one to close folds it in.
        let folded = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = folded {
            crate::event::store_trouble(&format!("the checkpoint at close failed ({error})"));
        }
        if running > 0 {
            return Err(Error::store(format!(
                "{running} calls were cut off while the store closed; they are in doubt"
            )));
        }
        Ok(())
    }
}

/// Files that were replaced under us take no more records: what `SQLite` reports as written may be lost.
fn check_files(core: &Core, identity: &Identity) -> Result<(), Failure> {
    core.check_poison().map_err(Failure::refused)?;
    identity.check().map_err(|replaced| {
        let error = Error::store(format!(
            "{replaced}; nothing can be written any more, and what was acknowledged since may be lost. Stop the \
             program and restore the files"
        ));
        core.poison(error.clone());
        Failure::refused(error)
    })
}

fn connection<'a>(conn: &'a mut Option<Connection>, core: &Core) -> Result<&'a Connection, Error> {
    if conn.is_none() {
        let fresh = schema::connect(core.path.database())?;
        schema::set_modes(&fresh, core.tenancy, Role::Writer)?;
        // What recovery brought back was never forced to disk; this does it before anything is answered from it.
        fresh
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|error| fault::error(error, "reopening the store"))?;
        *conn = Some(fresh);
    }
    conn.as_ref().ok_or_else(|| Error::store("the store could not be opened anew"))
}

fn number(request: &Request) -> Option<u64> {
    request.change.new.as_ref().map(|new| new.claim)
}

/// One transaction: claim numbers, changes, the clock's row. Calls are known in memory before they are visible.
fn write(
    conn: &Connection,
    core: &Core,
    batch: &mut [Request],
    due: Option<&crate::timeline::BootRow>,
) -> Result<(Vec<Applied>, Option<u64>), Failure> {
    let failed = |error: rusqlite::Error| Failure {
        fault: fault::of_statement(&error),
        error: fault::error(error, "writing to the store"),
    };
    let transaction = schema::begin(conn).map_err(failed)?;
    let issued = issue_numbers(&transaction, batch).map_err(failed)?;
    let mut applied = Vec::with_capacity(batch.len());
    for request in &mut *batch {
        let outcome = queries::apply(&transaction, &request.change).map_err(|failure| match failure {
            ReadError::Sqlite(error) => failed(error),
            damaged @ ReadError::Damaged(_) => {
                Failure::refused(fault::of_read(damaged, "writing to the store"))
            }
        })?;
        applied.push(outcome);
    }
    if let Some(row) = due {
        crate::times::write_boot(&transaction, row).map_err(failed)?;
    }
    for (request, outcome) in batch.iter_mut().zip(&applied) {
        if let (true, Applied::Yes, Some(claim)) = (request.is_claim(), outcome, number(request)) {
            core.flights.depart(claim, request.baton.take());
        }
    }
    transaction.commit().map_err(|error| Failure {
        fault: fault::of_commit(&error),
        error: fault::error(error, "committing to the store"),
    })?;
    Ok((applied, issued))
}

/// Gives every new claim its number and stores the highest. A number assigned by an earlier try is kept.
fn issue_numbers(conn: &Connection, batch: &mut [Request]) -> rusqlite::Result<Option<u64>> {
    let mut fresh = batch
        .iter_mut()
        .filter(|request| request.is_claim() || matches!(request.change.expect, Expect::Free { .. }))
        .filter_map(|request| request.change.new.as_mut())
        .peekable();
    if fresh.peek().is_none() {
        return Ok(None);
    }
    let mut issued = queries::claims_issued(conn)?;
    for new in fresh {
        if new.claim == 0 {
            issued += 1;
            new.claim = issued;
        }
        issued = issued.max(new.claim);
    }
    queries::set_claims_issued(conn, issued)?;
    Ok(Some(issued))
}

fn too_late() -> Error {
    Error::store(
        "the call could not be claimed in time: another program holds the write lock of the database, or the disk is \
         slow. Nothing was run; retry",
    )
}

fn not_recorded() -> Error {
    Error::new(
        ErrorKind::NotRecorded,
        Ran::Yes,
        "the store closed before the outcome could be written; after a restart the call is in doubt",
    )
}
