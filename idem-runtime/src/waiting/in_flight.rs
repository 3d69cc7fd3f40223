//! Who waits for which running call, in memory.
//!
//! A flight is one claim somebody waits for, keyed by its claim number. It lands once: finished and cut-off calls
//! wake every waiter with the record, a released one wakes exactly one, which gets the others as a [`Baton`]. The
//! baton goes along with the claim it sends; dropped on the way (timeout, error, dropped future), it wakes the rest,
//! so that no wake-up is ever lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::protocol::record::Record;
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

/// How a flight ended.
#[derive(Debug)]
pub(crate) struct Landing {
    /// The record that stands now; none if the call was released.
    pub(crate) record: Option<Arc<Record>>,
    /// The other waiters, for the one that may try next.
    pub(crate) baton: Option<Baton>,
}

type WaiterSignal = Arc<OneShot<Landing>>;

/// Waiters that still have to be woken by somebody.
#[derive(Debug)]
pub(crate) struct Baton(Vec<WaiterSignal>);

impl Drop for Baton {
    fn drop(&mut self) {
        for waiter in self.0.drain(..) {
            waiter.send(Landing { record: None, baton: None });
        }
    }
}

#[derive(Debug, Default)]
struct Flight {
    /// A call of this process runs it.
    here: bool,
    waiters: Vec<WaiterSignal>,
}

#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<u64, Flight>>);

impl Flights {
    /// A call of this process holds the claim from now on; whoever waited for its key before waits for it.
    pub(crate) fn depart(&self, claim: u64, baton: Option<Baton>) {
        let waiters = baton.map(|mut baton| std::mem::take(&mut baton.0)).unwrap_or_default();
        let mut flights = lock(&self.0);
        let flight = flights.entry(claim).or_default();
        flight.here = true;
        flight.waiters.extend(waiters);
    }

    /// The store ends: everybody looks for themselves, and finds it closed.
    pub(crate) fn abandon(&self) {
        let flights = std::mem::take(&mut *lock(&self.0));
        for waiter in flights.into_values().flat_map(|flight| flight.waiters) {
            waiter.send(Landing { record: None, baton: None });
        }
    }

    pub(crate) fn is_here(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|flight| flight.here)
    }

    /// How many calls of this process run.
    pub(crate) fn count_here(&self) -> usize {
        lock(&self.0).values().filter(|flight| flight.here).count()
    }

    pub(crate) fn has_waiters(&self, claim: u64) -> bool {
        lock(&self.0).get(&claim).is_some_and(|flight| !flight.waiters.is_empty())
    }

    /// Waits for a call of this process; `None` if it has landed.
    pub(crate) fn join_here(self: &Arc<Self>, claim: u64) -> Option<Waiter> {
        let mut flights = lock(&self.0);
        let flight = flights.get_mut(&claim).filter(|flight| flight.here)?;
        Some(self.waiter(claim, flight))
    }

    /// Waits for a call of another process, which the store's own thread watches.
    pub(crate) fn join_elsewhere(self: &Arc<Self>, claim: u64) -> Waiter {
        let mut flights = lock(&self.0);
        self.waiter(claim, flights.entry(claim).or_default())
    }

    fn waiter(self: &Arc<Self>, claim: u64, flight: &mut Flight) -> Waiter {
        let signal = OneShot::new();
        flight.waiters.push(Arc::clone(&signal));
        Waiter { flights: Arc::clone(self), claim, signal }
    }

    /// The call ended; `record` is what stands now.
    pub(crate) fn land(&self, claim: u64, record: Option<&Record>) {
        let Some(mut flight) = lock(&self.0).remove(&claim) else { return };
        if let Some(record) = record.filter(|_| !flight.waiters.is_empty()) {
            let record = Arc::new(record.clone());
            for waiter in flight.waiters {
                waiter.send(Landing { record: Some(Arc::clone(&record)), baton: None });
            }
        } else if let Some(first) = flight.waiters.pop() {
            first.send(Landing { record: None, baton: Some(Baton(flight.waiters)) });
        }
    }

    fn leave(&self, claim: u64, signal: &WaiterSignal) {
        let mut flights = lock(&self.0);
        let Some(flight) = flights.get_mut(&claim) else { return };
        flight.waiters.retain(|waiter| !Arc::ptr_eq(waiter, signal));
        if flight.waiters.is_empty() && !flight.here {
            flights.remove(&claim);
        }
    }
}

/// A place in the queue of those who wait for a claim to end. Dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Waiter {
    flights: Arc<Flights>,
    claim: u64,
    pub(crate) signal: WaiterSignal,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Whom nobody else knows has been called. A thousand that were do not queue for one lock.
        if Arc::strong_count(&self.signal) > 1 {
            self.flights.leave(self.claim, &self.signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights() -> Arc<Flights> {
        Arc::new(Flights::default())
    }

    #[test]
    fn a_released_call_wakes_exactly_one_waiter_and_a_dropped_baton_the_rest() {
        let flights = flights();
        flights.depart(1, None);
        let waiters: Vec<_> = (0..3).map(|_| flights.join_here(1).unwrap()).collect();
        flights.land(1, None);
        let woken: Vec<_> = waiters.iter().map(|waiter| waiter.signal.take()).collect();
        assert_eq!(woken.iter().flatten().count(), 1);
        drop(woken);
        assert_eq!(waiters.iter().filter_map(|waiter| waiter.signal.take()).count(), 2);
    }

    #[test]
    fn the_next_claim_takes_the_waiters_over() {
        let flights = flights();
        flights.depart(1, None);
        let first = flights.join_here(1).unwrap();
        let second = flights.join_here(1).unwrap();
        flights.land(1, None);
        let (woken, asleep) = match first.signal.take() {
            Some(landing) => (landing, second),
            None => (second.signal.take().unwrap(), first),
        };
        flights.depart(2, woken.baton);
        assert!(asleep.signal.take().is_none());
        flights.land(2, None);
        assert!(asleep.signal.take().is_some());
    }

    #[test]
    fn an_abandoned_foreign_flight_leaves_nothing_behind() {
        let flights = flights();
        drop(flights.join_elsewhere(9));
        assert!(lock(&flights.0).is_empty());
    }

    #[test]
    fn a_waiter_that_left_is_not_given_the_baton() {
        let flights = flights();
        flights.depart(1, None);
        let stays = flights.join_here(1).unwrap();
        drop(flights.join_here(1).unwrap());
        flights.land(1, None);
        assert!(stays.signal.take().is_some());
    }
}
