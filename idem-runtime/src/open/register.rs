//! How an open store becomes known as an owner, and what it does about owners that died.
//!
//! All of it is one transaction: the tables, the owner's row, the clock's row, and the records of the dead, which are
//! in doubt from then on. The owner's file is locked before its row is visible, so that nobody takes it for dead.

use std::sync::Arc;

use rusqlite::Connection;

use crate::encoding::digest::Slot;
use crate::error::{Advice, Error};
use crate::event;
use crate::host::clock::{Clock, SystemClock};
use crate::host::high_water::HighWater;
use crate::host::sidecar::Sidecar;
use crate::locks::liveness::{Liveness, LivenessProbe};
use crate::locks::owner_lock::{OwnerFacts, OwnerFile};
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::Reason;
use crate::sqlite::backend::OpenOwner;
use crate::sqlite::failure::{opening, opening_read};
use crate::sqlite::records::ReadError;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{changes, counters, owners, records, schema};

/// After an unclean end a store up to this size is checked before it is used: about a second per 150 MB.
const CHECK_BYTES_MAX: u64 = 256 << 20;

/// What a store that is being opened was asked for, as far as its owner is concerned.
pub(crate) struct Registration {
    pub(crate) tenancy: Tenancy,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) accept_lost_records: bool,
}

impl Registration {
    /// Makes this open store known as an owner, and settles what dead owners left, in one transaction.
    pub(crate) fn register(
        &self,
        conn: &Connection,
        had_log: bool,
        sidecar: &Sidecar,
        high_water: &mut HighWater,
    ) -> Result<(OpenOwner, Registered), Error> {
        let token: String =
            conn.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0)).map_err(opening)?;
        let no_file = |error| Error::store("the owner's lock file cannot be made").because(error);
        let owner_file = OwnerFile::create(sidecar, &token).map_err(no_file)?;
        let probe = LivenessProbe::new(sidecar, &token);
        match self.commit_owner(conn, had_log, &token, &probe, high_water) {
            Ok(registered) => {
                Ok((OpenOwner { number: registered.number, file: owner_file, probe }, registered))
            }
            Err(error) => {
                // No row names it. What cannot be removed stays, unlocked, and does no harm.
                let _ = owner_file.close();
                Err(error)
            }
        }
    }

    fn commit_owner(
        &self,
        conn: &Connection,
        had_log: bool,
        token: &str,
        probe: &LivenessProbe,
        high_water: &mut HighWater,
    ) -> Result<Registered, Error> {
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let transaction = WriteTransaction::begin(conn).map_err(opening)?;
        schema::migrate(&transaction, self.tenancy).map_err(opening)?;
        self.check_high_water(&transaction, high_water)?;
        let clock = StoreClock::open(&transaction, clock).map_err(opening)?;
        let dead = self.settle_dead_owners(&transaction, had_log, probe, &clock)?;
        let number = owners::insert(&transaction, token, &OwnerFacts::here()).map_err(opening)?;
        let store_id = transaction
            .query_row("SELECT value FROM idem_meta WHERE name = 'store'", [], |row| row.get(0))
            .map_err(opening)?;
        let unfinished = records::count_unfinished(&transaction).map_err(opening)?;
        transaction.commit().map_err(opening)?;
        if unfinished > 0 {
            event::unfinished_at_open(unfinished);
        }
        Ok(Registered { number, store_id, clock, dead })
    }

    /// Finds owners that ended without closing: their running records are in doubt from now on. Gives their tokens.
    fn settle_dead_owners(
        &self,
        conn: &Connection,
        had_log: bool,
        probe: &LivenessProbe,
        clock: &StoreClock,
    ) -> Result<Vec<String>, Error> {
        let numbers = owners::numbers(conn).map_err(opening)?;
        let (mut dead, mut living) = (Vec::new(), 0);
        for number in numbers {
            let Some((token, facts)) = owners::get(conn, number).map_err(opening_read)? else { continue };
            if probe.check(&token, &facts) != Liveness::Dead {
                living += 1;
                continue;
            }
            if dead.is_empty() {
                self.check_after_unclean_end(conn)?;
            }
            if settle_running(conn, number, clock).map_err(opening_read)? {
                owners::delete(conn, number).map_err(opening)?;
                dead.push(token);
            }
        }
        // Whoever closes takes the log away. One that is there all the same may be newer than the database it stands
        // beside: an old copy of the database knows nothing of the owner that left it.
        if had_log && living == 0 && dead.is_empty() {
            self.check_after_unclean_end(conn)?;
        }
        Ok(dead)
    }

    fn check_after_unclean_end(&self, conn: &Connection) -> Result<(), Error> {
        let bytes: u64 = conn
            .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
                row.get::<_, i64>(0)
            })
            .map_err(opening)?
            .try_into()
            .unwrap_or(u64::MAX);
        if bytes > CHECK_BYTES_MAX {
            event::check_skipped(bytes);
            return Ok(());
        }
        if let Some(flaw) = schema::integrity_problem(conn).map_err(opening)? {
            return Err(Error::store(format!("the store is damaged ({flaw})")).advise(Advice::RestoreDamaged));
        }
        let Some((found, expected)) = counters::lost_records(conn).map_err(opening)? else { return Ok(()) };
        if self.accept_lost_records {
            return counters::accept_records(conn).map_err(opening);
        }
        let message = format!("the store has lost records: {found} records found, {expected} expected");
        Err(Error::store(message).advise(Advice::RestoreNewest))
    }

    /// The file beside the database remembers the highest claim number; a database that knows less has lost records.
    fn check_high_water(&self, conn: &Connection, high_water: &mut HighWater) -> Result<(), Error> {
        let issued = counters::claims_issued(conn).map_err(opening)?;
        let Some(highest) = high_water.read().filter(|highest| *highest > issued) else { return Ok(()) };
        if self.accept_lost_records {
            return counters::write(conn, Some(highest), 0).map_err(opening);
        }
        let message = format!(
            "the store has lost records: its last claim is {issued}, its high-water mark is {highest}"
        );
        Err(Error::store(message).advise(Advice::RestoreNewest))
    }
}

/// What the transaction that made the owner known has found.
pub(crate) struct Registered {
    number: i64,
    pub(crate) store_id: [u8; 16],
    pub(crate) clock: StoreClock,
    /// The tokens of owners that ended without closing, and are settled.
    pub(crate) dead: Vec<String>,
}

/// Puts the running records of a dead owner in doubt (index `idem_open`). False if one is damaged: it is left as it
/// is, for whoever calls it to be told, and so is the owner it names.
fn settle_running(conn: &Connection, owner: i64, clock: &StoreClock) -> Result<bool, ReadError> {
    let mut statement = conn.prepare("SELECT slot FROM idem_record WHERE status = 1 AND owner = ?1")?;
    let slots: Vec<Slot> = statement.query_map([owner], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut whole = true;
    for slot in slots {
        let record = match records::get(conn, &slot) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(ReadError::Damaged(_)) => {
                whole = false;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let mut doubt = record.in_doubt(Reason::OwnerDied);
        clock.stamp(&mut doubt);
        let new = Some(doubt);
        let expect = Expect::Exactly(record.claim, record.status);
        changes::apply(conn, &mut Change { slot, expect, new }, None)?;
    }
    Ok(whole)
}
