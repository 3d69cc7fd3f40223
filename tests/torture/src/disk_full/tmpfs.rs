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
    let what = "a 1 MiB tmpfs, filled before or in a call but for 0 to 15 pages, then emptied";
    let mut report = Report::new(what);
    let mut refusals = 0;
    for moment in MOMENTS {
        for free_pages in (0..16).step_by(if options.short { 7 } else { 1 }) {
            let small = match Small::mount() {
                Ok(small) => small,
                Err(why) => return Report::skipped(what, why),
            };
            let scenario = Scenario::new(small.folder.path());
            if moment.is_none() {
                small.fill(free_pages);
            }
            let in_body = |key: &str| {
                if moment == Some(key) {
                    small.fill(free_pages);
                }
            };
            let found = scenario.calls(in_body, || small.heal());
            refusals += 1;
            scenario.end(&found);
            let about = format!("filled at {moment:?} but for {free_pages} pages");
            report.point(found.into_iter().map(|what| format!("{about}: {what}")).collect());
        }
    }
    report.note(format!("{refusals} file systems filled"));
    report
}
