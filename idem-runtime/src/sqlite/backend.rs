//! The reading half of the SQLite backend: records with their holders, owners, and the store's clock.
//!
//! Reads run on the caller's thread, on the connections of a [`ReadPool`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::backend::{
    Answer, Backend, Ended, FindReply, Found, Listed, Poison, ReadFailure, Search, Selection, Totals,
};
use crate::encoding::digest::Slot;
use crate::error::Error;
use crate::event;
use crate::host::mounts;
use crate::host::store_path::StorePath;
use crate::locks::liveness::{Liveness, LivenessProbe};
use crate::locks::owner_lock::{OwnerFacts, OwnerFile};
use crate::protocol::change::Change;
use crate::protocol::decide::Holder;
use crate::protocol::record::{Mark, NO_OWNER, Record, RecordRef, Status};
use crate::sqlite::integrity::LateCheck;
use crate::sqlite::read_pool::ReadPool;
use crate::sqlite::records::ReadError;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::timeline::wall_time;
use crate::sqlite::{connection, counters, failure, owners, purge, records, store_clock, verify};
use crate::sync::lock;
use crate::waiting::in_flight::InFlight;
use crate::waiting::oneshot::OneShot;

/// Reads one open store.
#[derive(Debug)]
pub(crate) struct SqliteBackend {
    pub(crate) path: StorePath,
    pub(crate) tenancy: Tenancy,
    /// The row of this open store in `idem_owner`.
    pub(crate) owner: i64,
    pub(crate) clock: StoreClock,
    /// The time up to which records are lost.
    lost_records: Option<Mark>,
    late_check: Mutex<Option<LateCheck>>,
    read_pool: ReadPool,
    probe: LivenessProbe,
    /// Tells which running claims are calls of this process.
    in_flight: Arc<InFlight>,
    /// Owners of other open stores, by number. Rows never change and numbers are never reused.
    owners: Mutex<HashMap<i64, (String, OwnerFacts)>>,
    owner_file: Mutex<Option<OwnerFile>>,
    /// Whether another connection held the write lock at the last commit.
    pub(crate) was_busy: AtomicBool,
}

/// The owner of this open store.
pub(crate) struct OpenOwner {
    pub(crate) number: i64,
    pub(crate) file: OwnerFile,
    pub(crate) probe: LivenessProbe,
    /// The time up to which records are lost.
    pub(crate) lost_records: Option<Mark>,
}

impl SqliteBackend {
    pub(crate) fn new(
        path: StorePath,
        tenancy: Tenancy,
        owner: OpenOwner,
        clock: StoreClock,
        in_flight: Arc<InFlight>,
    ) -> SqliteBackend {
        SqliteBackend {
            read_pool: ReadPool::new(path.database().to_owned(), tenancy),
            path,
            tenancy,
            owner: owner.number,
            lost_records: owner.lost_records,
            clock,
            probe: owner.probe,
            in_flight,
            owners: Mutex::default(),
            late_check: Mutex::default(),
            owner_file: Mutex::new(Some(owner.file)),
            was_busy: AtomicBool::new(false),
        }
    }

    /// Checks the pages of the store beside the calls. Damage poisons the store.
    pub(crate) fn check_later(&self, poison: Arc<Poison>) {
        let check = connection::connect_reader(self.path.database(), self.tenancy).and_then(|conn| {
            let no_thread = |error| Error::store("a thread of the store cannot be started").because(error);
            LateCheck::start(conn, poison).map_err(no_thread)
        });
        match check {
            Ok(check) => *lock(&self.late_check) = Some(check),
            Err(error) => event::store_error(&error.with_causes()),
        }
    }

    /// Ends the check that [`check_later`](SqliteBackend::check_later) began.
    pub(crate) fn stop_check(&self) {
        let check = lock(&self.late_check).take();
        if let Some(check) = check {
            check.stop();
        }
    }

    /// Reads the record under the first of `slots` that has one.
    fn read(&self, slots: &[Slot]) -> Result<Option<Record>, ReadFailure> {
        self.read_pool.read_record(|conn| {
            for slot in slots {
                if let Some(record) = records::get(conn, slot)? {
                    return Ok(Some(record));
                }
            }
            Ok(None)
        })
    }

    fn find_now(&self, search: Search) -> FindReply {
        match search {
            Search::Slots(slots) => match self.read(&slots)? {
                Some(record) => self.with_holder(Arc::new(record)),
                None => Ok(None),
            },
            Search::Holder(record) => self.with_holder(record),
        }
    }

    /// Adds the holder to a record.
    ///
    /// If the holder is gone, the record is read again. A call that ended after the first read was not cut off. Returns the
    /// record of the last read.
    fn with_holder(&self, mut record: Arc<Record>) -> FindReply {
        loop {
            let holder = self.holder(&record)?;
            if record.status != Status::Running || !holder.is_gone() {
                return Ok(Some(self.found(record, holder)));
            }
            match self.read(&[record.slot])? {
                None => return Ok(None),
                Some(now) if (now.claim, now.status) != (record.claim, record.status) => {
                    record = Arc::new(now);
                }
                Some(_) => return Ok(Some(self.found(record, holder))),
            }
        }
    }

    fn found(&self, record: Arc<Record>, holder: Holder) -> Found {
        let age_ms = self.age_ms(record.at);
        Found { record, holder, age_ms }
    }

    fn holder(&self, record: &Record) -> Result<Holder, ReadFailure> {
        if record.status != Status::Running || record.owner == NO_OWNER {
            // A finished record has no holder. A `tx` body that ended the transaction left a running record without an
            // owner.
            return Ok(Holder::Nobody);
        }
        if record.owner == self.owner {
            return Ok(if self.in_flight.is_local(record.claim) { Holder::Local } else { Holder::Nobody });
        }
        let Some((token, facts)) = self.owner_facts(record.owner).map_err(ReadFailure::Store)? else {
            return Ok(Holder::Unknown);
        };
        Ok(match self.probe.check(&token, &facts) {
            Liveness::Alive => Holder::Alive,
            Liveness::Dead => Holder::Dead,
            Liveness::Unknown => Holder::Unknown,
        })
    }

    /// The token and the facts of an owner. `None` if its row is gone.
    fn owner_facts(&self, number: i64) -> Result<Option<(String, OwnerFacts)>, Error> {
        if let Some(known) = lock(&self.owners).get(&number) {
            return Ok(Some(known.clone()));
        }
        let found = self.read_pool.read("reading an owner", |conn| owners::get(conn, number))?;
        if let Some(owner) = &found {
            lock(&self.owners).insert(number, owner.clone());
        }
        Ok(found)
    }

    /// Reads one polled claim. `None` if the claim still runs.
    fn poll_one(&self, claim: u64, slot: Slot) -> Option<Ended> {
        let found = self.read(&[slot]).ok()?;
        let runs_on = match &found {
            Some(record) if record.claim == claim && record.status == Status::Running => {
                !self.holder(record).is_ok_and(Holder::is_gone)
            }
            _ => false,
        };
        (!runs_on).then_some(Ended(found))
    }
}

impl Backend for SqliteBackend {
    fn visit(&self, slots: &[Slot], answer: &mut Answer<'_>) -> Option<Result<Option<Arc<Record>>, Error>> {
        Some(self.read_pool.read("reading a record", |conn| {
            for slot in slots {
                let unanswered = |record: &RecordRef<'_>| {
                    (!answer(record, self.age_ms(record.at))).then(|| Arc::new(record.to_record()))
                };
                if let Some(record) = records::visit(conn, slot, unanswered)? {
                    return Ok(record);
                }
            }
            Ok(None)
        }))
    }

    fn find(&self, search: Search, reply: Arc<OneShot<FindReply>>) {
        reply.send(self.find_now(search));
    }

    fn poll(&self, waited: &[(u64, Slot)]) -> Vec<Option<Ended>> {
        waited.iter().map(|(claim, slot)| self.poll_one(*claim, *slot)).collect()
    }

    fn page(&self, selection: &Selection<'_>) -> Result<Vec<Listed>, Error> {
        let page = self.read_pool.read("listing records", |conn| records::select(conn, selection))?;
        page.into_iter()
            .map(|(number, record)| match record {
                Ok(record) => {
                    Ok((number, self.with_holder(Arc::new(record)).map_err(ReadFailure::into_error)?))
                }
                Err(_) => Ok((number, None)),
            })
            .collect()
    }

    fn totals(&self) -> Result<Totals, Error> {
        let (records, unfinished) = self.read_pool.read("counting records", |conn| {
            Ok((
                counters::expected_records(conn)?.unsigned_abs(),
                records::count_unfinished(conn)?.unsigned_abs(),
            ))
        })?;
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (database_bytes, wal_bytes) = (bytes(self.path.database()), bytes(&self.path.wal()));
        let volatile_mount = mounts::volatile_kind(self.path.database());
        Ok(Totals { records, unfinished, database_bytes, wal_bytes, volatile_mount })
    }

    fn expired(&self, limit: u32) -> Result<Vec<Change>, Error> {
        let before_ms = purge::due_before_ms(&self.clock);
        let found = self.read_pool.read("purging", |conn| records::purgeable(conn, before_ms, limit))?;
        Ok(purge::expired(&self.clock, &|mark| self.age_ms(mark), found))
    }

    fn verify(&self) -> Result<Vec<String>, Error> {
        self.read_pool.read("checking the store", verify::problems)
    }

    fn stamp(&self, record: &mut Record) {
        self.clock.stamp(record);
        if record.status == Status::Running {
            record.owner = self.owner;
        }
    }

    fn age_ms(&self, mark: Mark) -> Option<i64> {
        let load = || {
            let rows =
                self.read_pool.read("reading the clock rows", |conn| Ok(store_clock::read_boots(conn)?));
            // If the read fails, the age is unknown. A record of unknown age does not expire.
            rows.ok()
        };
        self.clock.age_ms(mark, load)
    }

    fn wall_time(&self, mark: Mark) -> SystemTime {
        wall_time(self.clock.wall_ms(mark))
    }

    fn settles_in(&self, since: Mark, window: Duration) -> Duration {
        let age_ms = self.clock.doubt_ms(since, !self.probe.is_remote());
        window.saturating_sub(Duration::from_millis(age_ms.max(0).unsigned_abs()))
    }

    fn lost_records(&self) -> Option<Mark> {
        self.lost_records
    }

    fn owner(&self) -> i64 {
        self.owner
    }

    fn owner_text(&self, owner: i64) -> Option<String> {
        let (_, facts) = self.owner_facts(owner).ok()??;
        Some(facts.text())
    }

    fn not_in_time(&self, what: &str) -> Error {
        // Otherwise this store may hold the lock itself, while the disk is slow.
        if self.was_busy.load(Ordering::Relaxed) {
            failure::not_in_time(self.path.database(), what)
        } else {
            Error::not_in_time(what)
        }
    }

    fn close_reads(&self) {
        self.read_pool.close();
    }

    fn leak_reads(&self) {
        self.read_pool.leak();
    }

    fn release_owner(&self) -> Result<(), Error> {
        let file = lock(&self.owner_file).take();
        file.map_or(Ok(()), OwnerFile::close).map_err(|error| {
            Error::store("the lock file of the closed store cannot be removed").because(error)
        })
    }

    fn abandon_owner(&self) {
        drop(lock(&self.owner_file).take());
    }
}

impl ReadPool {
    /// Reads a record. Distinguishes a damaged row from a failed read.
    fn read_record<T>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadFailure> {
        let answer = self.read("reading a record", |conn| match query(conn) {
            Err(ReadError::Damaged(what)) => Ok(Err(what)),
            answer => answer.map(Ok),
        });
        answer.map_err(ReadFailure::Store)?.map_err(ReadFailure::Damaged)
    }
}
