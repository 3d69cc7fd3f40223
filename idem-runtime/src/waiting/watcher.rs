//! The watcher thread, the second thread of a store: deadlines of tasks, and polls of calls in other processes.
//!
//! The watcher thread keeps deadlines instead of an async runtime. Therefore any executor works, and a paused test clock
//! causes no timeout.
//!
//! Another process cannot wake this one. A file watcher on the WAL misses the last commit, which becomes visible after
//! the last write to the file. Therefore the watcher thread polls the rows of claims that callers wait for. Calls of
//! other processes are polled every 0.2 to 10 ms, calls of this process every 100 ms. Without waiters the watcher
//! thread sleeps without a timeout.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::encoding::digest::Slot;
use crate::sync::{lock, wake};

/// How often the watcher thread polls a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollRate {
    /// The call runs in another process. Only a poll notices its end.
    Fast,
    /// The call runs in this process and signals its end. A poll notices a `steal` by another process.
    Slow,
}

const FAST_FIRST: Duration = Duration::from_micros(200);
const FAST_LAST: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(100);

/// The answer of a poll of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    /// The call still runs and has waiters.
    Running,
    /// The call has ended or has no waiters.
    Ended,
}

#[derive(Debug)]
struct PolledClaim {
    slot: Slot,
    next: Instant,
    period: Duration,
    period_max: Duration,
    /// Whether another waiter asked for a poll after the last poll began.
    renewed: bool,
}

#[derive(Debug, Default)]
struct State {
    alarms: BTreeMap<(Instant, u64), Waker>,
    alarm_number: u64,
    polled: HashMap<u64, PolledClaim>,
    /// The claims of `polled` in the order of their next polls.
    schedule: BTreeSet<(Instant, u64)>,
    /// The end of the sleep while `asleep` is set. `None` if the thread sleeps until a wake-up.
    asleep_until: Option<Instant>,
    asleep: bool,
    closing: bool,
}

/// The deadlines and the polled claims of one open store.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    state: Mutex<State>,
    changed: Condvar,
}

impl Watcher {
    /// Wakes `waker` at `deadline`, or at once if the store has ended. Dropping the alarm cancels it.
    pub(crate) fn alarm(self: &Arc<Self>, deadline: Instant, waker: Waker) -> Alarm {
        let mut state = lock(&self.state);
        state.alarm_number += 1;
        let at = (deadline, state.alarm_number);
        if state.closing {
            drop(state);
            wake(waker);
        } else {
            state.alarms.insert(at, waker);
            self.wake_before(&state, deadline);
        }
        Alarm { watcher: Arc::clone(self), at }
    }

    /// Polls a claim until it has ended.
    pub(crate) fn poll(&self, claim: u64, slot: Slot, rate: PollRate) {
        let (period, period_max) = match rate {
            PollRate::Fast => (FAST_FIRST, FAST_LAST),
            PollRate::Slow => (SLOW, SLOW),
        };
        let next = Instant::now() + period;
        let mut state = lock(&self.state);
        if let Some(polled) = state.polled.get_mut(&claim) {
            polled.renewed = true;
        } else {
            state.polled.insert(claim, PolledClaim { slot, next, period, period_max, renewed: false });
            state.schedule.insert((next, claim));
        }
        self.wake_before(&state, next);
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closing
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closing = true;
        self.changed.notify_all();
    }

    /// Wakes the thread if it would sleep past `instant`.
    fn wake_before(&self, state: &State, instant: Instant) {
        if state.asleep && state.asleep_until.is_none_or(|until| instant < until) {
            self.changed.notify_all();
        }
    }

    /// Runs the loop of the watcher thread. `poll` reads the rows of claims and completes those that have ended.
    pub(crate) fn run(&self, poll: impl Fn(&[(u64, Slot)]) -> Vec<(u64, Poll)>) {
        let mut state = lock(&self.state);
        while !state.closing {
            let now = Instant::now();
            let due = take_due_alarms(&mut state, now);
            if !due.is_empty() {
                drop(state);
                due.into_iter().for_each(wake);
                state = lock(&self.state);
                continue;
            }
            let claims = due_polls(&mut state, now);
            if !claims.is_empty() {
                drop(state);
                let polls = poll(&claims);
                state = lock(&self.state);
                reschedule(&mut state, &polls);
                continue;
            }
            state = self.sleep(state, now);
        }
        let rest = std::mem::take(&mut state.alarms);
        drop(state);
        rest.into_values().for_each(wake);
    }

    /// Sleeps until the next alarm or poll is due, or until a wake-up.
    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>, now: Instant) -> MutexGuard<'a, State> {
        state.asleep_until = next_due(&state);
        state.asleep = true;
        let mut state = match state.asleep_until {
            Some(until) => {
                let left = until.saturating_duration_since(now);
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.asleep = false;
        state
    }
}

fn take_due_alarms(state: &mut State, now: Instant) -> Vec<Waker> {
    let mut due = Vec::new();
    while let Some(entry) = state.alarms.first_entry() {
        if entry.key().0 > now {
            break;
        }
        due.push(entry.remove());
    }
    due
}

/// The claims to poll now. They stay in the schedule until the end of the poll, which may panic.
fn due_polls(state: &mut State, now: Instant) -> Vec<(u64, Slot)> {
    let State { polled, schedule, .. } = state;
    let due = schedule.range(..=(now, u64::MAX));
    due.filter_map(|(_, claim)| {
        let polled = polled.get_mut(claim)?;
        polled.renewed = false;
        Some((*claim, polled.slot))
    })
    .collect()
}

fn reschedule(state: &mut State, polls: &[(u64, Poll)]) {
    let now = Instant::now();
    for (claim, poll) in polls {
        let Some(polled) = state.polled.get_mut(claim) else { continue };
        state.schedule.remove(&(polled.next, *claim));
        if *poll == Poll::Ended && !polled.renewed {
            state.polled.remove(claim);
        } else {
            polled.period = (polled.period * 2).min(polled.period_max);
            polled.next = now + polled.period;
            state.schedule.insert((polled.next, *claim));
        }
    }
}

fn next_due(state: &State) -> Option<Instant> {
    let alarm = state.alarms.first_key_value().map(|(at, _)| at.0);
    let poll = state.schedule.first().map(|(at, _)| *at);
    alarm.into_iter().chain(poll).min()
}

/// A deadline of a task. Dropping the alarm cancels it.
#[derive(Debug)]
pub(crate) struct Alarm {
    watcher: Arc<Watcher>,
    at: (Instant, u64),
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // The waker may own the last handle of a task with another alarm, so it is dropped after the lock is released.
        let waker = lock(&self.watcher.state).alarms.remove(&self.at);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn all(poll: impl Fn() -> Poll) -> impl Fn(&[(u64, Slot)]) -> Vec<(u64, Poll)> {
        move |claims| claims.iter().map(|(claim, _)| (*claim, poll())).collect()
    }

    fn running(poll: impl Fn() -> Poll + Send + 'static) -> (Arc<Watcher>, std::thread::JoinHandle<()>) {
        let watcher = Arc::new(Watcher::default());
        let inside = Arc::clone(&watcher);
        (watcher, std::thread::spawn(move || inside.run(all(poll))))
    }

    fn until(mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < limit, "it never happened");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_alarm_wakes_once_and_a_dropped_alarm_never() {
        let (watcher, thread) = running(|| Poll::Ended);
        let (kept, dropped) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let soon = Instant::now() + Duration::from_millis(10);
        drop(watcher.alarm(soon, Arc::clone(&dropped).into()));
        let alarm = watcher.alarm(soon, Arc::clone(&kept).into());
        until(|| kept.0.load(Ordering::SeqCst) == 1);
        drop(alarm);
        watcher.close();
        thread.join().unwrap();
        assert_eq!(dropped.0.load(Ordering::SeqCst), 0);
    }

    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("a panicking waker");
        }
    }

    #[test]
    fn a_panicking_waker_delays_no_other_waker() {
        let watcher = Arc::new(Watcher::default());
        let soon = Instant::now();
        let late = soon + Duration::from_secs(3_600);
        let counts = [soon, late].map(|at| {
            let count = Arc::new(Count::default());
            let alarms = [Arc::new(Panicking).into(), Arc::clone(&count).into()];
            (count, alarms.map(|waker: Waker| watcher.alarm(at, waker)))
        });
        let inside = Arc::clone(&watcher);
        let thread = std::thread::spawn(move || inside.run(all(|| Poll::Ended)));
        until(|| counts[0].0.0.load(Ordering::SeqCst) == 1);
        watcher.close();
        thread.join().unwrap();
        assert_eq!(counts[1].0.0.load(Ordering::SeqCst), 1, "closing wakes every alarm");
        drop(watcher.alarm(late, Arc::new(Panicking).into()));
    }

    #[test]
    fn a_claim_is_polled_until_it_has_ended() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let (watcher, thread) =
            running(
                move || {
                    if counted.fetch_add(1, Ordering::SeqCst) < 4 { Poll::Running } else { Poll::Ended }
                },
            );
        watcher.poll(1, Slot::default(), PollRate::Fast);
        until(|| lock(&watcher.state).polled.is_empty());
        assert_eq!(polls.load(Ordering::SeqCst), 5);
        watcher.close();
        thread.join().unwrap();
    }
}
