//! Owners that ended without a close.

use std::collections::HashSet;

use rusqlite::Connection;

use crate::error::Error;
use crate::locks::liveness::{Liveness, LivenessProbe};
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::Reason;
use crate::sqlite::failure::{opening, opening_read};
use crate::sqlite::records::ReadError;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::{changes, owners, records};

/// The owners of a store at open.
pub(super) struct Owners {
    /// Numbers and tokens of the dead owners.
    pub(super) dead: Vec<(i64, String)>,
    /// Number of owners that live or may live.
    pub(super) living: usize,
    /// The tokens of all owners.
    pub(super) tokens: HashSet<String>,
    /// Whether a living owner is of this process, opened by another copy of the library.
    pub(super) second_library: bool,
}

/// Reads the owners of a store and probes whether they live.
pub(super) fn find(conn: &Connection, probe: &LivenessProbe) -> Result<Owners, Error> {
    let mut found = Owners { dead: Vec::new(), living: 0, tokens: HashSet::new(), second_library: false };
    for number in owners::numbers(conn).map_err(opening)? {
        let Some((token, facts)) = owners::get(conn, number).map_err(opening_read)? else { continue };
        found.tokens.insert(token.clone());
        if probe.check(&token, &facts) == Liveness::Dead {
            found.dead.push((number, token));
        } else {
            found.living += 1;
            found.second_library |= facts.is_of_another_copy(&token);
        }
    }
    Ok(found)
}

/// Puts the running records of dead owners in doubt and deletes the owners. Returns the tokens of the deleted owners.
pub(super) fn settle(
    conn: &Connection,
    dead: Vec<(i64, String)>,
    clock: &StoreClock,
) -> Result<Vec<String>, Error> {
    let mut settled = Vec::new();
    for (number, token) in dead {
        if settle_running(conn, number, clock).map_err(opening_read)? {
            owners::delete(conn, number).map_err(opening)?;
            settled.push(token);
        }
    }
    Ok(settled)
}

/// Puts the running records of a dead owner in doubt (index `idem_open`).
///
/// Returns false if a record is damaged. A damaged record and its owner stay: the next call with its key gets the error.
fn settle_running(conn: &Connection, owner: i64, clock: &StoreClock) -> Result<bool, ReadError> {
    let mut all_settled = true;
    for slot in records::running_slots(conn, owner)? {
        let record = match records::get(conn, &slot) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(ReadError::Damaged(_)) => {
                all_settled = false;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let mut in_doubt = record.in_doubt(Reason::OwnerDied);
        clock.stamp(&mut in_doubt);
        let expect = Expect::Exactly(record.claim, record.status);
        changes::apply(conn, &mut Change { slot, expect, new: Some(in_doubt) }, None)?;
    }
    Ok(all_settled)
}
