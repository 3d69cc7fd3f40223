//! Every body fails and frees the key: the callers run one at a time, and every caller gets an answer.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::{ErrorKind, Store};

use super::footprint::Footprint;
use super::{LONG, NAME, STACK_BYTES, store};
use crate::frame::{Options, Report};
use crate::shared::call;
use crate::tally::Tally;

pub(super) fn run(options: &Options) -> Report {
    let count = options.points(100, 1_000);
    let mut report = Report::new("load: waiters behind a function that always fails");
    let (folder, store) = store();
    let begun = Instant::now();
    let (found, footprint) = herd(&store, folder.path(), count, |body| {
        call(NAME).store(&store).key("herd").wait(LONG).map_err(|error| error.to_string()).run(body)
    });
    report.points_tried(count);
    report.note(format!(
        "{:.1?}, {:.2} ms a body",
        begun.elapsed(),
        begun.elapsed().as_secs_f64() * 1_000.0 / count as f64
    ));
    footprint.tell(&mut report);
    for found in found {
        report.violation(found);
    }
    store.close().expect("closed");
    let (folder, store) = self::store();
    let (all_run, _) = herd(&store, folder.path(), 64, |body| body());
    report.control("all waiters run", all_run.len());
    report
}

type Body<'a> = &'a (dyn Fn() -> Result<u64, String> + Sync);

/// Sends all through `go`, one body each.
fn herd(
    store: &Store,
    folder: &Path,
    count: usize,
    go: impl Fn(Body<'_>) -> Result<u64, String> + Sync,
) -> (Vec<String>, Footprint) {
    let mut footprint = Footprint::begin(folder);
    let (now, most, bodies) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong = AtomicUsize::new(0);
    let fail = || {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        bodies.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(200));
        now.fetch_sub(1, Ordering::SeqCst);
        Err::<u64, String>("it failed".into())
    };
    std::thread::scope(|scope| {
        for _ in 0..count {
            let one = || {
                let is_right = go(&fail) == Err("it failed".into());
                wrong.fetch_add(usize::from(!is_right), Ordering::SeqCst);
            };
            let spawn = std::thread::Builder::new().stack_size(STACK_BYTES);
            spawn.spawn_scoped(scope, one).expect("a thread");
        }
        footprint.look();
    });
    footprint.look();
    let (most, bodies, wrong) = (most.into_inner(), bodies.into_inner(), wrong.into_inner());
    let mut found = Vec::new();
    if most != 1 || bodies != count {
        found.push(format!("{bodies} bodies ran for {count} callers, {most} side by side"));
    }
    if wrong > 0 {
        found.push(format!("{wrong} callers got another answer"));
    }
    let late = call(NAME).store(store).key("herd").wait(Duration::ZERO).map_err(|error| error.kind());
    if late.run(|| Ok::<u64, ErrorKind>(3)) != Ok(3) {
        found.push("the key is not free after the herd".to_owned());
    }
    found.extend(footprint.threads_found(count));
    (found, footprint)
}
