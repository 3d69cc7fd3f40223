//! A reader that holds its snapshot keeps SQLite from resetting the WAL. The WAL grows with every write until then.

use std::path::Path;
use std::time::{Duration, Instant};

use idem_runtime::Store;
use rusqlite::Connection;

use super::footprint::{Footprint, log_bytes};
use super::{make, store};
use crate::frame::{Options, Report};
use crate::tally::Tally;

const WORKERS: usize = 16;
const CALLS_AFTER: usize = 200;
/// A claim and an outcome rewrite a few pages each.
const LOG_BYTES_A_CALL_MAX: u64 = 32 << 10;
/// The time of a close, with its checkpoint, without a reader.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It ends its transaction before the last calls.
    Ends,
    /// It keeps it for as long as it lives, which is longer than the store does.
    Stays,
}

pub(super) fn run(options: &Options) -> Report {
    let calls = options.points(4_000, 30_000);
    let mut report = Report::new("load: a reader holds an old snapshot (checkpoint starvation)");
    let found = starve(calls, Reader::Ends, &mut report);
    report.points_tried(calls + CALLS_AFTER);
    for found in found {
        report.violation(found);
    }
    let never = starve(500, Reader::Stays, &mut Report::new(""));
    report.control("a reader that never ends", never.len());
    report
}

/// Gives what is wrong once the reader should be gone and the store is closed.
fn starve(calls: usize, how: Reader, report: &mut Report) -> Vec<String> {
    let (folder, store) = store();
    let mut footprint = Footprint::begin(folder.path());
    make(&store, "first", || Ok(1)).expect("made");
    let reader = snapshot(folder.path());
    write(&store, 0..calls);
    footprint.look();
    let replayed = (0..calls)
        .step_by(97)
        .all(|n| make(&store, &format!("k{n}"), || Ok(0)).is_ok_and(|value| value == n as u64));
    let reader = Some(reader).filter(|_| how == Reader::Stays);
    write(&store, calls..calls + CALLS_AFTER);
    let after = close(&store, folder.path(), reader);
    footprint.tell(report);
    let each = footprint.log_bytes() / calls as u64;
    report.note(format!(
        "the WAL grew by {each} bytes a call while the snapshot was held; {after} after the close"
    ));
    [
        (!replayed).then(|| "a call was not replayed while the snapshot was held".to_owned()),
        (after > 0).then(|| format!("the WAL has {after} bytes after the close")),
        (each > LOG_BYTES_A_CALL_MAX).then(|| format!("the WAL grew by {each} bytes a call")),
        footprint.threads_found(0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The size of the WAL after the store is closed, or after the limit of the close.
fn close(store: &Store, folder: &Path, reader: Option<Connection>) -> u64 {
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        let limit = Instant::now() + CLOSE_WAIT;
        while !closing.is_finished() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        let after = log_bytes(folder);
        // It waits for readers until its own limit.
        drop(reader);
        closing.join().expect("no panic").expect("closed");
        after
    })
}

fn snapshot(folder: &Path) -> Connection {
    let reader = Connection::open(folder.join("idem.db")).expect("a reader");
    reader.execute_batch("BEGIN; SELECT count(*) FROM idem_record").expect("a snapshot");
    reader
}

fn write(store: &Store, range: std::ops::Range<usize>) {
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let range = range.clone();
            scope.spawn(move || {
                for n in range.skip(worker).step_by(WORKERS) {
                    make(store, &format!("k{n}"), || Ok(n as u64)).expect("made");
                }
            });
        }
    });
}
