//! A value sent once, from one thread to one waiter. The waiter is a blocked thread or a task.
//!
//! A task waits on any executor. The watcher thread keeps its deadline (see [`crate::waiting::watcher`]), so a test clock
//! of an executor causes no timeout. A value without a receiver is dropped with the last handle. A grant or a handoff in
//! the value is then given back by its own `Drop`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use crate::sync::{lock, wake};
use crate::waiting::watcher::{Alarm, Watcher};

/// How often a thread yields before it sleeps.
///
/// With more threads than processors, the value often arrives during the yields, which saves the sleep and the wake-up.
/// With an idle processor, the yields take 2 µs in all.
const YIELDS_BEFORE_SLEEP: u32 = 3;

/// A slot for one value, shared by its sender and its waiter.
#[derive(Debug)]
pub(crate) struct OneShot<T> {
    state: Mutex<State<T>>,
    sent: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// The waker of the waiting task, if the waiter is a task.
    waker: Option<Waker>,
    /// Whether the waiter is a sleeping thread.
    asleep: bool,
}

impl<T> OneShot<T> {
    pub(crate) fn new() -> Arc<OneShot<T>> {
        Arc::new(OneShot {
            state: Mutex::new(State { value: None, waker: None, asleep: false }),
            sent: Condvar::new(),
        })
    }

    /// Stores the value and wakes the waiter.
    pub(crate) fn send(&self, value: T) {
        let (waker, sleeps) = {
            let mut state = lock(&self.state);
            state.value = Some(value);
            (state.waker.take(), state.asleep)
        };
        if let Some(waker) = waker {
            wake(waker);
        }
        // A wake-up is a system call even if no thread sleeps.
        if sleeps {
            self.sent.notify_one();
        }
    }

    #[cfg(test)]
    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.state).value.take()
    }

    /// Blocks until the value arrives. `None` if the deadline passes first.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<T> {
        let mut state = lock(&self.state);
        // A dropped task may have left its waker.
        state.waker = None;
        let mut yields = 0;
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if yields < YIELDS_BEFORE_SLEEP {
                yields += 1;
                drop(state);
                thread::yield_now();
                state = lock(&self.state);
                continue;
            }
            state.asleep = true;
            state = self.sent.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the value in a task. `None` if the deadline passes first.
    ///
    /// Dropping the future loses no value: it stays in the slot.
    pub(crate) fn wait_async(self: &Arc<Self>, deadline: Instant, watcher: &Arc<Watcher>) -> Waiting<T> {
        Waiting { signal: Arc::clone(self), deadline, watcher: Arc::clone(watcher), alarm: None }
    }
}

/// The future of [`OneShot::wait_async`].
pub(crate) struct Waiting<T> {
    signal: Arc<OneShot<T>>,
    deadline: Instant,
    watcher: Arc<Watcher>,
    alarm: Option<Alarm>,
}

impl<T> Future for Waiting<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Waiting { signal, deadline, watcher, alarm } = self.get_mut();
        let mut state = lock(&signal.state);
        if let Some(value) = state.value.take() {
            return Poll::Ready(Some(value));
        }
        // After the end of the store, no thread keeps deadlines.
        if Instant::now() >= *deadline || watcher.is_closed() {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
            drop(state);
            *alarm = Some(watcher.alarm(*deadline, waker.clone()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_blocked_thread_gets_the_value() {
        let signal = OneShot::new();
        let sender = Arc::clone(&signal);
        let thread = std::thread::spawn(move || sender.send(7));
        assert_eq!(signal.wait(Instant::now() + Duration::from_secs(10)), Some(7));
        thread.join().unwrap();
    }

    #[test]
    fn the_deadline_ends_the_wait() {
        let signal = OneShot::<u8>::new();
        assert_eq!(signal.wait(Instant::now() + Duration::from_millis(5)), None);
    }

    #[test]
    fn an_unreceived_value_is_dropped_with_the_last_handle() {
        let value = Arc::new(());
        let signal = OneShot::new();
        signal.send(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(signal);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
