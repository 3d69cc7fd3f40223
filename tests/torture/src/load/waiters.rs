//! A thousand threads wait for one call: all are woken at once when it ends, with its result.

use std::path::Path;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, Store};

use super::footprint::Footprint;
use super::{NAME, STACK_BYTES, make, store};
use crate::frame::{Options, Report};
use crate::shared::call;

/// A loaded machine is late for reasons of its own; a waiter that was forgotten is later than this.
const SOON: Duration = Duration::from_secs(2);
/// How often the control looks.
const LOOK: Duration = Duration::from_secs(3);

pub(super) fn run(options: &Options) -> Report {
    let count = options.points(200, 1_000);
    let mut report = Report::new("load: waiters on one key");
    let (folder, store) = store();
    let (times, footprint) = crowd(&store, folder.path(), count, |store| make(store, "one", || Ok(0)));
    for time in &times {
        report.point(found(*time));
    }
    if let Some(found) = footprint.threads_found(count + 1) {
        report.point(vec![found]);
    }
    let slowest = times.iter().flatten().max().copied().unwrap_or_default();
    report.note(format!(
        "the last was woken {slowest:.1?} after the end, {} bytes of memory a waiter with its thread",
        footprint.memory_bytes() / count as u64
    ));
    footprint.tell(&mut report);
    store.close().expect("closed");
    let (folder, store) = self::store();
    let (polled, _) = crowd(&store, folder.path(), 8, poll);
    report.control("callers that poll every 3 s", polled.into_iter().map(|time| found(time).len()).sum());
    report
}

/// How long after the end a waiter had the result, if it got that.
type Woken = Option<Duration>;

fn found(woken: Woken) -> Vec<String> {
    match woken {
        None => vec!["a waiter got another result".to_owned()],
        Some(late) if late > SOON => vec![format!("a waiter went on {late:.1?} after the end")],
        Some(_) => Vec::new(),
    }
}

/// So many wait while one call runs, and then it ends.
fn crowd(
    store: &Store,
    folder: &Path,
    count: usize,
    wait: impl Fn(&Store) -> Result<u64, Error> + Sync,
) -> (Vec<Woken>, Footprint) {
    let mut footprint = Footprint::begin(folder);
    let (started, end) = (Barrier::new(2), Barrier::new(2));
    let ended: OnceLock<Instant> = OnceLock::new();
    let times = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            make(store, "one", || {
                started.wait();
                end.wait();
                Ok(7)
            })
        });
        started.wait();
        let waiters: Vec<_> = (0..count)
            .map(|_| {
                let wait = || {
                    let got = wait(store);
                    let late = ended.wait().elapsed();
                    got.is_ok_and(|value| value == 7).then_some(late)
                };
                let spawn = std::thread::Builder::new().stack_size(STACK_BYTES);
                spawn.spawn_scoped(scope, wait).expect("a thread")
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        footprint.look();
        ended.set(Instant::now()).expect("once");
        end.wait();
        assert!(first.join().is_ok_and(|made| made.is_ok()));
        waiters.into_iter().map(|waiter| waiter.join().ok().flatten()).collect()
    });
    (times, footprint)
}

/// The control: a waiter without a wake-up.
fn poll(store: &Store) -> Result<u64, Error> {
    loop {
        let got: Result<u64, Error> = call(NAME).store(store).key("one").wait(Duration::ZERO).run(|| Ok(0));
        match got {
            Err(error) if error.kind() == ErrorKind::Running => std::thread::sleep(LOOK),
            got => return got,
        }
    }
}
