//! In-flight calls: the running calls that this process knows, and their waiters.
//!
//! An in-flight call is identified by its claim number and completes once. If the call left a record, the completion
//! wakes every waiter with the record. If the call was released, the completion wakes one waiter and gives it the others
//! as a [`Handoff`].
//!
//! A waiter that claims the call sends its handoff along with the claim. If the waiter gives up instead (timeout, error,
//! dropped future), dropping the handoff wakes the others. No wake-up is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::protocol::record::Record;
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

/// The end of a running call, as its waiters see it.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The record of the ended call. `None` if the call was released.
    pub(crate) record: Option<Arc<Record>>,
    /// The remaining waiters, for the one waiter that a released call wakes.
    pub(crate) handoff: Option<Handoff>,
}

type WaiterSignal = Arc<OneShot<Completion>>;

/// The remaining waiters of a released call. Dropping the handoff wakes them.
#[derive(Debug)]
pub(crate) struct Handoff(Vec<WaiterSignal>);

impl Drop for Handoff {
    fn drop(&mut self) {
        for waiter in self.0.drain(..) {
            // Without this, a waiter is never woken. (negative control)
            waiter.send(Completion { record: None, handoff: None });
        }
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    /// The call has ended, and its write is queued.
    Ending,
    /// The write of the end is done.
    Ended,
}

#[derive(Debug, Default)]
struct RunningCall {
    /// Whether this process runs the call.
    is_local: bool,
    /// Whether the call has ended here and its write is queued.
    is_ending: bool,
    waiters: Vec<WaiterSignal>,
}

/// The in-flight calls of one open store, by claim number.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<u64, RunningCall>>);

impl InFlight {
    /// Adds a call that this process runs. The waiters of `handoff` wait for this call from now on.
    pub(crate) fn register(&self, claim: u64, handoff: Option<Handoff>) {
        let waiters = handoff.map(|mut handoff| std::mem::take(&mut handoff.0)).unwrap_or_default();
        let mut in_flight = lock(&self.0);
        let call = in_flight.entry(claim).or_default();
        call.is_local = true;
        call.waiters.extend(waiters);
    }

    /// Wakes every waiter because the store has ended. A woken waiter gets the error of the store.
    pub(crate) fn wake_all(&self) {
        let in_flight = std::mem::take(&mut *lock(&self.0));
        for waiter in in_flight.into_values().flat_map(|call| call.waiters) {
            waiter.send(Completion { record: None, handoff: None });
        }
    }

    /// Whether this process runs the call.
    pub(crate) fn is_local(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|call| call.is_local)
    }

    /// Notes that the end of a call is queued for the writer.
    pub(crate) fn note_ending(&self, claim: u64) {
        if let Some(call) = lock(&self.0).get_mut(&claim) {
            call.is_ending = true;
        }
    }

    /// How far a call of this process has come.
    pub(crate) fn progress(&self, claim: u64) -> Progress {
        match lock(&self.0).get(&claim) {
            Some(RunningCall { is_local: true, is_ending: false, .. }) => Progress::Running,
            Some(RunningCall { is_local: true, is_ending: true, .. }) => Progress::Ending,
            Some(RunningCall { is_local: false, .. }) | None => Progress::Ended,
        }
    }

    /// The number of calls that this process runs.
    pub(crate) fn count_local(&self) -> usize {
        lock(&self.0).values().filter(|call| call.is_local).count()
    }

    pub(crate) fn has_waiters(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|call| !call.waiters.is_empty())
    }

    /// Adds a waiter to a call of this process. `None` if the call has completed.
    pub(crate) fn subscribe_local(self: &Arc<Self>, claim: u64) -> Option<Waiter> {
        let mut in_flight = lock(&self.0);
        let call = in_flight.get_mut(&claim).filter(|call| call.is_local)?;
        Some(self.waiter(claim, call))
    }

    /// Adds a waiter to a call of another process, which the watcher thread polls.
    pub(crate) fn subscribe_remote(self: &Arc<Self>, claim: u64) -> Waiter {
        let mut in_flight = lock(&self.0);
        self.waiter(claim, in_flight.entry(claim).or_default())
    }

    fn waiter(self: &Arc<Self>, claim: u64, call: &mut RunningCall) -> Waiter {
        let signal = OneShot::new();
        call.waiters.push(Arc::clone(&signal));
        Waiter { in_flight: Arc::clone(self), claim, signal }
    }

    /// Completes a call and wakes waiters. `record` is `None` if the call was released.
    pub(crate) fn complete(&self, claim: u64, record: Option<&Record>) {
        let Some(mut call) = lock(&self.0).remove(&claim) else { return };
        if let Some(record) = record.filter(|_| !call.waiters.is_empty()) {
            let record = Arc::new(record.clone());
            for waiter in call.waiters {
                waiter.send(Completion { record: Some(Arc::clone(&record)), handoff: None });
            }
        } else if let Some(first) = call.waiters.pop() {
            first.send(Completion { record: None, handoff: Some(Handoff(call.waiters)) });
        }
    }

    /// Removes a waiter. A call of another process is removed with its last waiter.
    fn unsubscribe(&self, claim: u64, signal: &WaiterSignal) {
        let mut in_flight = lock(&self.0);
        let Some(call) = in_flight.get_mut(&claim) else { return };
        call.waiters.retain(|waiter| !Arc::ptr_eq(waiter, signal));
        if call.waiters.is_empty() && !call.is_local {
            in_flight.remove(&claim);
        }
    }
}

/// A waiter for the end of one claim. Dropping the waiter ends its wait.
#[derive(Debug)]
pub(crate) struct Waiter {
    in_flight: Arc<InFlight>,
    claim: u64,
    pub(crate) signal: WaiterSignal,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A completion drops its handle of the signal. Woken waiters thus do not contend for the lock.
        if Arc::strong_count(&self.signal) > 1 {
            self.in_flight.unsubscribe(self.claim, &self.signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight() -> Arc<InFlight> {
        Arc::new(InFlight::default())
    }

    #[test]
    fn a_released_call_wakes_exactly_one_waiter_and_a_dropped_handoff_the_rest() {
        let in_flight = in_flight();
        in_flight.register(1, None);
        let waiters: Vec<_> = (0..3).map(|_| in_flight.subscribe_local(1).unwrap()).collect();
        in_flight.complete(1, None);
        let woken: Vec<_> = waiters.iter().map(|waiter| waiter.signal.take()).collect();
        assert_eq!(woken.iter().flatten().count(), 1);
        drop(woken);
        assert_eq!(waiters.iter().filter_map(|waiter| waiter.signal.take()).count(), 2);
    }

    #[test]
    fn the_next_claim_takes_over_the_waiters() {
        let in_flight = in_flight();
        in_flight.register(1, None);
        let first = in_flight.subscribe_local(1).unwrap();
        let second = in_flight.subscribe_local(1).unwrap();
        in_flight.complete(1, None);
        let (woken, asleep) = match first.signal.take() {
            Some(completion) => (completion, second),
            None => (second.signal.take().unwrap(), first),
        };
        in_flight.register(2, woken.handoff);
        assert!(asleep.signal.take().is_none());
        in_flight.complete(2, None);
        assert!(asleep.signal.take().is_some());
    }

    #[test]
    fn the_last_waiter_of_a_remote_call_removes_its_entry() {
        let in_flight = in_flight();
        drop(in_flight.subscribe_remote(9));
        assert!(lock(&in_flight.0).is_empty());
    }

    #[test]
    fn a_dropped_waiter_gets_no_handoff() {
        let in_flight = in_flight();
        in_flight.register(1, None);
        let stays = in_flight.subscribe_local(1).unwrap();
        drop(in_flight.subscribe_local(1).unwrap());
        in_flight.complete(1, None);
        assert!(stays.signal.take().is_some());
    }
}
