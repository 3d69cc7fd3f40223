//! Whether another owner is alive.
//!
//! A check asks for the *shared* lock on the owner's file, so that two checking processes never take each other for the
//! owner. The descriptor is kept: the next check costs one system call. Death is final and cached.
//!
//! A file that is missing or cannot be opened proves nothing by itself: temporary folders are swept, and a power failure loses new files. Then the
//! boot id and the process id decide. If they prove nothing, the answer is [`Liveness::Unknown`].

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::mounts;
use crate::host::sidecar::Sidecar;
use crate::locks::owner_lock::{OwnerFacts, owner_path, token_of};

/// The number of kept descriptors. If it is reached, all of them are closed and opened again when needed.
const KEPT_MAX: usize = 64;

/// Whether an owner is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// The owner holds its lock. The process may be paused.
    Alive,
    /// The owner never writes again.
    Dead,
    /// Neither is proven; only a person can decide.
    Unknown,
}

/// Checks the other owners of a store for one owner.
#[derive(Debug)]
pub(crate) struct LivenessProbe {
    sidecar: Sidecar,
    own_token: String,
    /// Whether other machines can reach the store. If so, a different boot id may be one of theirs.
    is_remote: bool,
    cached: Mutex<HashMap<String, Cached>>,
}

#[derive(Debug)]
enum Cached {
    File(File),
    Dead,
}

impl LivenessProbe {
    /// A probe for the owner `own_token`, which counts as alive.
    pub(crate) fn new(sidecar: &Sidecar, own_token: &str) -> Self {
        Self {
            sidecar: sidecar.clone(),
            own_token: own_token.to_owned(),
            is_remote: mounts::remote_kind(sidecar.path()).is_some(),
            cached: Mutex::default(),
        }
    }

    /// Whether other machines can reach the store.
    pub(crate) fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// Checks whether the owner is alive; about a microsecond if its descriptor is kept.
    pub(crate) fn check(&self, token: &str, facts: &OwnerFacts) -> Liveness {
        if token == self.own_token {
            return Liveness::Alive;
        }
        let mut cached = self.cached();
        let liveness = match cached.get(token) {
            Some(Cached::Dead) => return Liveness::Dead,
            Some(Cached::File(file)) => check_lock(file),
            None => match self.path(token).map(File::open) {
                Ok(Ok(file)) => {
                    let liveness = check_lock(&file);
                    keep(&mut cached, token, file);
                    liveness
                }
                // Missing, or another user's: the process decides.
                Ok(Err(_)) => self.judge(facts),
                Err(_) => Liveness::Unknown,
            },
        };
        if liveness == Liveness::Dead {
            cached.insert(token.to_owned(), Cached::Dead);
        }
        liveness
    }

    /// Removes the file of a dead owner; false if the owner is alive or another process checks it at this moment.
    ///
    /// Call it only when no running record names the owner: without the file, other processes may be unable to prove
    /// the owner's death.
    ///
    /// # Errors
    /// An I/O error if the token is malformed, or the file cannot be opened, locked or removed.
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
        self.cached().insert(token.to_owned(), Cached::Dead);
        let removed = fs::remove_file(&path);
        file.unlock()?;
        removed.map(|()| true)
    }

    /// Removes the files of owners that ended before their row was written or after it was deleted.
    ///
    /// `known` are the tokens with a row. The caller holds the fair lock, so no other process is between the creation of its
    /// file and its lock.
    pub(crate) fn sweep(&self, known: &HashSet<String>) {
        let Ok(files) = fs::read_dir(self.sidecar.path()) else { return };
        let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
        let tokens = names.filter_map(|name| token_of(&name).map(str::to_owned));
        for token in tokens.filter(|token| !known.contains(token)) {
            // A file that stays does no harm.
            let _ = self.reap(&token);
        }
    }

    /// The liveness of an owner whose file is missing or cannot be opened.
    fn judge(&self, facts: &OwnerFacts) -> Liveness {
        let is_dead = !self.is_remote && facts.process_is_gone();
        if is_dead { Liveness::Dead } else { Liveness::Unknown }
    }

    fn path(&self, token: &str) -> io::Result<PathBuf> {
        owner_path(&self.sidecar, token)
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<String, Cached>> {
        // No code panics while the lock is held, and each cached answer is valid by itself.
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_lock(file: &File) -> Liveness {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Liveness::Alive,
        Err(TryLockError::Error(_)) => Liveness::Unknown,
        Ok(()) => {
            // `reap` must find the file unlocked. Closing is not enough: a forked child may share the descriptor.
            let _ = file.unlock();
            Liveness::Dead
        }
    }
}

fn keep(cached: &mut HashMap<String, Cached>, token: &str, file: File) {
    let is_file = |cached: &Cached| matches!(cached, Cached::File(_));
    if cached.values().filter(|one| is_file(one)).count() >= KEPT_MAX {
        cached.retain(|_, one| !is_file(one));
    }
    cached.insert(token.to_owned(), Cached::File(file));
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
