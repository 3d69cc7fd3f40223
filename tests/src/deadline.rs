//! A bound on every wait of a test: a test that hangs ends its process, and a message names it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any wait of a test, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);

struct Wait {
    until: Instant,
    thread: String,
}

/// The deadline of each thread, by a number.
#[derive(Default)]
struct Waits {
    last: u64,
    of_threads: BTreeMap<u64, Wait>,
}

static WAITS: Mutex<Waits> = Mutex::new(Waits { last: 0, of_threads: BTreeMap::new() });

fn waits() -> MutexGuard<'static, Waits> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The deadline of a thread; void when the thread has ended.
struct Deadline(u64);

impl Drop for Deadline {
    fn drop(&mut self) {
        waits().of_threads.remove(&self.0);
    }
}

thread_local! {
    static OF_THREAD: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// Gives this thread's test five minutes from now. All support for tests does so.
pub fn start() {
    start_with(LIMIT);
}

/// Gives this thread's test that long from now.
pub fn start_with(limit: Duration) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| drop(thread::spawn(watch)));
    let thread = thread::current().name().unwrap_or("a thread without a name").to_owned();
    let wait = Wait { until: Instant::now() + limit, thread };
    OF_THREAD.with_borrow_mut(|deadline| {
        let mut waits = waits();
        let number = deadline.get_or_insert_with(|| {
            waits.last += 1;
            Deadline(waits.last)
        });
        waits.of_threads.insert(number.0, wait);
    });
}

fn watch() {
    loop {
        thread::park_timeout(POLL);
        let now = Instant::now();
        if let Some(wait) = waits().of_threads.values().find(|wait| wait.until < now) {
            // Past the capture of the test harness.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("this test hangs: {}\n", wait.thread),
            );
            std::process::abort();
        }
    }
}
