//! Whether another owner is alive.
//!
//! A probe asks for the *shared* lock on the owner's file, so that two probers never take each other for the
//! owner. The descriptor is kept: the next look costs one system call. Death is final and remembered. A file
//! that is missing proves nothing by itself (temporary folders are swept, a power cut takes new files), so the
//! boot id and the process decide then, and in doubt the answer is [`Liveness::Unknown`].

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::mounts;
use crate::host::sidecar::Sidecar;
use crate::locks::owner_lock::{OwnerFacts, owner_path};

/// How many descriptors are kept; beyond it they are opened anew.
const KEPT_MAX: usize = 64;

/// What is known about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It may be paused, but it will go on.
    Alive,
    /// It will never write again.
    Dead,
    /// Nothing proves either; only a person can tell.
    Unknown,
}

/// Looks at the owners of one store on behalf of one of them.
#[derive(Debug)]
pub(crate) struct Prober {
    sidecar: Sidecar,
    own_token: String,
    /// Other machines can reach the store, so another boot id may be theirs.
    is_remote: bool,
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug)]
enum Seen {
    File(File),
    Dead,
}

impl Prober {
    /// A prober that knows its own owner to be alive.
    pub(crate) fn new(sidecar: &Sidecar, own_token: &str) -> Self {
        Self {
            sidecar: sidecar.clone(),
            own_token: own_token.to_owned(),
            is_remote: mounts::remote_kind(sidecar.path()).is_some(),
            seen: Mutex::default(),
        }
    }

    /// Looks whether the owner is alive; about a microsecond when it was looked at before.
    pub(crate) fn probe(&self, token: &str, facts: &OwnerFacts) -> Liveness {
        if token == self.own_token {
            return Liveness::Alive;
        }
        let mut seen = self.seen();
        let liveness = match seen.get(token) {
            Some(Seen::Dead) => return Liveness::Dead,
            Some(Seen::File(file)) => look(file),
            None => match self.path(token).and_then(File::open) {
                Ok(file) => {
                    let liveness = look(&file);
                    keep(&mut seen, token, file);
                    liveness
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.judge(facts),
                Err(_) => Liveness::Unknown,
            },
        };
        if liveness == Liveness::Dead {
            seen.insert(token.to_owned(), Seen::Dead);
        }
        liveness
    }

    /// Removes the file of a dead owner; false if it is alive or being looked at just now.
    ///
    /// Only when no running record names the owner any more: without its file others may not be able to tell
    /// that it is dead.
    ///
    /// # Errors
    /// If the token is not an owner's, or the file cannot be opened, locked or removed.
    pub(crate) fn reap(&self, token: &str) -> io::Result<bool> {
        if token == self.own_token {
            return Ok(false);
        }
        let path = self.path(token)?;
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            opened => opened?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        self.seen().insert(token.to_owned(), Seen::Dead);
        let removed = fs::remove_file(&path);
        file.unlock()?;
        removed.map(|()| true)
    }

    /// Without a file.
    fn judge(&self, facts: &OwnerFacts) -> Liveness {
        let is_dead = !self.is_remote && facts.process_is_gone();
        if is_dead { Liveness::Dead } else { Liveness::Unknown }
    }

    fn path(&self, token: &str) -> io::Result<PathBuf> {
        owner_path(&self.sidecar, token)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        // Nothing panics while it is held, and every entry is true by itself.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(file: &File) -> Liveness {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Liveness::Alive,
        Err(TryLockError::Error(_)) => Liveness::Unknown,
        Ok(()) => {
            // A reaper must find it free, and closing would not do: a forked child may share the descriptor.
            let _ = file.unlock();
            Liveness::Dead
        }
    }
}

fn keep(seen: &mut HashMap<String, Seen>, token: &str, file: File) {
    let is_file = |seen: &Seen| matches!(seen, Seen::File(_));
    if seen.values().filter(|seen| is_file(seen)).count() >= KEPT_MAX {
        seen.retain(|_, seen| !is_file(seen));
    }
    seen.insert(token.to_owned(), Seen::File(file));
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
