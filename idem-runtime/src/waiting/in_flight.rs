//! In-flight calls: the running calls that this process knows, and their waiters.
//!
//! An in-flight call is identified by its claim number and completes once. If the call left a record, the completion
//! wakes every waiter with the record. If the call was released, the completion wakes the waiter that arrived first and
//! gives it the others as a [`Handoff`].
//!
//! A waiter that claims the call sends its handoff along with the claim. If another caller of this process was faster, the
//! waiter waits again and brings its handoff along. If the waiter gives up instead (timeout, error, dropped future),
//! dropping the handoff wakes the others. No wake-up is lost.
//!
//! A waiter keeps its arrival number until its call is answered. Waiters are thus woken in the order of their arrival, and
//! a waiter leaves in O(log n) steps.

use std::collections::{BTreeMap, HashMap};
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
    /// Whether a recovery hook answered while the waiter waited, and left the call in doubt.
    pub(crate) is_answered: bool,
}

impl Completion {
    fn without_record(handoff: Option<Handoff>) -> Completion {
        Completion { record: None, handoff, is_answered: false }
    }
}

type WaiterSignal = Arc<OneShot<Completion>>;

/// Waiters by their arrival numbers.
type Waiters = BTreeMap<u64, WaiterSignal>;

/// The remaining waiters of a released call. Dropping the handoff wakes them.
#[derive(Debug)]
pub(crate) struct Handoff(Waiters);

impl Handoff {
    fn into_waiters(mut self) -> Waiters {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        for waiter in std::mem::take(&mut self.0).into_values() {
            // Without this, a waiter is never woken. (negative control)
            waiter.send(Completion::without_record(None));
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
    waiters: Waiters,
    /// The last arrival number before the answer of the recovery hook, if the hook left the call in doubt.
    answered: Option<u64>,
}

impl RunningCall {
    fn take_over(&mut self, handoff: Option<Handoff>) {
        if let Some(handoff) = handoff {
            self.waiters.append(&mut handoff.into_waiters());
        }
    }
}

#[derive(Debug, Default)]
struct Calls {
    by_claim: HashMap<u64, RunningCall>,
    last_arrival: u64,
}

impl Calls {
    fn next_arrival(&mut self) -> u64 {
        self.last_arrival += 1;
        self.last_arrival
    }
}

/// The in-flight calls of one open store.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<Calls>);

impl InFlight {
    /// Adds a call that this process runs. The waiters of `handoff` wait for this call from now on.
    pub(crate) fn register(&self, claim: u64, handoff: Option<Handoff>) {
        let mut calls = lock(&self.0);
        let call = calls.by_claim.entry(claim).or_default();
        call.is_local = true;
        call.take_over(handoff);
    }

    /// Wakes every waiter because the store has ended. A woken waiter gets the error of the store.
    pub(crate) fn wake_all(&self) {
        let calls = std::mem::take(&mut lock(&self.0).by_claim);
        for waiter in calls.into_values().flat_map(|call| call.waiters.into_values()) {
            waiter.send(Completion::without_record(None));
        }
    }

    /// Wakes every waiter because the store writes nothing any more. The calls of this process stay known until they end.
    pub(crate) fn wake_waiters(&self) {
        let mut woken = Vec::new();
        lock(&self.0).by_claim.retain(|_, call| {
            woken.extend(std::mem::take(&mut call.waiters).into_values());
            call.is_local
        });
        for waiter in woken {
            waiter.send(Completion::without_record(None));
        }
    }

    /// Whether this process runs the call.
    pub(crate) fn is_local(&self, claim: u64) -> bool {
        lock(&self.0).by_claim.get(&claim).is_some_and(|call| call.is_local)
    }

    /// Notes that the end of a call is queued for the writer.
    pub(crate) fn note_ending(&self, claim: u64) {
        if let Some(call) = lock(&self.0).by_claim.get_mut(&claim) {
            call.is_ending = true;
        }
    }

    /// How far a call of this process has come.
    pub(crate) fn progress(&self, claim: u64) -> Progress {
        match lock(&self.0).by_claim.get(&claim) {
            Some(RunningCall { is_local: true, is_ending: false, .. }) => Progress::Running,
            Some(RunningCall { is_local: true, is_ending: true, .. }) => Progress::Ending,
            Some(RunningCall { is_local: false, .. }) | None => Progress::Ended,
        }
    }

    /// The number of calls that this process runs.
    pub(crate) fn count_local(&self) -> usize {
        lock(&self.0).by_claim.values().filter(|call| call.is_local).count()
    }

    pub(crate) fn has_waiters(&self, claim: u64) -> bool {
        lock(&self.0).by_claim.get(&claim).is_some_and(|call| !call.waiters.is_empty())
    }

    /// Adds a waiter to a call of this process, together with the waiters of its handoff.
    ///
    /// `None` if the call has completed. The waiters of `turn` then stay there.
    pub(crate) fn subscribe_local(self: &Arc<Self>, claim: u64, turn: &mut Turn) -> Option<Waiter> {
        let mut calls = lock(&self.0);
        let arrival = turn.arrival(&mut calls);
        let call = calls.by_claim.get_mut(&claim).filter(|call| call.is_local)?;
        call.take_over(turn.handoff.take());
        Some(self.waiter(claim, arrival, call))
    }

    /// Adds a waiter to a call of another process, which the watcher thread polls.
    pub(crate) fn subscribe_remote(self: &Arc<Self>, claim: u64, turn: &mut Turn) -> Waiter {
        let mut calls = lock(&self.0);
        let arrival = turn.arrival(&mut calls);
        let call = calls.by_claim.entry(claim).or_default();
        call.take_over(turn.handoff.take());
        self.waiter(claim, arrival, call)
    }

    fn waiter(self: &Arc<Self>, claim: u64, arrival: u64, call: &mut RunningCall) -> Waiter {
        let signal = OneShot::new();
        call.waiters.insert(arrival, Arc::clone(&signal));
        Waiter { in_flight: Arc::clone(self), claim, arrival, signal }
    }

    /// Notes that the recovery hook of a call of this process has answered and leaves the call in doubt.
    ///
    /// The answer serves the present waiters. The completion follows once the record is written.
    pub(crate) fn note_answer(&self, claim: u64) {
        let mut calls = lock(&self.0);
        let last = calls.last_arrival;
        if let Some(call) = calls.by_claim.get_mut(&claim) {
            call.answered = Some(last);
        }
    }

    /// Completes a call and wakes waiters. `record` is `None` if the call was released.
    pub(crate) fn complete(&self, claim: u64, record: Option<&Record>) {
        let Some(call) = lock(&self.0).by_claim.remove(&claim) else { return };
        match record.filter(|_| !call.waiters.is_empty()) {
            Some(record) => wake_with(record, call),
            None => wake_first(call.waiters),
        }
    }

    /// Removes a waiter, and with the last waiter a call of another process.
    fn unsubscribe(&self, claim: u64, arrival: u64) {
        let mut calls = lock(&self.0);
        let Some(call) = calls.by_claim.get_mut(&claim) else { return };
        call.waiters.remove(&arrival);
        if call.waiters.is_empty() && !call.is_local {
            calls.by_claim.remove(&claim);
        }
    }
}

fn wake_with(record: &Record, call: RunningCall) {
    let record = Arc::new(record.clone());
    // The record alone tells of the hook of another process.
    let is_answered_elsewhere = !call.is_local && record.is_left_in_doubt_by_hook();
    for (arrival, waiter) in call.waiters {
        let is_answered = is_answered_elsewhere || call.answered.is_some_and(|last| arrival <= last);
        waiter.send(Completion { record: Some(Arc::clone(&record)), handoff: None, is_answered });
    }
}

/// Wakes the waiter that arrived first, and gives it the others.
fn wake_first(mut waiters: Waiters) {
    while let Some((_, first)) = waiters.pop_first() {
        // A waiter whose signal has no second handle gave up after a handoff had moved it to this call.
        if Arc::strong_count(&first) > 1 {
            first.send(Completion::without_record(Some(Handoff(waiters))));
            return;
        }
    }
}

/// The place of a caller among the waiters: its arrival number, and the waiters behind it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Given at the first wait.
    arrival: Option<u64>,
    /// The other waiters of a released call, passed to this caller.
    pub(crate) handoff: Option<Handoff>,
}

impl Turn {
    fn arrival(&mut self, calls: &mut Calls) -> u64 {
        *self.arrival.get_or_insert_with(|| calls.next_arrival())
    }
}

/// A waiter for the end of one claim. Dropping the waiter ends its wait.
#[derive(Debug)]
pub(crate) struct Waiter {
    in_flight: Arc<InFlight>,
    claim: u64,
    arrival: u64,
    pub(crate) signal: WaiterSignal,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A completion drops its handle of the signal. Woken waiters thus do not contend for the lock.
        if Arc::strong_count(&self.signal) > 1 {
            self.in_flight.unsubscribe(self.claim, self.arrival);
        }
    }
}

#[cfg(test)]
mod tests;
