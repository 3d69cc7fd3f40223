//! The lock file of an owner: one open store in one process.
//!
//! An owner holds the kernel's lock on a file of its own while it lives. The kernel releases the lock when the process
//! ends in any way, but not while it is paused (SIGSTOP, a suspended laptop). The file is locked before its token is
//! published, and no token is used twice. Therefore a lock that can be taken proves that the owner never writes again.
//!
//! A raw `fork` shares the lock with the child. After the parent's death the owner looks alive until the child ends too,
//! which delays a takeover and does no other harm. A child never releases the lock: that would release it for the parent
//! as well. Programs started with `std::process::Command` do not inherit the lock.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{io, process};

use crate::host::boot::BootComparison;
use crate::host::sidecar::Sidecar;
use crate::host::{boot, platform};
use crate::sync::lock;

/// Longer than any token of this library.
const TOKEN_BYTES_MAX: usize = 64;

/// The tokens of every owner that this copy of the library opened in this process.
static OPENED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn remember(token: &str) {
    lock(&OPENED).insert(token.to_owned());
}

fn forget(path: &Path) {
    if let Some(token) = path.file_name().and_then(|name| name.to_str()).and_then(token_of) {
        lock(&OPENED).remove(token);
    }
}

/// The locked file of an owner of this process.
#[derive(Debug)]
pub(crate) struct OwnerFile {
    file: File,
    path: PathBuf,
    /// The process that took the lock; a forked child has another id.
    creator_pid: u32,
}

/// The facts of an owner in its row: for messages, and for liveness if its file is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnerFacts {
    pub(crate) pid: u32,
    /// The start of the process in the kernel's ticks, which tells it from a later process with the same id.
    pub(crate) pid_start: Option<u64>,
    /// The namespace in which the two numbers above are valid.
    pub(crate) pid_space: Option<String>,
    pub(crate) boot_id: Option<String>,
    pub(crate) host: String,
}

impl OwnerFacts {
    /// Names the owner for people: its process and its host.
    pub(crate) fn text(&self) -> String {
        format!("process {} on {}", self.pid, self.host)
    }
}

impl OwnerFile {
    /// Creates and locks the file. The token must be new and unpublished.
    ///
    /// # Errors
    /// An I/O error if the token is malformed or used, or the file cannot be created or locked.
    pub(crate) fn create(sidecar: &Sidecar, token: &str) -> io::Result<Self> {
        let path = owner_path(sidecar, token)?;
        let file = platform::private_file().read(true).write(true).create_new(true).open(&path)?;
        sidecar.give_to_owner_of_database(&file);
        remember(token);
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "a new owner file is locked")
            }
        })?;
        Ok(Self { file, path, creator_pid: process::id() })
    }

    /// False in a forked child, which must not use the store.
    pub(crate) fn is_mine(&self) -> bool {
        self.creator_pid == process::id()
    }

    /// Ends the owner and removes its file. Call it when no record names the owner.
    ///
    /// To end an owner that records still name, drop the value: the file stays unlocked and proves the owner's death.
    ///
    /// # Errors
    /// An I/O error if the file cannot be removed. The lock is released all the same.
    pub(crate) fn close(self) -> io::Result<()> {
        if self.is_mine() { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

impl Drop for OwnerFile {
    fn drop(&mut self) {
        if self.is_mine() {
            // Closing alone would leave the lock with a forked child.
            let _ = self.file.unlock();
            forget(&self.path);
        }
    }
}

impl OwnerFacts {
    /// The facts of this process.
    pub(crate) fn here() -> Self {
        let pid = process::id();
        Self {
            pid,
            pid_start: process_start(pid).ok().flatten(),
            pid_space: pid_space(),
            boot_id: boot::kernel_id(),
            host: platform::host_name(),
        }
    }

    /// Whether the owner `token` is of this process and was not opened by this copy of the library.
    ///
    /// Two copies of SQLite in one process drop each other's locks.
    pub(crate) fn is_of_another_copy(&self, token: &str) -> bool {
        let here = Self::here();
        let is_here =
            (self.pid, self.pid_start, &self.pid_space) == (here.pid, here.pid_start, &here.pid_space);
        here.pid_start.is_some() && is_here && !lock(&OPENED).contains(token)
    }

    /// True only if the process has certainly ended.
    pub(crate) fn process_is_gone(&self) -> bool {
        match BootComparison::of(self.boot_id.as_deref(), boot::kernel_id().as_deref()) {
            BootComparison::Other => return true,
            BootComparison::Unknown => return false,
            BootComparison::Same => {}
        }
        let same_space = self.pid_space.is_some() && self.pid_space == pid_space();
        let (true, Some(start)) = (same_space, self.pid_start) else { return false };
        match process_start(self.pid) {
            Ok(now) => now.is_some_and(|now| now != start),
            // A `/proc` that hides the processes of other users also hides process 1.
            Err(error) => error.kind() == io::ErrorKind::NotFound && process_start(1).is_ok(),
        }
    }
}

/// The path of an owner's file.
///
/// # Errors
/// An I/O error if the token is malformed: it is read from the database and must not lead out of the folder.
pub(crate) fn owner_path(sidecar: &Sidecar, token: &str) -> io::Result<PathBuf> {
    let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !is_plain {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an owner's token"));
    }
    Ok(sidecar.file(&format!("owner-{token}.lock")))
}

/// The token of an owner's file.
pub(crate) fn token_of(file_name: &str) -> Option<&str> {
    file_name.strip_prefix("owner-")?.strip_suffix(".lock")
}

/// The namespaces of process ids and of start ticks.
fn pid_space() -> Option<String> {
    let pid = fs::read_link("/proc/self/ns/pid").ok()?;
    let time = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", pid.display(), time.display()).trim_end().to_owned())
}

/// The start of a process; an error if no such process exists, `None` if the kernel's text cannot be parsed.
fn process_start(pid: u32) -> io::Result<Option<u64>> {
    fs::read(format!("/proc/{pid}/stat")).map(|stat| parse_start(&stat))
}

/// Parses field 22. Field 2 is a name in parentheses that may contain any character, so fields are counted from its end.
fn parse_start(stat: &[u8]) -> Option<u64> {
    let stat = String::from_utf8_lossy(stat);
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::sidecar;

    #[test]
    fn the_start_is_found_behind_any_process_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["sh", "a b", "x) S 9 (y", ""] {
            assert_eq!(parse_start(format!("17 ({name}) {rest}").as_bytes()), Some(4711), "{name}");
        }
        for junk in
            ["", "17 sh S 1", "17 (sh) S 1 2", "17 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"]
        {
            assert_eq!(parse_start(junk.as_bytes()), None, "{junk}");
        }
    }

    #[test]
    fn a_token_is_used_once() {
        let (_folder, sidecar) = sidecar::alone();
        let owner = OwnerFile::create(&sidecar, "a1").unwrap();
        assert_eq!(OwnerFile::create(&sidecar, "a1").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(owner);
        assert!(OwnerFile::create(&sidecar, "a1").is_err());
    }

    #[test]
    fn a_token_does_not_lead_out_of_the_folder() {
        let (_folder, sidecar) = sidecar::alone();
        for token in ["", "../a", "a/b", "a.b", "a\0", "ü", &"a".repeat(65)] {
            assert_eq!(
                owner_path(&sidecar, token).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{token:?}"
            );
        }
        assert!(owner_path(&sidecar, &"a".repeat(64)).is_ok());
    }

    #[test]
    fn closing_removes_the_file_and_dropping_leaves_it() {
        let (_folder, sidecar) = sidecar::alone();
        let (closed, dropped) =
            (OwnerFile::create(&sidecar, "closed").unwrap(), OwnerFile::create(&sidecar, "dropped").unwrap());
        let paths = (closed.path.clone(), dropped.path.clone());
        closed.close().unwrap();
        drop(dropped);
        assert!(!paths.0.exists() && paths.1.exists());
    }

    /// A fork shares the descriptor like a clone of the handle, and has another process id.
    #[test]
    fn a_forked_child_neither_frees_the_lock_nor_removes_the_file() {
        let (_folder, sidecar) = sidecar::alone();
        for by_close in [false, true] {
            let token = format!("forked-{by_close}");
            let parent = OwnerFile::create(&sidecar, &token).unwrap();
            let child = OwnerFile {
                file: parent.file.try_clone().unwrap(),
                path: parent.path.clone(),
                creator_pid: parent.creator_pid.wrapping_add(1),
            };
            assert!(parent.is_mine() && !child.is_mine());
            if by_close {
                child.close().unwrap();
            } else {
                drop(child);
            }
            assert!(matches!(File::open(&parent.path).unwrap().try_lock(), Err(TryLockError::WouldBlock)));
        }
    }

    #[test]
    fn the_owner_frees_the_lock_though_a_forked_child_shares_it() {
        let (_folder, sidecar) = sidecar::alone();
        let owner = OwnerFile::create(&sidecar, "a1").unwrap();
        let path = owner.path.clone();
        let _shared = owner.file.try_clone().unwrap();
        drop(owner);
        File::open(path).unwrap().try_lock().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_gone_only_if_that_is_certain() {
        let here = OwnerFacts::here();
        assert!(here.pid_start.is_some() && here.pid_space.is_some() && here.boot_id.is_some());
        let gone = |change: fn(&mut OwnerFacts)| {
            let mut facts = here.clone();
            change(&mut facts);
            facts.process_is_gone()
        };
        assert!(!gone(|_| {}), "this process lives");
        assert!(gone(|facts| facts.pid_start = Some(1)), "the id was given to another process");
        assert!(gone(|facts| facts.pid = 4_194_305), "no such process");
        assert!(gone(|facts| facts.boot_id = Some("another".to_owned())), "the machine was restarted");
        assert!(!gone(|facts| (facts.pid, facts.pid_space) = (4_194_305, Some("pid:[1]".to_owned()))));
        assert!(!gone(|facts| (facts.pid, facts.pid_space) = (4_194_305, None)));
        assert!(!gone(|facts| (facts.pid, facts.boot_id) = (4_194_305, None)));
        assert!(!gone(|facts| (facts.pid, facts.pid_start) = (4_194_305, None)));
    }
}
