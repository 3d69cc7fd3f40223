//! Places where a body stands until the test lets it go on, and counts of what ran.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline;

/// Nothing in the tests takes longer, also on a slow machine.
pub const LONG: Duration = Duration::from_secs(60);

/// A point at which bodies stand until the test lets them continue.
#[derive(Debug, Default)]
pub struct Halt {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    may_leave: usize,
}

impl Halt {
    /// A halt at which every body stands.
    pub fn new() -> Arc<Halt> {
        deadline::start();
        Arc::default()
    }

    /// For the body: stands until the test lets it go.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn stand(&self) {
        let mut state = self.lock();
        state.arrived += 1;
        let place = state.arrived;
        self.changed.notify_all();
        drop(state);
        self.until("let go", |state| state.may_leave >= place);
    }

    /// For the test: waits until `count` bodies have come here in all.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_for(&self, count: usize) {
        self.until("reached", |state| state.arrived >= count);
    }

    /// How many bodies have come here so far.
    pub fn arrived(&self) -> usize {
        self.lock().arrived
    }

    /// For the test: one more body may leave.
    pub fn let_one_go(&self) {
        self.lock().may_leave += 1;
        self.changed.notify_all();
    }

    /// For the test: every body may leave, now and later.
    pub fn let_all_go(&self) {
        self.lock().may_leave = usize::MAX;
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until(&self, what: &str, done: impl Fn(&State) -> bool) {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, LONG, |state| !done(state));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        assert!(!timeout.timed_out(), "the halt was never {what}");
    }
}

/// How often bodies ran, and how many of them at the same time.
#[derive(Debug, Default)]
pub struct Runs {
    started: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Runs {
    /// None yet.
    pub fn new() -> Arc<Runs> {
        deadline::start();
        Arc::default()
    }

    /// Around a body: gives its number, from 1.
    pub fn count<R>(&self, body: impl FnOnce(usize) -> R) -> R {
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let _ended = Ended(self);
        body(number)
    }

    /// How often a body was started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// How many ran side by side at most.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Ended<'a>(&'a Runs);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Gives threads and programs the time to block in a call, which no event shows. A pause that is too short makes a test
/// weaker, not wrong.
pub fn pause() {
    pause_for(Duration::from_millis(50));
}

/// Waits that long.
pub fn pause_for(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// Waits for a condition that no event shows.
///
/// # Panics
/// If that takes too long.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < limit, "a condition never held: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
