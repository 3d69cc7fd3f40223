//! `peek` and `settle` of a `tx` call: they look at its connection, as the call does.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::backend::Found;
use crate::call::inspect::answer::Records;
use crate::call::prepared::Prepared;
use crate::error::{Error, Ran};
use crate::open::RESULT_BYTES_MAX;
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::decide::{Standing, View};
use crate::protocol::record::Record;
use crate::sqlite::records::ReadError;
use crate::sqlite::timeline::wall_time;
use crate::sqlite::{changes, owners};
use crate::store::snapshot::Snapshot;
use crate::tx::acquire;
use crate::tx::connection::{timeline, unreadable};
use crate::tx::savepoint::Savepoint;

/// The records of one database, read and written through the user's connection.
pub(super) struct ConnectionRecords<'conn> {
    pub(super) conn: &'conn Connection,
    pub(super) store_id: [u8; 16],
}

impl Records for ConnectionRecords<'_> {
    fn find(&self, call: &Prepared, _wait: Duration) -> Result<Option<Found>, Error> {
        let timeline = timeline(self.conn)?.0;
        let Some((record, _)) = acquire::record(self.conn, call, &timeline)? else { return Ok(None) };
        let holder = acquire::holder(&record, call.is_reentrant(&self.store_id));
        let age_ms = timeline.age_ms(record.at);
        let is_absent = View::of(&record, holder, age_ms, false).standing() == Standing::Absent;
        Ok((!is_absent).then(|| Found { record: Arc::new(record), holder, age_ms }))
    }

    fn snapshot(&self, found: Found) -> Snapshot {
        let since = timeline(self.conn).map_or(0, |(timeline, _)| timeline.wall_ms(found.record.at));
        let owner = owners::get(self.conn, found.record.owner).ok().flatten();
        Snapshot::new(found, wall_time(since), owner.map(|(_, facts)| facts.text()))
    }

    fn check_writable(&self) -> Result<(), Error> {
        acquire::check_connection(self.conn, &self.store_id)
    }

    fn settle(&self, seen: &Record, new: Option<Record>) -> Result<bool, Error> {
        let mut savepoint = Savepoint::begin(self.conn)?;
        let new = new.map(|mut new| {
            savepoint.timeline.stamp(&mut new);
            new
        });
        let expect = Expect::Exactly(seen.claim, seen.status);
        let mut change = Change { slot: seen.slot, expect, new };
        match changes::apply(self.conn, &mut change, None).map_err(unreadable)? {
            Applied::Yes => {}
            Applied::No(_) => return Ok(false),
            Applied::Damaged(what) => return Err(unreadable(ReadError::Damaged(what))),
        }
        if !savepoint.release() {
            return Err(Error::store("the verdict was rolled back"));
        }
        if savepoint.owns_transaction {
            savepoint.commit().map_err(|error| error.with_ran(Ran::No))?;
        }
        Ok(true)
    }

    fn running(&self, _record: &Record) -> Error {
        acquire::running_outside()
    }

    fn result_bytes_max(&self) -> usize {
        RESULT_BYTES_MAX
    }
}
