//! Whether the files of an open store are still the ones that were opened.
//!
//! If a file is replaced or deleted, `SQLite` goes on writing into the old one and reports success: the records are
//! lost. Metadata read around a write shows the replacement. The check opens no file (see `store_path`).
//!
//! A file cannot be replaced without a change to its folder, so most checks read the folder alone. Reading the times of
//! the WAL makes the next fsync slower (190 µs instead of 130). Since Linux 6.13, the next write then sets an exact
//! time, which the fsync must write as well.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs, io};

use crate::host::path_error::{PathError, path_error};
use crate::host::platform;
use crate::host::platform::FolderState;
use crate::host::store_path::StorePath;

/// Two changes within this time may give a folder the same ctime. The clock of a file system advances in steps: mostly
/// 10 ms, a second on ext4 with small inodes, two seconds on FAT.
const STEP_MAX: Duration = Duration::from_secs(3);

/// The time for which the check of the folder suffices. The folder shows neither a mount over a file nor a clock that was
/// set back.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Device and inode of the database, `-wal` and `-shm` when the store was opened.
#[derive(Debug)]
pub(crate) struct FileIdentity {
    files: Vec<(PathBuf, (u64, u64))>,
    /// `None` if the folder proves nothing: the times of a remote folder are as old as their cached copy.
    folder: Option<PathBuf>,
    /// The folder at the last comparison of the files.
    seen: Option<FolderCheck>,
    /// Length and mtime of the database at the last check of its content.
    content: Option<(u64, SystemTime)>,
}

/// The state of the folder at one check.
#[derive(Debug)]
struct FolderCheck {
    state: FolderState,
    /// The first check that found this state.
    since: Instant,
    /// The last comparison of the files.
    compared: Instant,
}

impl FolderCheck {
    /// Whether an unchanged folder proves unchanged files.
    fn is_enough(&self, now: Instant) -> bool {
        let is_settled = self.compared.saturating_duration_since(self.since) >= STEP_MAX;
        is_settled && now.saturating_duration_since(self.compared) < TRUSTED_FOR
    }
}

/// A file of the store is missing, or is not the one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    file: PathBuf,
}

impl FileIdentity {
    /// Reads the identities of the files. Call it after the first statement in WAL mode: then all three exist.
    ///
    /// # Errors
    /// A [`PathError`] with the file that is missing or whose metadata cannot be read.
    pub(crate) fn capture(store: &StorePath, may_be_remote: bool) -> Result<Self, PathError> {
        let mut files = Vec::with_capacity(3);
        for path in [store.database().to_owned(), store.wal(), store.shm()] {
            let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => PathError::Missing(path.clone()),
                _ => path_error(&path, "look at")(error),
            })?;
            let identity = platform::device_and_inode(&metadata);
            files.push((path, identity));
        }
        let folder = store.database().parent().filter(|_| !may_be_remote).map(Path::to_owned);
        let mut identity = Self { files, folder, seen: None, content: None };
        identity.database_was_written();
        Ok(identity)
    }

    /// Whether any program wrote to the database file since the last check.
    ///
    /// Checkpoints write to the file, and so does a program that copies a backup over it.
    pub(crate) fn database_was_written(&mut self) -> bool {
        let database = self.files.first().and_then(|(path, _)| fs::metadata(path).ok());
        let content = database.and_then(|database| Some((database.len(), database.modified().ok()?)));
        content != std::mem::replace(&mut self.content, content)
    }

    /// Compares the files with the captured ones, unless the folder proves that they are unchanged.
    ///
    /// # Errors
    /// [`Replaced`] if a file is missing or is another one. Writes since the last check may be lost.
    pub(crate) fn check(&mut self) -> Result<(), Replaced> {
        // The folder comes before the files: the next check then shows a change made in between.
        let now = Instant::now();
        let folder = self.folder.as_deref().and_then(|folder| fs::metadata(folder).ok());
        let state = folder.as_ref().and_then(FolderState::of);
        let before = self.seen.take().filter(|seen| state.as_ref() == Some(&seen.state));
        if before.as_ref().is_some_and(|seen| seen.is_enough(now)) {
            self.seen = before;
            return Ok(());
        }
        let since = before.map_or(now, |seen| seen.since);
        self.compare()?;
        self.seen = state.map(|state| FolderCheck { state, since, compared: now });
        Ok(())
    }

    fn compare(&self) -> Result<(), Replaced> {
        for (path, identity) in &self.files {
            let now = fs::metadata(path).ok().as_ref().map(platform::device_and_inode);
            if now != Some(*identity) {
                return Err(Replaced { file: path.clone() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was deleted or replaced while the store was open", self.file.display())
    }
}

impl std::error::Error for Replaced {}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn three_files() -> (tempfile::TempDir, StorePath, FileIdentity) {
        let folder = tempfile::tempdir().unwrap();
        let store = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
        for path in [store.database().to_owned(), store.wal(), store.shm()] {
            fs::write(path, "x").unwrap();
        }
        let identity = FileIdentity::capture(&store, false).unwrap();
        (folder, store, identity)
    }

    #[test]
    fn growing_files_stay_the_same() {
        let (_folder, store, mut identity) = three_files();
        fs::write(store.wal(), "longer than before").unwrap();
        assert_eq!(identity.check(), Ok(()));
    }

    /// Checks until the check of the folder suffices.
    fn settle(identity: &mut FileIdentity) {
        identity.check().unwrap();
        identity.seen.as_mut().unwrap().since -= STEP_MAX;
        identity.check().unwrap();
        assert!(identity.seen.as_ref().unwrap().is_enough(Instant::now()));
    }

    #[test]
    fn a_replaced_or_missing_file_is_found_at_once_and_later() {
        for which in 0..3 {
            for is_later in [false, true] {
                let (_folder, store, mut identity) = three_files();
                if is_later {
                    settle(&mut identity);
                }
                let path = [store.database().to_owned(), store.wal(), store.shm()][which].clone();
                fs::remove_file(&path).unwrap();
                for _ in 0..2 {
                    assert_eq!(identity.check(), Err(Replaced { file: path.clone() }));
                }
            }
        }
    }

    #[test]
    fn the_files_are_compared_until_a_later_change_must_change_the_ctime_of_the_folder() {
        let (folder, store, mut identity) = three_files();
        let put_in_place = |identity: &mut FileIdentity| {
            // A change that the folder does not show.
            identity.files[0].1 = (0, 0);
        };
        identity.check().unwrap();
        put_in_place(&mut identity);
        assert!(identity.check().is_err(), "its time may be from before the change");

        let mut identity = FileIdentity::capture(&store, false).unwrap();
        settle(&mut identity);
        put_in_place(&mut identity);
        assert_eq!(identity.check(), Ok(()), "the files are not looked at for nothing");
        identity.seen.as_mut().unwrap().compared -= TRUSTED_FOR;
        assert!(identity.check().is_err(), "the folder does not show everything");

        let mut identity = FileIdentity::capture(&store, false).unwrap();
        settle(&mut identity);
        put_in_place(&mut identity);
        fs::write(folder.path().join("another"), "x").unwrap();
        assert!(identity.check().is_err(), "the folder has changed");

        let mut remote = FileIdentity::capture(&store, true).unwrap();
        for _ in 0..3 {
            assert_eq!(remote.check(), Ok(()));
            assert!(remote.seen.is_none());
        }
    }

    /// Restoring a backup may also restore the times.
    #[test]
    fn an_mtime_that_was_set_back_hides_no_change() {
        let (folder, store, mut identity) = three_files();
        settle(&mut identity);
        let modified = fs::metadata(folder.path()).unwrap().modified().unwrap();
        let copy = folder.path().join("copy");
        fs::copy(store.wal(), &copy).unwrap();
        fs::rename(&copy, store.wal()).unwrap();
        fs::File::open(folder.path()).unwrap().set_modified(modified).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().modified().unwrap(), modified);
        assert_eq!(identity.check(), Err(Replaced { file: store.wal() }));
    }

    #[test]
    fn a_replaced_folder_is_found() {
        let (folder, store, mut identity) = three_files();
        settle(&mut identity);
        let moved = folder.path().with_extension("moved");
        fs::rename(folder.path(), &moved).unwrap();
        assert!(identity.check().is_err());
        fs::create_dir(folder.path()).unwrap();
        for path in [store.database().to_owned(), store.wal(), store.shm()] {
            fs::write(path, "x").unwrap();
        }
        assert!(identity.check().is_err());
        fs::remove_dir_all(moved).unwrap();
    }

    #[test]
    fn a_file_swapped_by_rename_is_another_file() {
        let (folder, store, mut identity) = three_files();
        let copy = folder.path().join("copy");
        fs::copy(store.database(), &copy).unwrap();
        fs::rename(&copy, store.database()).unwrap();
        let replaced = identity.check().unwrap_err();
        assert!(replaced.to_string().contains("idem.db` was deleted or replaced"), "{replaced}");
    }

    #[test]
    fn capturing_fails_until_all_three_files_exist() {
        let folder = tempfile::tempdir().unwrap();
        let store = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
        fs::write(store.database(), "x").unwrap();
        assert!(FileIdentity::capture(&store, false).is_err());
    }
}
