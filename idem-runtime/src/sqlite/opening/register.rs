//! Registers an open store as an owner, in one transaction.
//!
//! The transaction holds the tables, the row of the owner, the row of the clock, and the records of dead owners, which
//! become in doubt. The owner file is locked before the row is visible, so no process takes the owner for dead.

use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Error;
use crate::event;
use crate::host::clock::{Clock, SystemClock};
use crate::host::high_water::HighWater;
use crate::host::sidecar::Sidecar;
use crate::locks::liveness::LivenessProbe;
use crate::locks::owner_lock::{OwnerFacts, OwnerFile};
use crate::sqlite::backend::OpenOwner;
use crate::sqlite::failure::opening;
use crate::sqlite::opening::{dead_owners, lost_records};
use crate::sqlite::schema::Tenancy;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{owners, records, schema};

/// The options of a registration.
pub(super) struct Registration {
    pub(super) tenancy: Tenancy,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) accept_lost_records: bool,
    /// Whether there was a WAL before the open.
    pub(super) had_wal: bool,
}

/// The result of the transaction that registers the owner.
pub(super) struct Registered {
    number: i64,
    pub(super) store_id: [u8; 16],
    pub(super) clock: StoreClock,
    /// Tokens of the dead owners whose running records are now in doubt.
    pub(super) dead: Vec<String>,
}

impl Registration {
    /// Registers this open store as an owner, and puts the running records of dead owners in doubt.
    pub(super) fn register(
        &self,
        conn: &Connection,
        sidecar: &Sidecar,
        high_water: &mut HighWater,
    ) -> Result<(OpenOwner, Registered), Error> {
        let token = owners::new_token(conn).map_err(opening)?;
        let no_file = |error| Error::store("the owner's lock file cannot be made").because(error);
        let file = OwnerFile::create(sidecar, &token).map_err(no_file)?;
        let probe = LivenessProbe::new(sidecar, &token);
        match self.commit_owner(conn, &token, &probe, high_water) {
            Ok(registered) => Ok((OpenOwner { number: registered.number, file, probe }, registered)),
            Err(error) => {
                // No row names the file. If the removal fails, the unlocked file does no harm.
                let _ = file.close();
                Err(error)
            }
        }
    }

    fn commit_owner(
        &self,
        conn: &Connection,
        token: &str,
        probe: &LivenessProbe,
        high_water: &mut HighWater,
    ) -> Result<Registered, Error> {
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let transaction = WriteTransaction::begin(conn).map_err(opening)?;
        schema::migrate(&transaction, self.tenancy).map_err(opening)?;
        lost_records::check_high_water(&transaction, high_water, self.accept_lost_records)?;
        let clock = StoreClock::open(&transaction, clock).map_err(opening)?;
        let dead = self.settle_dead_owners(&transaction, probe, &clock)?;
        let number = owners::insert(&transaction, token, &OwnerFacts::here()).map_err(opening)?;
        let store_id = schema::store_id(&transaction).map_err(opening)?;
        let unfinished = records::count_unfinished(&transaction).map_err(opening)?;
        transaction.commit().map_err(opening)?;
        if unfinished > 0 {
            event::unfinished_at_open(unfinished);
        }
        Ok(Registered { number, store_id, clock, dead })
    }

    /// Puts the running records of dead owners in doubt. Returns the tokens of these owners.
    ///
    /// If an owner has died or left a WAL, checks the store first.
    fn settle_dead_owners(
        &self,
        conn: &Connection,
        probe: &LivenessProbe,
        clock: &StoreClock,
    ) -> Result<Vec<String>, Error> {
        let owners = dead_owners::find(conn, probe)?;
        // A clean close deletes the WAL. A WAL without an owner may be newer than the database. An old copy of the database
        // has no row of the owner that left the WAL.
        if !owners.dead.is_empty() || self.had_wal && owners.living == 0 {
            lost_records::check_after_unclean_end(conn, self.accept_lost_records)?;
        }
        dead_owners::settle(conn, owners.dead, clock)
    }
}
