//! Registers an open store as an owner, in one transaction.
//!
//! The transaction holds the tables, the row of the owner, the row of the clock, and the records of dead owners, which
//! become in doubt. The owner file is locked before the row is visible, so no process takes the owner for dead.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Error;
use crate::event;
use crate::host::clock::{Clock, SystemClock};
use crate::host::high_water::HighWater;
use crate::host::sidecar::Sidecar;
use crate::locks::liveness::LivenessProbe;
use crate::locks::owner_lock::{OwnerFacts, OwnerFile};
use crate::protocol::record::Mark;
use crate::sqlite::backend::OpenOwner;
use crate::sqlite::failure;
use crate::sqlite::failure::opening;
use crate::sqlite::opening::lost_records::Loss;
use crate::sqlite::opening::{dead_owners, history, lost_records};
use crate::sqlite::schema::Tenancy;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::sqlite::{owners, records, schema};

/// The options of a registration.
pub(super) struct Registration {
    pub(super) tenancy: Tenancy,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) accept_lost_records: bool,
    /// Whether the database is new although the high-water file knows claims.
    pub(super) is_lost: bool,
}

/// The result of the transaction that registers the owner.
pub(super) struct Registered {
    number: i64,
    lost_records: Option<Mark>,
    pub(super) store_id: [u8; 16],
    pub(super) clock: StoreClock,
    /// Tokens of the dead owners whose running records are now in doubt.
    pub(super) dead: Vec<String>,
    /// Tokens of the owners that had a row before this one.
    pub(super) owners: HashSet<String>,
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
            Ok(registered) => {
                let Registered { number, lost_records, .. } = registered;
                Ok((OpenOwner { number, file, probe, lost_records }, registered))
            }
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
        let transaction = WriteTransaction::begin(conn)
            .map_err(|error| failure::not_begun(conn, error, failure::OPENING))?;
        schema::migrate(&transaction, self.tenancy).map_err(opening)?;
        let is_behind = lost_records::check_high_water(&transaction, high_water, self.accept_lost_records)?;
        let clock = StoreClock::open(&transaction, clock).map_err(opening)?;
        let lost_records = self.accept_loss(&transaction, is_behind, &clock)?;
        history::note_machine(&transaction)?;
        let owners = dead_owners::find(&transaction, probe)?;
        if owners.second_library {
            event::second_library(std::process::id());
        }
        let dead = dead_owners::settle(&transaction, owners.dead, &clock)?;
        let number = owners::insert(&transaction, token, &OwnerFacts::here()).map_err(opening)?;
        let store_id = schema::store_id(&transaction).map_err(opening)?;
        let unfinished = records::count_unfinished(&transaction).map_err(opening)?;
        transaction.commit().map_err(opening)?;
        if unfinished > 0 {
            event::unfinished_at_open(unfinished);
        }
        if lost_records.is_some() {
            event::lost_records_accepted();
        }
        Ok(Registered { number, lost_records, store_id, clock, dead, owners: owners.tokens })
    }

    /// Notes an accepted loss. Returns the time up to which records are lost, also by an earlier loss.
    fn accept_loss(
        &self,
        conn: &Connection,
        is_behind: Loss,
        clock: &StoreClock,
    ) -> Result<Option<Mark>, Error> {
        let is_missing =
            if self.accept_lost_records { lost_records::accept_missing_records(conn)? } else { Loss::None };
        if self.is_lost || is_behind == Loss::Accepted || is_missing == Loss::Accepted {
            history::note_loss(conn, clock.now())?;
        }
        history::loss(conn)
    }
}
