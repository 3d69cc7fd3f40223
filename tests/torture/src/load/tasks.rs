//! Ten thousand tasks at once, each key twice: no task has a thread.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use idem_runtime::{Error, Store};

use super::footprint::Footprint;
use super::{LONG, NAME, STACK_BYTES, store};
use crate::frame::{Options, Report};
use crate::shared::call;
use crate::tally::Tally;

/// What a task may take, its future included.
const BYTES_A_TASK_MAX: u64 = 16 << 10;

pub(super) fn run(options: &Options) -> Report {
    let tasks = options.points(2_000, 10_000);
    let mut report = Report::new("load: concurrent tasks, every key twice");
    let (folder, store) = store();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = Instant::now();
    let crowd = runtime.block_on(as_tasks(&store, folder.path(), tasks));
    report.note(format!("{:.1?} in all, {} bytes of memory a task", begun.elapsed(), crowd.bytes_each()));
    crowd.footprint.tell(&mut report);
    report.points_tried(tasks);
    for found in crowd.found() {
        report.violation(found);
    }
    store.close().expect("closed");
    let (folder, store) = self::store();
    let shown = as_threads(&store, folder.path(), 200).found();
    report.control("one thread per call instead of a task", shown.len());
    report
}

/// What came of calls that were all under way at once.
struct Crowd {
    footprint: Footprint,
    calls: usize,
    wrong: usize,
    bodies: usize,
}

impl Crowd {
    fn bytes_each(&self) -> u64 {
        self.footprint.memory_bytes() / self.calls as u64
    }

    fn found(&self) -> Vec<String> {
        let Crowd { calls, wrong, bodies, .. } = self;
        [
            (*wrong > 0).then(|| format!("{wrong} calls got no result, or another")),
            (*bodies != calls / 2).then(|| format!("{bodies} bodies ran for {} keys", calls / 2)),
            (self.bytes_each() > BYTES_A_TASK_MAX).then(|| format!("{} bytes a call", self.bytes_each())),
            self.footprint.threads_found(0),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

async fn as_tasks(store: &Store, folder: &Path, calls: usize) -> Crowd {
    let mut footprint = Footprint::begin(folder);
    let bodies = Arc::new(AtomicUsize::new(0));
    let made: Vec<_> = (0..calls)
        .map(|n| {
            let (store, bodies) = (store.clone(), Arc::clone(&bodies));
            tokio::spawn(async move {
                let call = call(NAME).store(&store).key(&(n / 2)).wait(LONG);
                let body = || async {
                    bodies.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok::<u64, Error>((n / 2) as u64)
                };
                call.run_async(body).await.is_ok_and(|value| value == (n / 2) as u64)
            })
        })
        .collect();
    footprint.look();
    let mut wrong = 0;
    for made in made {
        wrong += usize::from(!made.await.unwrap_or(false));
    }
    footprint.look();
    Crowd { footprint, calls, wrong, bodies: bodies.load(Ordering::Relaxed) }
}

/// The control: what a program without tasks does.
fn as_threads(store: &Store, folder: &Path, calls: usize) -> Crowd {
    let mut footprint = Footprint::begin(folder);
    let (bodies, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all_are_there = Barrier::new(calls / 2 + 1);
    std::thread::scope(|scope| {
        for n in 0..calls {
            let (bodies, wrong, all_are_there) = (&bodies, &wrong, &all_are_there);
            let call = move || {
                let made = call(NAME).store(store).key(&(n / 2)).wait(LONG).run(|| {
                    bodies.fetch_add(1, Ordering::Relaxed);
                    all_are_there.wait();
                    Ok::<u64, Error>((n / 2) as u64)
                });
                let is_right = made.is_ok_and(|value| value == (n / 2) as u64);
                wrong.fetch_add(usize::from(!is_right), Ordering::Relaxed);
            };
            let spawn = std::thread::Builder::new().stack_size(STACK_BYTES);
            spawn.spawn_scoped(scope, call).expect("a thread");
        }
        footprint.look();
        all_are_there.wait();
    });
    Crowd { footprint, calls, wrong: wrong.into_inner(), bodies: bodies.into_inner() }
}
