//! The methods of an operator: get, list, count, forget, steal, purge, record, verify.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::backend::request::{Caller, OnFailure, Reply, Request};
use crate::backend::{Found, ReadFailure};
use crate::bounds::{KeyValue, Value};
use crate::call::refusal;
use crate::encoding::codec::{self, Stored};
use crate::encoding::digest::{self, Slot};
use crate::encoding::fingerprint::Fingerprint;
use crate::encoding::key::Key;
use crate::engine::state::{READ_WAIT, StoreState, WRITE_WAIT};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::policy::Lifetime;
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Standing;
use crate::protocol::record::{Mark, Reason, Record, Status};
use crate::scope::context;
use crate::store::snapshot::{Filter, Snapshot};
use crate::store::{Stats, Store};
use crate::sync::deadline;
use crate::waiting::oneshot::OneShot;

impl Store {
    /// Returns the record of a call. `None` if the call has no record, or one whose `ttl` is over.
    ///
    /// If the end of the call is not written yet, waits for the write, at most a second.
    ///
    /// ```
    /// use idem_runtime::{Error, Store, call};
    ///
    /// let store = Store::temporary()?;
    /// let paid: Result<u64, Error> = call("shop.charge").store(&store).key("A-17").run(|| Ok(500));
    /// assert_eq!(paid?, 500);
    /// let record = store.get("shop.charge", "A-17")?;
    /// assert_eq!(record.map(|record| record.result::<u64>()).transpose()?, Some(500));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::BadKey`] if no call can have this key.
    /// - [`ErrorKind::Store`] if the record is damaged or the store cannot be read.
    pub fn get<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<Option<Snapshot>, Error> {
        let key = self.key(name, key)?;
        let state = self.state();
        let found = state.find_standing(&[digest::slot(name, &key)], deadline(READ_WAIT));
        let found = found.map_err(|failure| failure.into_error().about(name, key.as_str()))?;
        Ok(found.map(|found| Snapshot::of(state, found, 0)))
    }

    /// Returns the records that match a filter, in the order in which they were first made.
    ///
    /// The filter limits the number of records. For the next page, pass the last record to [`Filter::after`]. The list
    /// leaves out records whose `ttl` is over, and damaged records; [`verify`](Store::verify) finds the damaged ones.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Snapshot>, Error> {
        let state = self.state();
        context::check_usable(state)?;
        let until = deadline(READ_WAIT);
        let mut snapshots = Vec::new();
        let mut selection = filter.selection();
        while snapshots.len() < filter.limit {
            let page = state.backend.page(&selection)?;
            let Some((last, _)) = page.last() else { break };
            selection.after = *last;
            for (number, found) in page {
                let found = state.after_queued_write(found, until).map_err(ReadFailure::into_error)?;
                let Some(found) = found.filter(|found| found.standing() != Standing::Absent) else {
                    continue;
                };
                let snapshot = Snapshot::of(state, found, number);
                if filter.admits(&snapshot) && snapshots.len() < filter.limit {
                    snapshots.push(snapshot);
                }
            }
        }
        Ok(snapshots)
    }

    /// Returns counts and sizes of the store, without reading the records.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let state = self.state();
        context::check_usable(state)?;
        let totals = state.backend.totals()?;
        Ok(Stats {
            records: totals.records,
            unfinished: totals.unfinished,
            running_here: state.in_flight.count_local(),
            queued: state.queue.len(),
            database_bytes: totals.database_bytes,
            wal_bytes: totals.wal_bytes,
            lost_records: state.backend.lost_records().map(|mark| state.backend.wall_time(mark)),
            volatile_mount: totals.volatile_mount,
        })
    }

    /// Deletes the record of a finished call or of a call in doubt. True if there was a record whose `ttl` is not over.
    ///
    /// The next call runs the body. A damaged record is deleted too. To record the outcome of a call in doubt, use
    /// [`settle`](crate::settle) instead.
    ///
    /// # Errors
    /// - [`ErrorKind::Running`] if the call runs.
    /// - [`ErrorKind::BadKey`] if no call can have this key.
    /// - [`ErrorKind::Store`] if the store cannot be read or written.
    pub fn forget<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        self.check_writable()?;
        let slot = digest::slot(name, &key);
        loop {
            let expect = match self.state().find_standing(&[slot], deadline(WRITE_WAIT)) {
                Ok(None) => return Ok(false),
                Ok(Some(found)) => expect_unheld(self.state(), &found)?,
                Err(ReadFailure::Damaged(_)) => Expect::Any,
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            if self.write(Change { slot, expect, new: None })?.is_none() {
                return Ok(true);
            }
            // The record has changed since the read. For example, a call of a dead owner is in doubt now.
        }
    }

    /// Takes a running call from its owner. True if the call was running.
    ///
    /// The call is in doubt from then on, and its waiters proceed by their own `on_interrupt`. Steal a call only if its
    /// body can have no further effect.
    ///
    /// If the body ends after all, its outcome is recorded unless another caller has changed the record. In that case the
    /// caller of the body gets [`Fenced`](ErrorKind::Fenced).
    ///
    /// # Errors
    /// - [`ErrorKind::BadKey`] if no call can have this key.
    /// - [`ErrorKind::Store`] if the record is damaged, or the store cannot be read or written.
    pub fn steal<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        self.check_writable()?;
        let slot = digest::slot(name, &key);
        let found =
            self.state().find_standing(&[slot], deadline(WRITE_WAIT)).map_err(ReadFailure::into_error)?;
        let Some(Found { record, .. }) = found.filter(|found| found.standing() == Standing::Running) else {
            return Ok(false);
        };
        let new = Some(self.state().stamped(record.in_doubt(Reason::Stolen)));
        let expect = Expect::Exactly(record.claim, Status::Running);
        Ok(self.write(Change { slot, expect, new })?.is_none())
    }

    /// Purges up to `limit` expired records and results. Returns the number of purged records and results.
    ///
    /// A purge leaves a record for a minute after the end of its lifetime, because waiters of other processes may still
    /// read it. The writer thread also purges after ordinary commits. This method serves stores that are seldom written.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read or written.
    pub fn purge_expired(&self, limit: u32) -> Result<usize, Error> {
        context::check_usable(self.state())?;
        self.check_writable()?;
        let changes = self.state().backend.expired(limit)?;
        let replies: Vec<_> = changes.into_iter().map(|change| self.submit(change, Caller::Async)).collect();
        let mut purged = 0;
        for reply in replies {
            purged += usize::from(self.wait(&reply)?.is_none());
        }
        Ok(purged)
    }

    /// Records a call as done with `value`, without running a body. False if the call has a record whose `ttl` is not over.
    ///
    /// Use this method to move records from another store. The record has no fingerprint and is kept forever.
    ///
    /// # Errors
    /// - [`ErrorKind::BadKey`] if no call can have this key.
    /// - [`ErrorKind::BadArgument`] if `value` cannot be stored.
    /// - [`ErrorKind::Store`] if the store cannot be read or written.
    pub fn record_done<K, T>(&self, name: &str, key: &K, value: &T) -> Result<bool, Error>
    where
        K: KeyValue + ?Sized,
        T: Value,
    {
        let key = self.key(name, key)?;
        self.check_writable()?;
        let bytes_max = self.state().settings.result_bytes_max;
        let encoded = codec::encode(value, None, bytes_max).map_err(|unstorable| {
            Error::new(ErrorKind::BadArgument, Ran::No, unstorable.to_string())
                .advise(Advice::StorableResult)
                .about(name, key.as_str())
        })?;
        let slot = digest::slot(name, &key);
        let new = self.done_record(slot, name, &key, encoded.stored);
        loop {
            let found =
                self.state().find_written(slot, deadline(WRITE_WAIT)).map_err(ReadFailure::into_error)?;
            if found.as_ref().is_some_and(|found| found.standing() != Standing::Absent) {
                return Ok(false);
            }
            let over = found.map(|expired| expired.record.claim);
            let expect = Expect::Free { over, nor_in: Vec::new(), expired: Vec::new() };
            if self.write(Change { slot, expect, new: Some(new.clone()) })?.is_none() {
                return Ok(true);
            }
            // Another process has changed the record since the read.
        }
    }

    /// Checks the whole database and every record. Returns a description of each fault, or an empty list.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn verify(&self) -> Result<Vec<String>, Error> {
        context::check_usable(self.state())?;
        self.state().backend.verify()
    }

    fn state(&self) -> &StoreState {
        &self.inner.engine.state
    }

    fn key<K: Serialize + ?Sized>(&self, name: &str, key: &K) -> Result<Key, Error> {
        context::check_usable(self.state())?;
        Key::of(key).map_err(|bad| Error::new(ErrorKind::BadKey, Ran::No, bad.to_string()).about_name(name))
    }

    fn done_record(&self, slot: Slot, name: &str, key: &Key, result: Stored) -> Record {
        self.state().stamped(Record {
            slot,
            name: name.to_owned(),
            key: key.as_str().to_owned(),
            status: Status::Done,
            claim: 0,
            owner: self.state().backend.owner(),
            attempt: 1,
            returned: 0,
            fingerprint: Fingerprint::default().encode(),
            at: Mark::default(),
            reason: None,
            doubt_since: None,
            ttl: Lifetime::FOREVER,
            keep_result: Lifetime::FOREVER,
            result: Some(result),
            purge_ms: None,
            row: None,
        })
    }

    fn submit(&self, change: Change, caller: Caller) -> Arc<OneShot<Reply>> {
        let reply = OneShot::new();
        let on_failure = OnFailure::FailAfter(Instant::now() + WRITE_WAIT);
        let reply_to = Some(Arc::clone(&reply));
        let mut request = Request::new(change, on_failure, reply_to);
        request.inside = context::is_in_call();
        context::submit(&*self.inner.engine, request, caller);
        reply
    }

    /// An error inside a `tx` body on this store, whose transaction would block the change for ever.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        let store_id = &self.state().settings.store_id;
        let waits_for_itself =
            context::scope().call.as_ref().is_some_and(|outer| outer.holds_transaction(store_id));
        if waits_for_itself { Err(refusal::transaction_not_passed()) } else { Ok(()) }
    }

    /// Makes a change. If its condition does not hold, returns the record in the slot.
    pub(crate) fn write(&self, change: Change) -> Result<Option<InSlot>, Error> {
        self.wait(&self.submit(change, Caller::Blocking))
    }

    fn wait(&self, reply: &OneShot<Reply>) -> Result<Option<InSlot>, Error> {
        match reply.wait(Instant::now() + WRITE_WAIT) {
            Some(Reply::Written) => Ok(None),
            Some(Reply::Stands(standing)) => Ok(Some(standing)),
            Some(Reply::Failed(error)) => Err(error),
            // Only a claim gets a grant.
            Some(Reply::Granted(_)) | None => Err(self.inner.engine.state.backend.not_in_time("the change")),
        }
    }
}

/// The record in a slot whose change was not made.
pub(crate) type InSlot = Option<Box<Record>>;

/// The condition of a write on a record that no owner runs. An error if the call runs.
fn expect_unheld(state: &StoreState, found: &Found) -> Result<Expect, Error> {
    let record = &found.record;
    if found.standing() == Standing::Running {
        return Err(refusal::held(state, record).about(&record.name, &record.key));
    }
    Ok(Expect::Exactly(record.claim, record.status))
}
