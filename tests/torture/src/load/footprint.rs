//! The memory, threads and files of a load.

use std::path::{Path, PathBuf};

use crate::frame::Report;

/// A store has a writer and a watcher; the harness may have a thread or two.
const THREADS_OVER_MAX: usize = 4;

pub(super) struct Footprint {
    folder: PathBuf,
    memory_kb: u64,
    threads: usize,
    threads_most: usize,
    database_bytes: u64,
    log_bytes: u64,
}

impl Footprint {
    /// Counts from now on.
    pub(super) fn begin(folder: &Path) -> Footprint {
        // Linux then resets the peak. Other systems report the peak of the whole process.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let threads = threads();
        Footprint {
            folder: folder.to_owned(),
            memory_kb: crate::bytes::peak_kb(),
            threads,
            threads_most: threads,
            database_bytes: 0,
            log_bytes: 0,
        }
    }

    /// One look, at a moment of much load.
    pub(super) fn look(&mut self) {
        self.threads_most = self.threads_most.max(threads());
        self.database_bytes = self.database_bytes.max(bytes(&self.folder.join("idem.db")));
        self.log_bytes = self.log_bytes.max(log_bytes(&self.folder));
    }

    pub(super) fn database_bytes(&self) -> u64 {
        self.database_bytes
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// How much the memory has grown at most.
    pub(super) fn memory_bytes(&self) -> u64 {
        crate::bytes::peak_kb().saturating_sub(self.memory_kb) << 10
    }

    /// What is wrong with the threads beyond those that the load brings itself.
    pub(super) fn threads_found(&self, of_the_load: usize) -> Option<String> {
        let most = self.threads + of_the_load + THREADS_OVER_MAX;
        (self.threads_most > most).then(|| format!("{} threads, {} before", self.threads_most, self.threads))
    }

    pub(super) fn tell(&self, report: &mut Report) {
        report.note(format!(
            "memory grew by {} kB, {} threads more at most, database {} kB, WAL {} kB at most",
            self.memory_bytes() >> 10,
            self.threads_most.saturating_sub(self.threads),
            self.database_bytes >> 10,
            self.log_bytes >> 10,
        ));
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

/// The size of the WAL beside the database.
pub(super) fn log_bytes(folder: &Path) -> u64 {
    bytes(&folder.join("idem.db-wal"))
}
