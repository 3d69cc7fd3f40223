//! The disk fails while a store is made, opened, recovered or closed. Then it works again, and so does the store.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Ran, Store};

use super::scenario::NAME;
use crate::frame::{Options, Report, fast_folder};
use crate::power;
use crate::shared::call;
use crate::vfs::{self, Failing, Synchronous, Trouble};

/// What the disk fails in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The first open, which makes the file.
    Making,
    Opening,
    /// The open after a kill.
    Recovering,
    Closing,
}

const MOMENTS: [Moment; 4] = [Moment::Making, Moment::Opening, Moment::Recovering, Moment::Closing];

pub(super) fn run(options: &Options) -> Report {
    let mut report =
        Report::new("ENOSPC and EIO at every write-like call of opens and closes, once and from then on");
    let pasts = Pasts::make();
    let mut shown = 0;
    for moment in MOMENTS {
        for trouble in [Trouble::NoSpace, Trouble::Io] {
            for count in [1, usize::MAX] {
                for first in (1..).step_by(if options.short { 4 } else { 1 }) {
                    let failing = Failing::Changes { trouble, first, count };
                    let past = pasts.before(moment);
                    let (found, failed) = point(past, moment, failing, Keeper::Ours);
                    if failed == 0 {
                        break;
                    }
                    report.point(
                        found.into_iter().map(|what| format!("{moment:?}, {failing:?}: {what}")).collect(),
                    );
                    shown += point(past, moment, failing, Keeper::StartsAnew).0.len();
                }
            }
        }
    }
    report.control("a store that does not open is deleted and created again", shown);
    report
}

/// A store as it was left, and what must still be true of it.
struct Past {
    folder: tempfile::TempDir,
    done: &'static [&'static str],
    in_doubt: &'static [&'static str],
}

struct Pasts {
    empty: Past,
    closed: Past,
    killed: Past,
}

impl Pasts {
    fn make() -> Pasts {
        let (closed, killed) = (fast_folder(), fast_folder());
        vfs::record(closed.path(), Synchronous::AsAsked);
        let store = Store::open(closed.path().join("idem.db")).expect("a store");
        for key in ["a", "b", "c"] {
            make(&store, key, || {}).expect("made");
        }
        let cut =
            catch_unwind(AssertUnwindSafe(|| make(&store, "doubt", || resume_unwind(Box::new("cut off")))));
        assert!(cut.is_err());
        make(&store, "running", || power::killed(&vfs::so_far(), killed.path())).expect("made");
        store.close().expect("closed");
        vfs::stop();
        Pasts {
            empty: Past { folder: fast_folder(), done: &[], in_doubt: &[] },
            closed: Past { folder: closed, done: &["a", "b", "c", "running"], in_doubt: &["doubt"] },
            killed: Past { folder: killed, done: &["a", "b", "c"], in_doubt: &["doubt", "running"] },
        }
    }

    fn before(&self, moment: Moment) -> &Past {
        match moment {
            Moment::Making => &self.empty,
            Moment::Opening | Moment::Closing => &self.closed,
            Moment::Recovering => &self.killed,
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).expect("a folder");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// The opener of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    Ours,
    /// The control: who deletes what does not open.
    StartsAnew,
}

impl Keeper {
    fn open(self, path: &Path) -> Result<Store, Error> {
        let opened = Store::open(path);
        if self == Keeper::Ours || opened.is_ok() {
            return opened;
        }
        vfs::fail(None);
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(path.with_file_name(format!("idem.db{end}")));
        }
        let _ = fs::remove_dir_all(path.with_file_name("idem.db-idem"));
        Store::open(path)
    }
}

fn make(store: &Store, key: &str, body: impl FnOnce()) -> Result<String, Error> {
    call(NAME).store(store).key(key).wait(Duration::ZERO).run(|| {
        body();
        Ok(format!("{key}:value"))
    })
}

/// Gives what is wrong afterwards, and how many calls of the disk failed.
fn point(past: &Past, moment: Moment, failing: Failing, keeper: Keeper) -> (Vec<String>, usize) {
    let folder = fast_folder();
    copy(past.folder.path(), folder.path());
    let path = folder.path().join("idem.db");
    vfs::record(folder.path(), Synchronous::AsAsked);
    let mut effects = 0;
    let (failed, mut found) = if moment == Moment::Closing {
        let store = Store::open(&path).expect("a store");
        let made = make(&store, "during", || effects += 1);
        vfs::fail(Some(failing));
        // It may say that it could not: what matters is what the next one finds.
        let _ = store.close();
        (
            vfs::failed(),
            made.err().map(|error| format!("a call on a healthy disk: {error}")).into_iter().collect(),
        )
    } else {
        vfs::fail(Some(failing));
        let opened = keeper.open(&path);
        let failed = vfs::failed();
        vfs::fail(None);
        (failed, of_opened(opened, &mut effects))
    };
    vfs::fail(None);
    found.extend(afterwards(past, &path, effects, keeper));
    vfs::stop();
    (found, failed)
}

/// A store that opened all the same is one that works.
fn of_opened(opened: Result<Store, Error>, effects: &mut usize) -> Vec<String> {
    match opened {
        Ok(store) => {
            let made = make(&store, "during", || *effects += 1).map(drop);
            let ended = made.and_then(|()| store.close());
            ended.err().map(|error| format!("it opened, and then: {error}")).into_iter().collect()
        }
        Err(error) if is_refused(&error) => Vec::new(),
        Err(error) => vec![format!("the error of an open: {error:?}")],
    }
}

/// The disk works again.
fn afterwards(past: &Past, path: &Path, effects: usize, keeper: Keeper) -> Vec<String> {
    let store = match keeper.open(path) {
        Ok(store) => store,
        Err(error) => return vec![format!("it does not open again: {error}")],
    };
    let mut found = store.verify().unwrap_or_else(|error| vec![error.to_string()]);
    let during: &[&str] = if effects > 0 { &["during"] } else { &[] };
    for key in past.done.iter().chain(during) {
        let mut ran = false;
        let answer = make(&store, key, || ran = true);
        if ran || answer.as_ref().ok() != Some(&format!("{key}:value")) {
            found.push(format!("`{key}` was acknowledged: it ran again {ran}, {answer:?}"));
        }
    }
    for key in past.in_doubt {
        let mut ran = false;
        let answer = make(&store, key, || ran = true);
        if ran || answer.as_ref().map_err(Error::kind).err() != Some(ErrorKind::InDoubt) {
            found.push(format!("`{key}` was in doubt: it ran again {ran}, {answer:?}"));
        }
    }
    let mut ran = false;
    let fresh = make(&store, "fresh", || ran = true);
    if !ran || fresh.is_err() {
        found.push(format!("a new call: it ran {ran}, {fresh:?}"));
    }
    if let Err(error) = store.close() {
        found.push(format!("it does not close: {error}"));
    }
    found
}

/// An open on a failing disk is refused before anything runs.
fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Store | ErrorKind::DiskFull) && error.ran() == Ran::No
}
