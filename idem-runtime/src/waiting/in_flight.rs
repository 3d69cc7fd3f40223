//! Who waits for which running call, in memory.
//!
//! A call is one claim somebody waits for, keyed by its claim number. It lands once: finished and cut-off calls
//! wake every waiter with the record, a released one wakes exactly one, which gets the others as a [`Handoff`]. The
//! handoff goes along with the claim it sends; dropped on the way (timeout, error, dropped future), it wakes the rest,
//! so that no wake-up is ever lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::protocol::record::Record;
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The record that stands now; none if the call was released.
    pub(crate) record: Option<Arc<Record>>,
    /// The other waiters, for the one that may try next.
    pub(crate) handoff: Option<Handoff>,
}

type WaiterSignal = Arc<OneShot<Completion>>;

/// Waiters that still have to be woken by somebody.
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

#[derive(Debug, Default)]
struct RunningCall {
    /// A call of this process runs it.
    is_local: bool,
    waiters: Vec<WaiterSignal>,
}

#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<u64, RunningCall>>);

impl InFlight {
    /// A call of this process holds the claim from now on; whoever waited for its key before waits for it.
    pub(crate) fn register(&self, claim: u64, handoff: Option<Handoff>) {
        let waiters = handoff.map(|mut handoff| std::mem::take(&mut handoff.0)).unwrap_or_default();
        let mut in_flight = lock(&self.0);
        let call = in_flight.entry(claim).or_default();
        call.is_local = true;
        call.waiters.extend(waiters);
    }

    /// The store ends: everybody looks for themselves, and finds it closed.
    pub(crate) fn wake_all(&self) {
        let in_flight = std::mem::take(&mut *lock(&self.0));
        for waiter in in_flight.into_values().flat_map(|call| call.waiters) {
            waiter.send(Completion { record: None, handoff: None });
        }
    }

    pub(crate) fn is_local(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|call| call.is_local)
    }

    /// How many calls of this process run.
    pub(crate) fn count_local(&self) -> usize {
        lock(&self.0).values().filter(|call| call.is_local).count()
    }

    pub(crate) fn has_waiters(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|call| !call.waiters.is_empty())
    }

    /// Waits for a call of this process; `None` if it has completed.
    pub(crate) fn subscribe_local(self: &Arc<Self>, claim: u64) -> Option<Waiter> {
        let mut in_flight = lock(&self.0);
        let call = in_flight.get_mut(&claim).filter(|call| call.is_local)?;
        Some(self.waiter(claim, call))
    }

    /// Waits for a call of another process, which the store's own thread watches.
    pub(crate) fn subscribe_remote(self: &Arc<Self>, claim: u64) -> Waiter {
        let mut in_flight = lock(&self.0);
        self.waiter(claim, in_flight.entry(claim).or_default())
    }

    fn waiter(self: &Arc<Self>, claim: u64, call: &mut RunningCall) -> Waiter {
        let signal = OneShot::new();
        call.waiters.push(Arc::clone(&signal));
        Waiter { in_flight: Arc::clone(self), claim, signal }
    }

    /// The call ended; `record` is what stands now.
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

    fn unsubscribe(&self, claim: u64, signal: &WaiterSignal) {
        let mut in_flight = lock(&self.0);
        let Some(call) = in_flight.get_mut(&claim) else { return };
        call.waiters.retain(|waiter| !Arc::ptr_eq(waiter, signal));
        if call.waiters.is_empty() && !call.is_local {
            in_flight.remove(&claim);
        }
    }
}

/// A place in the queue of those who wait for a claim to end. Dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Waiter {
    in_flight: Arc<InFlight>,
    claim: u64,
    pub(crate) signal: WaiterSignal,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Whom nobody else knows has been called. A thousand that were do not queue for one lock.
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
    fn a_released_call_wakes_exactly_one_waiter_and_a_dropped_baton_the_rest() {
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
    fn the_next_claim_takes_the_waiters_over() {
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
    fn an_abandoned_foreign_flight_leaves_nothing_behind() {
        let in_flight = in_flight();
        drop(in_flight.subscribe_remote(9));
        assert!(lock(&in_flight.0).is_empty());
    }

    #[test]
    fn a_waiter_that_left_is_not_given_the_baton() {
        let in_flight = in_flight();
        in_flight.register(1, None);
        let stays = in_flight.subscribe_local(1).unwrap();
        drop(in_flight.subscribe_local(1).unwrap());
        in_flight.complete(1, None);
        assert!(stays.signal.take().is_some());
    }
}
