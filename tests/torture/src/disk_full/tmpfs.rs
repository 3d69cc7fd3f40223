//! A small file system in memory, filled at any moment of a call but for a few pages.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::scenario::Scenario;
use crate::frame::{Options, Report};

const PAGE: usize = 4_096;
/// Whether the disk fills before the first call, or in the body of one of them.
const MOMENTS: [Option<&str>; 4] = [None, Some("refuse-1"), Some("rerun-2"), Some("refuse-3")];

struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    fn mount() -> Result<Small, String> {
        let folder = tempfile::tempdir().expect("a folder");
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m"))
            .map_err(|error| format!("a tmpfs cannot be mounted ({error}); run it as root"))?;
        Ok(Small { folder })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Fills it, but for so many pages.
    fn fill(&self, free_pages: usize) {
        let mut file = File::create(self.ballast()).expect("a file");
        while file.write_all(&[1; PAGE]).is_ok() {}
        let size = file.metadata().expect("a size").len();
        file.set_len(size.saturating_sub((free_pages * PAGE) as u64)).expect("a shorter file");
    }

    fn heal(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path: &Path = self.folder.path();
        let _ = umount2(path, MntFlags::MNT_DETACH);
    }
}

pub(super) fn run(options: &Options) -> Report {
    let what = "a 1 MiB tmpfs, filled before or in a call except for 0 to 15 pages, then emptied";
    let mut report = Report::new(what);
    let mut shown = 0;
    for moment in MOMENTS {
        for free_pages in (0..16).step_by(if options.short { 7 } else { 1 }) {
            let filled = |of: Kind| once(of, moment, free_pages);
            let (found, by_hand) = match (filled(Kind::Store), filled(Kind::ByHand)) {
                (Ok(found), Ok(by_hand)) => (found, by_hand),
                (Err(why), _) | (_, Err(why)) if report.points() == 0 => return Report::skipped(what, why),
                (Err(why), _) | (_, Err(why)) => (vec![format!("the harness: {why}")], Vec::new()),
            };
            let about = format!("filled at {moment:?} but for {free_pages} pages");
            report.point(found.into_iter().map(|what| format!("{about}: {what}")).collect());
            shown += usize::from(!by_hand.is_empty());
        }
    }
    report.control("record after the effect, by hand: file systems with a loss", shown);
    report
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Store,
    /// The control.
    ByHand,
}

/// Three calls on a file system of their own; gives what is wrong.
fn once(of: Kind, moment: Option<&str>, free_pages: usize) -> Result<Vec<String>, String> {
    let small = Small::mount()?;
    let scenario = Scenario::new(small.folder.path());
    if moment.is_none() {
        small.fill(free_pages);
    }
    let in_body = |key: &str| {
        if moment == Some(key) {
            small.fill(free_pages);
        }
    };
    let found = match of {
        Kind::Store => scenario.calls(in_body, || small.heal()),
        Kind::ByHand => scenario.by_hand(in_body, || small.heal()),
    };
    // A store that did no call has nothing left to write.
    scenario.end(if of == Kind::Store { &found } else { &[] });
    Ok(found)
}
