//! The state that the handle, the writer thread and the callers of one open store share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::backend::request::{OnFailure, Request};
use crate::backend::{Backend, Ended, FindReply, Found, Poison, ReadFailure, Search};
use crate::encoding::digest::Slot;
use crate::engine::queue::Queue;
use crate::error::{Advice, Error};
use crate::protocol::decide::{Holder, Standing};
use crate::protocol::record::{Mark, Record, RecordRef};
use crate::waiting::in_flight::{InFlight, Progress, Turn};
use crate::waiting::oneshot::OneShot;
use crate::waiting::watcher::{Poll, Watcher};

/// How long a blocked read waits for the answer of the backend.
const FIND_WAIT: Duration = Duration::from_secs(30);
/// How long the read of an operator waits for the write of a call that has just ended.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(1);
/// How long the write of an operator waits for its commit, and for the write of a call that has just ended.
pub(crate) const WRITE_WAIT: Duration = Duration::from_secs(30);

/// The state of one open store, apart from its writer.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: Settings,
    pub(crate) queue: Queue,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) watcher: Arc<Watcher>,
    poison: Arc<Poison>,
    pid: u32,
    /// A [`Phase`]. Atomic, because every call reads it.
    phase: AtomicU8,
    close_deadline: OnceLock<Instant>,
}

/// The settings of an open store that the call path reads.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// 16 random bytes, made together with the store.
    pub(crate) store_id: [u8; 16],
    /// The base of tokens, if it is not the store id.
    pub(crate) token_namespace: Option<Arc<str>>,
    /// The time after the first detection of a doubt in which `NotDone` is not believed.
    pub(crate) settle_window: Duration,
    pub(crate) result_bytes_max: usize,
    /// How long a caller waits for the record of its outcome, once the body has ended.
    pub(crate) record_within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The store waits for its running calls.
    Closing,
    Closed,
}

impl StoreState {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        settings: Settings,
        in_flight: Arc<InFlight>,
        poison: Arc<Poison>,
    ) -> StoreState {
        StoreState {
            backend,
            settings,
            queue: Queue::default(),
            in_flight,
            watcher: Arc::default(),
            poison,
            pid: std::process::id(),
            phase: AtomicU8::new(Phase::Open as u8),
            close_deadline: OnceLock::new(),
        }
    }

    /// An error if the store is closed or poisoned, or if this process is a fork of the one that opened it.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        if !self.is_of_this_process() {
            return Err(Error::forked());
        }
        self.check_not_closed()?;
        self.check_poison()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.phase() == Phase::Closing
    }

    /// An error if the store is closed, for a wait that began before.
    pub(crate) fn check_not_closed(&self) -> Result<(), Error> {
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

    /// False in a fork of the process that opened the store.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.pid == std::process::id()
    }

    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        self.poison.check()
    }

    /// Sets the error of every later call. The store writes nothing afterwards.
    pub(crate) fn poison(&self, error: Error) {
        self.poison.set(error);
    }

    /// Refuses new calls and waits for the running ones.
    pub(crate) fn begin_close(&self) {
        self.set_phase(Phase::Closing);
        self.queue.begin_close();
    }

    /// Accepts new calls again after a close that failed.
    pub(crate) fn reopen(&self) {
        self.set_phase(Phase::Open);
        self.queue.reopen();
    }

    /// Wakes every remaining waiter and closes the reading half. Called after the writer has ended.
    pub(crate) fn end(&self) {
        self.set_phase(Phase::Closed);
        self.watcher.close();
        self.in_flight.wake_all();
        if self.check_poison().is_ok() { self.backend.close_reads() } else { self.backend.leak_reads() }
    }

    /// Sets the time at which a closing store stops retrying writes. The first call wins.
    pub(crate) fn set_close_deadline(&self, deadline: Instant) {
        self.close_deadline.get_or_init(|| deadline);
    }

    /// The time until the close deadline. Zero if the store is not closing.
    pub(crate) fn close_time_left(&self) -> Duration {
        self.close_deadline
            .get()
            .map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_close_deadline_over(&self) -> bool {
        self.close_deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// Starts a search. The backend may send the answer later.
    pub(crate) fn ask(&self, search: Search) -> Arc<OneShot<FindReply>> {
        let reply = OneShot::new();
        self.backend.find(search, Arc::clone(&reply));
        reply
    }

    /// Finds a record, and blocks for at most 30 s until the answer arrives.
    pub(crate) fn find(&self, search: Search) -> FindReply {
        let answer = self.ask(search).wait(crate::sync::deadline(FIND_WAIT));
        answer.unwrap_or_else(|| Err(ReadFailure::Store(not_read())))
    }

    /// Finds what stands under a call for somebody who asks now.
    ///
    /// `slots` are those of its name and its earlier names. An expired record counts as absent, so it hides no record in
    /// a later slot. If the end of a call is queued, waits for its write until `deadline`.
    pub(crate) fn find_standing(&self, slots: &[Slot], deadline: Instant) -> FindReply {
        for slot in slots {
            let found = self.find_written(*slot, deadline)?;
            if let Some(found) = found.filter(|found| found.standing() != Standing::Absent) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Finds the record in a slot, expired or not. If the end of its call is queued, waits for the write until `deadline`.
    pub(crate) fn find_written(&self, slot: Slot, deadline: Instant) -> FindReply {
        let found = self.find(Search::Slots(vec![slot]))?;
        self.after_queued_write(found, deadline)
    }

    /// Reads a record again after the queued write of its call, if there is one.
    pub(crate) fn after_queued_write(&self, mut found: Option<Found>, deadline: Instant) -> FindReply {
        while let Some(Found { record, holder: Holder::Local, .. }) = &found {
            match self.in_flight.progress(record.claim) {
                Progress::Running => break,
                Progress::Ended => {}
                Progress::Ending => {
                    let waiter = self.in_flight.subscribe_local(record.claim, &mut Turn::default());
                    if waiter.is_some_and(|waiter| waiter.signal.wait(deadline).is_none()) {
                        break;
                    }
                }
            }
            found = self.find(Search::Slots(vec![record.slot]))?;
        }
        Ok(found)
    }

    /// Notes the end of a call whose write is about to be queued.
    pub(crate) fn note_ending(&self, request: &Request) {
        if let (Some(claim), OnFailure::RetryForever) = (request.change.expect.claim(), request.on_failure) {
            self.in_flight.note_ending(claim);
        }
    }

    /// The record with the marks of the backend, for a write that follows at once.
    pub(crate) fn stamped(&self, mut record: Record) -> Record {
        self.backend.stamp(&mut record);
        record
    }

    /// Time left of the settle window of a doubt that began at `since`.
    pub(crate) fn settles_in(&self, since: Mark) -> Duration {
        self.backend.settles_in(since, self.settings.settle_window)
    }

    /// Time since a record entered its status, in milliseconds.
    pub(crate) fn age_ms(&self, record: &RecordRef<'_>) -> Option<i64> {
        self.backend.age_ms(record.at)
    }

    /// Polls claims that have waiters, and completes the calls that have ended.
    pub(crate) fn poll(&self, claims: &[(u64, Slot)]) -> Vec<(u64, Poll)> {
        let waited: Vec<_> =
            claims.iter().copied().filter(|(claim, _)| self.in_flight.has_waiters(*claim)).collect();
        let mut running = HashSet::new();
        for ((claim, _), ended) in waited.iter().zip(self.backend.poll(&waited)) {
            match ended {
                Some(Ended(record)) => self.in_flight.complete(*claim, record.as_ref()),
                None => {
                    running.insert(*claim);
                }
            }
        }
        let poll = |claim| if running.contains(claim) { Poll::Running } else { Poll::Ended };
        claims.iter().map(|(claim, _)| (*claim, poll(claim))).collect()
    }
}

/// The error of a read whose answer did not come in time.
pub(crate) fn not_read() -> Error {
    Error::store("the store did not answer a read in time").advise(Advice::Retry)
}
