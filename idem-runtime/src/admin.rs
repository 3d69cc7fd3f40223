//! What an operator does with a store: look, list, count, settle what is stuck, purge, check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::backend::request::{Caller, OnFailure, Reply, Request};
use crate::backend::{Found, ReadFailure, Search};
use crate::bounds::{KeyValue, Value};
use crate::call::refusal;
use crate::encoding::codec::Codec;
use crate::encoding::fingerprint::Fingerprint;
use crate::encoding::key::Key;
use crate::encoding::{codec, digest};
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::policy::Lifetime;
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Mark, Reason, Record, Status};
use crate::scope::context;
use crate::store::snapshot::{Filter, Snapshot};
use crate::store::{Stats, Store};
use crate::waiting::oneshot::OneShot;

/// How long an operator's write waits for the store.
const WRITE_WAIT: Duration = Duration::from_secs(30);

impl Store {
    /// The record of a call, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`] for a key no call can have; [`ErrorKind::Store`] if it cannot be read.
    pub fn get<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<Option<Snapshot>, Error> {
        let key = self.key(name, key)?;
        let state = self.state();
        let found =
            state.find_slots(&[digest::slot(name, &key)]).map_err(|error| error.about(name, key.as_str()))?;
        Ok(found.map(|found| Snapshot::of(state, found, 0)))
    }

    /// Records in the order they were made, as many as the filter allows; ask again [`after`](Filter::after) the
    /// last one for the next page.
    ///
    /// A damaged record is not listed; [`verify`](Store::verify) finds it.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Snapshot>, Error> {
        let state = self.state();
        context::check_usable(state)?;
        let mut snapshots = Vec::new();
        let mut selection = filter.selection();
        while snapshots.len() < filter.limit {
            let page = state.backend.page(&selection)?;
            let Some((last, _)) = page.last() else { break };
            selection.after = *last;
            let found = page.into_iter().filter_map(|(number, found)| Some((number, found?)));
            let listed = found.map(|(number, found)| Snapshot::of(state, found, number));
            let room = filter.limit - snapshots.len();
            snapshots.extend(listed.filter(|snapshot| filter.admits(snapshot)).take(room));
        }
        Ok(snapshots)
    }

    /// Counts and sizes, without reading the records.
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
        })
    }

    /// Deletes the record of a finished or in-doubt call: the next call runs its body. True if there was one.
    ///
    /// To say what became of a call in doubt, use [`settle`](crate::settle).
    ///
    /// # Errors
    /// [`ErrorKind::Running`] if the call runs; [`ErrorKind::BadKey`]; [`ErrorKind::Store`].
    pub fn forget<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        let slot = digest::slot(name, &key);
        loop {
            let expect = match self.state().find(Search::Slots(vec![slot])) {
                Ok(None) => return Ok(false),
                Ok(Some(found)) => expect_unheld(&found)?,
                Err(ReadFailure::Damaged(_)) => Expect::Any,
                Err(ReadFailure::Store(error)) => return Err(error),
            };
            if self.write(Change { slot, expect, new: None })?.is_none() {
                return Ok(true);
            }
            // It changed meanwhile, such as a call of a dead process that is in doubt by now: look again.
        }
    }

    /// Takes a running call from its owner: it is in doubt from now on, and whoever waits for it goes on as its
    /// `on_interrupt` says. True if it ran.
    ///
    /// Only an operator knows that a hung call will do no more harm. If the call ends all the same, its outcome is
    /// still recorded while nobody has touched the record; after that it is told that it was
    /// [`Fenced`](ErrorKind::Fenced).
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`]; [`ErrorKind::Store`].
    pub fn steal<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        let slot = digest::slot(name, &key);
        let found = self.state().find_slots(&[slot])?;
        let Some(record) = found.map(|found| found.record).filter(|record| record.status == Status::Running)
        else {
            return Ok(false);
        };
        let new = Some(self.state().stamped(record.in_doubt(Reason::Stolen)));
        let expect = Expect::Exactly(record.claim, Status::Running);
        Ok(self.write(Change { slot, expect, new })?.is_none())
    }

    /// Purges up to `limit` records and results that are over. Gives how many.
    ///
    /// Purging also goes along with ordinary writes; this is for stores that are seldom written.
    ///
    /// # Errors
    /// [`ErrorKind::Store`].
    pub fn purge_expired(&self, limit: u32) -> Result<usize, Error> {
        context::check_usable(self.state())?;
        let changes = self.state().backend.expired(limit)?;
        let replies: Vec<_> = changes.into_iter().map(|change| self.send(change, Caller::Async)).collect();
        let mut purged = 0;
        for reply in replies {
            purged += usize::from(wait(&reply)?.is_none());
        }
        Ok(purged)
    }

    /// Records a call as done with `value`, as if it had been made: for moving from another store. True if it was
    /// recorded, false if the call has a record already.
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`]; [`ErrorKind::BadArgument`] for a value that cannot be stored; [`ErrorKind::Store`].
    pub fn record_done<K, T>(&self, name: &str, key: &K, value: &T) -> Result<bool, Error>
    where
        K: KeyValue + ?Sized,
        T: Value,
    {
        let key = self.key(name, key)?;
        let bytes_max = self.state().settings.result_bytes_max;
        let encoded = codec::encode(value, Codec::default(), bytes_max).map_err(|unstorable| {
            Error::new(ErrorKind::BadArgument, Ran::No, unstorable.to_string())
                .advise(Advice::StorableResult)
                .about(name, key.as_str())
        })?;
        let slot = digest::slot(name, &key);
        let new = Record {
            slot,
            name: name.to_owned(),
            key: key.as_str().to_owned(),
            status: Status::Done,
            claim: 0,
            owner: self.state().backend.owner(),
            attempt: 1,
            fingerprint: Fingerprint::default().encode(),
            at: Mark::default(),
            reason: None,
            doubt_since: None,
            ttl: Lifetime::FOREVER,
            keep_result: Lifetime::FOREVER,
            result: Some(encoded.stored),
            purge_ms: None,
            row: None,
        };
        let expect = Expect::Free { over: None, nor_in: Vec::new(), expired: Vec::new() };
        let new = Some(self.state().stamped(new));
        Ok(self.write(Change { slot, expect, new })?.is_none())
    }

    /// Checks the whole file and every record in it. Gives what is wrong, in words; nothing if all is well.
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

    fn send(&self, change: Change, caller: Caller) -> Arc<OneShot<Reply>> {
        let reply = OneShot::new();
        let on_failure = OnFailure::FailAfter(Instant::now() + WRITE_WAIT);
        let reply_to = Some(Arc::clone(&reply));
        let mut request = Request::new(change, on_failure, reply_to);
        request.inside = context::is_in_call();
        context::submit(&*self.inner.engine, request, caller);
        reply
    }

    /// Makes a change; gives the record that stands instead where another call was faster.
    pub(crate) fn write(&self, change: Change) -> Result<Option<Standing>, Error> {
        wait(&self.send(change, Caller::Blocking))
    }
}

/// What stands in a slot where a change was not made.
pub(crate) type Standing = Option<Box<Record>>;

fn wait(reply: &OneShot<Reply>) -> Result<Option<Standing>, Error> {
    match reply.wait(Instant::now() + WRITE_WAIT) {
        Some(Reply::Written) => Ok(None),
        Some(Reply::Stands(standing)) => Ok(Some(standing)),
        Some(Reply::Failed(error)) => Err(error),
        // Nothing but a claim is answered with a claim.
        Some(Reply::Granted(_)) | None => Err(Error::not_in_time("the change")),
    }
}

/// What a write of an operator expects of a record nobody runs; an error if somebody does.
fn expect_unheld(found: &Found) -> Result<Expect, Error> {
    let record = &found.record;
    if found.is_held() {
        return Err(refusal::running().about(&record.name, &record.key));
    }
    Ok(Expect::Exactly(record.claim, record.status))
}
