//! How often a call forces something to disk: not less than its mode needs, and not more.

use std::path::Path;

use idem_runtime::{Error, OnInterrupt, Store, install};

use super::workload::NAME;
use crate::frame::{Report, fast_folder};
use crate::shared::call;
use crate::shop::shop;
use crate::vfs::{self, Event, Synchronous};

const CALLS: usize = 12;

/// How a call is made, and how often it has to wait for the disk.
#[derive(Clone, Copy, Debug)]
enum Way {
    Interrupt(OnInterrupt),
    Tx,
}

/// The claim before the effect and the completion before the answer; the claim alone is excused where a repetition is
/// allowed, and in a transaction they are one commit.
const WAYS: [(&str, Way, usize); 6] = [
    ("refuse", Way::Interrupt(OnInterrupt::Refuse), 2),
    ("rerun", Way::Interrupt(OnInterrupt::rerun()), 1),
    ("rerun(unlimited)", Way::Interrupt(OnInterrupt::rerun_unlimited()), 1),
    ("rerun(2)", Way::Interrupt(OnInterrupt::rerun_at_most(2)), 1),
    ("rerun(1)", Way::Interrupt(OnInterrupt::rerun_at_most(1)), 2),
    ("tx", Way::Tx, 1),
];

pub(super) fn run() -> Report {
    let mut report = Report::new(
        "fsyncs of one caller's call: 2 at most once, 1 with `rerun`, 1 in a transaction; of an open: 2",
    );
    let wrong = |counts: Vec<usize>, wanted| counts.into_iter().filter(|count| *count != wanted).count();
    for (name, way, wanted) in WAYS {
        let counts = forces(way, Synchronous::AsAsked);
        let what = format!("{name}: {counts:?} forces instead of {wanted}");
        report.point((wrong(counts, wanted) > 0).then_some(what).into_iter().collect());
    }
    for (killed, wanted) in [(false, 2), (true, 3)] {
        let count = forces_of_open(killed);
        let what = format!("an open (after a kill: {killed}): {count} forces instead of {wanted}");
        report.point((count != wanted).then_some(what).into_iter().collect());
    }
    let refuse = forces(Way::Interrupt(OnInterrupt::Refuse), Synchronous::Normal);
    report.control("`synchronous = NORMAL`, calls without an fsync", wrong(refuse, 2));
    report
}

/// Of each call but the first.
fn forces(way: Way, synchronous: Synchronous) -> Vec<usize> {
    let folder = fast_folder();
    vfs::record(folder.path(), synchronous);
    play(folder.path(), way);
    let log = vfs::stop();
    let is_mark = |event: &Event| matches!(event, Event::Mark(_));
    let calls = log.split(is_mark).skip(1).take(CALLS - 1);
    calls.map(|events| events.iter().filter(|event| matches!(event, Event::Sync { .. })).count()).collect()
}

/// Of an open: the head of the new WAL and the owner's row. After a kill: that row, and the frames of the WAL, which the
/// open checkpoints, since they may never have been synced.
fn forces_of_open(killed: bool) -> usize {
    let (folder, left) = (fast_folder(), fast_folder());
    let path = left.path().join("idem.db");
    let store = Store::open(folder.path().join("idem.db")).expect("a store");
    call(NAME).store(&store).key(&1).run(|| Ok::<_, Error>(1)).expect("an undisturbed call");
    if killed {
        copy(folder.path(), left.path());
        store.close().expect("a clean close");
    } else {
        store.close().expect("a clean close");
        copy(folder.path(), left.path());
    }
    vfs::record(left.path(), Synchronous::AsAsked);
    let opened = Store::open(path).expect("the store again");
    let log = vfs::stop();
    opened.close().expect("a clean close");
    log.iter().filter(|event| matches!(event, Event::Sync { .. })).count()
}

/// The files of a folder and of those in it.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            std::fs::create_dir(&target).expect("a folder");
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("a copy");
        }
    }
}

fn play(folder: &Path, way: Way) {
    let (store, conn) = match way {
        Way::Interrupt(_) => (Some(Store::open(folder.join("idem.db")).expect("a store")), None),
        Way::Tx => (None, Some(shop(folder).expect("a database"))),
    };
    if let Some(conn) = &conn {
        install(conn).expect("tables");
    }
    for n in 0..CALLS {
        let call = call(NAME).key(&n);
        let done: Result<usize, Error> = match (way, &store, &conn) {
            (Way::Interrupt(mode), Some(store), _) => call.store(store).on_interrupt(mode).run(|| Ok(n)),
            (_, _, Some(conn)) => call.tx(conn).run(|| Ok(n)),
            _ => unreachable!("one of them is open"),
        };
        vfs::mark(format!("ack {n} {}", done.expect("an undisturbed call")));
    }
}
