//! What the handle, the writer and the claims of one open store share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::encoding::digest::Slot;
use crate::engine::queue::Queue;
use crate::error::Error;
use crate::host::store_path::StorePath;
use crate::locks::liveness::{Liveness, LivenessProbe};
use crate::locks::owner_lock::OwnerFacts;
use crate::protocol::decide::{Expired, Holder};
use crate::protocol::record::{NO_OWNER, Record, RecordRef, Status};
use crate::protocol::timeline::Stamp;
use crate::sqlite::read_pool::Readers;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::store_clock::StoreClock;
use crate::sqlite::{owners, records, store_clock};
use crate::sync::lock;
use crate::waiting::in_flight::InFlight;
use crate::waiting::watcher::{Poll, Watcher};

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) path: StorePath,
    pub(crate) tenancy: Tenancy,
    /// Random, made with the store.
    pub(crate) store_id: [u8; 16],
    /// The base of downstream tokens, instead of the store's id.
    pub(crate) token_namespace: Option<Arc<str>>,
    /// How long after a crash "not done" is not believed.
    pub(crate) settle_window: Duration,
    pub(crate) result_bytes_max: usize,
    /// The log is folded into the database when it is so long.
    pub(crate) log_bytes: u64,
    /// How long the caller of a finished body waits for its record.
    pub(crate) record_within: Duration,
    /// The row of this open store in `idem_owner`.
    pub(crate) owner: i64,
    pub(crate) queue: Queue,
    pub(crate) readers: Readers,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) clock: StoreClock,
    probe: LivenessProbe,
    /// Owners of other open stores, by their row. Rows never change and numbers are never reused.
    owners: Mutex<HashMap<i64, (String, OwnerFacts)>>,
    pid: u32,
    /// A [`Phase`]. Every call looks at it, from all threads: none is to queue for a lock.
    phase: AtomicU8,
    give_up_at: OnceLock<Instant>,
    poison: OnceLock<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Running calls are waited for.
    Closing,
    Closed,
}

/// What opening found out; see the fields of [`Core`].
pub(crate) struct Found {
    pub(crate) path: StorePath,
    pub(crate) tenancy: Tenancy,
    pub(crate) store_id: [u8; 16],
    pub(crate) token_namespace: Option<Arc<str>>,
    pub(crate) settle_window: Duration,
    pub(crate) result_bytes_max: usize,
    pub(crate) log_bytes: u64,
    pub(crate) record_within: Duration,
    pub(crate) owner: i64,
    pub(crate) clock: StoreClock,
    pub(crate) probe: LivenessProbe,
}

impl Core {
    pub(crate) fn new(found: Found) -> Core {
        let readers = Readers::new(found.path.database().to_owned(), found.tenancy);
        Core {
            path: found.path,
            tenancy: found.tenancy,
            store_id: found.store_id,
            token_namespace: found.token_namespace,
            settle_window: found.settle_window,
            result_bytes_max: found.result_bytes_max,
            log_bytes: found.log_bytes,
            record_within: found.record_within,
            owner: found.owner,
            queue: Queue::default(),
            readers,
            in_flight: Arc::default(),
            watcher: Arc::default(),
            clock: found.clock,
            probe: found.probe,
            owners: Mutex::default(),
            pid: std::process::id(),
            phase: AtomicU8::new(Phase::Open as u8),
            give_up_at: OnceLock::new(),
            poison: OnceLock::new(),
        }
    }

    /// Refuses the use of a store that is closed, of another process, or beyond repair.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        if !self.is_of_this_process() {
            return Err(Error::forked());
        }
        self.check_not_ended()?;
        self.check_poison()
    }

    /// Whether no new calls are taken.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase() == Phase::Closing
    }

    /// A wait that began before the store was closed ends with it.
    pub(crate) fn check_not_ended(&self) -> Result<(), Error> {
        if self.phase() == Phase::Closed { Err(Error::closed()) } else { Ok(()) }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            open if open == Phase::Open as u8 => Phase::Open,
            closing if closing == Phase::Closing as u8 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.pid == std::process::id()
    }

    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        self.poison.get().cloned().map_or(Ok(()), Err)
    }

    /// Nothing is written any more; every later call gets this error.
    pub(crate) fn poison(&self, error: Error) {
        // The first trouble is the one to tell.
        self.poison.get_or_init(|| error);
    }

    /// No new calls from now on.
    pub(crate) fn begin_close(&self) {
        self.set_phase(Phase::Closing);
        self.queue.begin_close();
    }

    /// The store could not be closed.
    pub(crate) fn reopen(&self) {
        self.set_phase(Phase::Open);
        self.queue.reopen();
    }

    /// The writer has ended. Whoever still waits is told.
    pub(crate) fn end(&self) {
        self.set_phase(Phase::Closed);
        self.watcher.close();
        self.in_flight.abandon();
        if self.check_poison().is_ok() { self.readers.close() } else { self.readers.leak() }
    }

    /// What cannot be written by then is given up.
    pub(crate) fn give_up_at(&self, deadline: Instant) {
        self.give_up_at.get_or_init(|| deadline);
    }

    /// How much longer a closing store tries.
    pub(crate) fn give_up_in(&self) -> Duration {
        self.give_up_at
            .get()
            .map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn must_give_up(&self) -> bool {
        self.give_up_at.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// The record in the first of the slots that has one: the name first, then the earlier names.
    pub(crate) fn read(&self, slots: &[Slot]) -> Result<Option<Record>, Error> {
        self.readers.read("reading a record", |conn| {
            for slot in slots {
                if let Some(record) = records::get(conn, slot)? {
                    return Ok(Some(record));
                }
            }
            Ok(None)
        })
    }

    /// The same, unless `answer` can do with a look at the record in place: then none is given.
    pub(crate) fn read_unless(
        &self,
        slots: &[Slot],
        answer: &mut dyn FnMut(&RecordRef<'_>) -> bool,
    ) -> Result<Option<Arc<Record>>, Error> {
        self.readers.read("reading a record", |conn| {
            for slot in slots {
                let unanswered =
                    |record: &RecordRef<'_>| (!answer(record)).then(|| Arc::new(record.to_record()));
                if let Some(record) = records::look(conn, slot, unanswered)? {
                    return Ok(record);
                }
            }
            Ok(None)
        })
    }

    pub(crate) fn now(&self) -> Stamp {
        self.clock.now()
    }

    pub(crate) fn age_ms(&self, stamp: Stamp) -> Option<i64> {
        let load = || {
            let rows = self.readers.read("reading the clock rows", |conn| Ok(store_clock::read_boots(conn)?));
            // Without the row the age is unknown, and an unknown age expires nothing.
            rows.ok()
        };
        self.clock.age_ms(stamp, load)
    }

    pub(crate) fn expired(&self, record: &Record) -> Expired {
        Expired::of(&record.borrowed(), self.age_ms(record.at))
    }

    /// How much longer "not done" is not to be believed; zero once the settle window is over.
    ///
    /// A request that was handed to the kernel can arrive after its caller was killed. What is from an earlier boot
    /// cannot.
    pub(crate) fn settles_in(&self, doubt_since: Stamp) -> Duration {
        if !self.clock.same_boot(doubt_since) {
            return Duration::ZERO;
        }
        let age_ms = self.age_ms(doubt_since).unwrap_or_default();
        self.settle_window.saturating_sub(Duration::from_millis(age_ms.unsigned_abs()))
    }

    pub(crate) fn with_purge_time(&self, record: Record) -> Record {
        let lifetime_ms = record.next_lifetime().to_ms();
        let purge_ms = lifetime_ms.map(|lifetime_ms| self.clock.expires_wall_ms(record.at, lifetime_ms));
        Record { purge_ms, ..record }
    }

    /// Who holds a running record.
    pub(crate) fn holder(&self, record: &Record) -> Result<Holder, Error> {
        if record.owner == NO_OWNER {
            // Its body has ended the transaction that hid it.
            return Ok(Holder::Nobody);
        }
        if record.owner == self.owner {
            return Ok(if self.in_flight.is_local(record.claim) { Holder::Here } else { Holder::Nobody });
        }
        let Some((token, facts)) = self.owner(record.owner)? else { return Ok(Holder::Unknown) };
        Ok(match self.probe.check(&token, &facts) {
            Liveness::Alive => Holder::Alive,
            Liveness::Dead => Holder::Dead,
            Liveness::Unknown => Holder::Unknown,
        })
    }

    /// The same, sure of it: a call that ended between the read and the look at its owner is not cut off. Gives the
    /// record as it is by then; none if it went.
    pub(crate) fn confirmed_holder(
        &self,
        record: Arc<Record>,
    ) -> Result<Option<(Arc<Record>, Holder)>, Error> {
        let mut record = record;
        loop {
            if record.status != Status::Running {
                return Ok(Some((record, Holder::Nobody)));
            }
            let holder = self.holder(&record)?;
            if !matches!(holder, Holder::Dead | Holder::Nobody) {
                return Ok(Some((record, holder)));
            }
            match self.read(&[record.slot])? {
                None => return Ok(None),
                Some(now) if (now.claim, now.status) != (record.claim, record.status) => {
                    record = Arc::new(now);
                }
                Some(_) => return Ok(Some((record, holder))),
            }
        }
    }

    fn owner(&self, number: i64) -> Result<Option<(String, OwnerFacts)>, Error> {
        if let Some(known) = lock(&self.owners).get(&number) {
            return Ok(Some(known.clone()));
        }
        let found = self.readers.read("reading an owner", |conn| owners::get(conn, number))?;
        if let Some(owner) = &found {
            lock(&self.owners).insert(number, owner.clone());
        }
        Ok(found)
    }

    /// An owner for people: its process and host, while its row is there.
    pub(crate) fn owner_text(&self, number: i64) -> Option<String> {
        let (_, facts) = self.owner(number).ok()??;
        Some(format!("process {} on {}", facts.pid, facts.host))
    }

    /// The watcher's look at a claim somebody waits for; wakes them when it is over.
    pub(crate) fn poll(&self, slot: &Slot, claim: u64) -> Poll {
        if !self.in_flight.has_waiters(claim) {
            return Poll::Ended;
        }
        let Ok(found) = self.read(&[*slot]) else { return Poll::Running };
        let runs_on = match &found {
            Some(record) if record.claim == claim && record.status == Status::Running => {
                !matches!(self.holder(record), Ok(Holder::Dead | Holder::Nobody))
            }
            _ => false,
        };
        if runs_on {
            return Poll::Running;
        }
        self.in_flight.complete(claim, found.as_ref());
        Poll::Ended
    }
}
