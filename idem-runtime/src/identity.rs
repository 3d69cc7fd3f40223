//! Whether the files of an open store are still the ones that were opened.
//!
//! `SQLite` goes on writing into a file that was replaced or deleted, and reports success: the records are lost.
//! Three looks at metadata around a write find that out. They open nothing (see `files`).

use std::{fmt, fs, io, path::PathBuf};

use crate::{files::StorePath, platform};

/// Device and inode of the database, `-wal` and `-shm` when the store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    files: Vec<(PathBuf, (u64, u64))>,
}

/// A file of the store is not the one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    file: PathBuf,
}

impl Identity {
    /// Remembers the files. Call it after the first statement in WAL mode: then all three exist.
    ///
    /// # Errors
    /// If one of them is missing or cannot be looked at.
    pub(crate) fn capture(store: &StorePath) -> io::Result<Self> {
        let mut files = Vec::with_capacity(3);
        for path in [store.database().to_owned(), store.wal(), store.shm()] {
            let identity = platform::device_and_inode(&fs::metadata(&path)?);
            files.push((path, identity));
        }
        Ok(Self { files })
    }

    /// Compares the files with those remembered: three stats, about as much as reading one row.
    ///
    /// # Errors
    /// [`Replaced`] if one is gone or is another file now. What was written since is not safe.
    pub(crate) fn check(&self) -> Result<(), Replaced> {
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
        write!(
            f,
            "`{}` was deleted or replaced while the store was open; stop every process that uses the store, see \
             that the right files are in place, and start again",
            self.file.display()
        )
    }
}

impl std::error::Error for Replaced {}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn three_files() -> (tempfile::TempDir, StorePath, Identity) {
        let folder = tempfile::tempdir().unwrap();
        let store = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
        for path in [store.database().to_owned(), store.wal(), store.shm()] {
            fs::write(path, "x").unwrap();
        }
        let identity = Identity::capture(&store).unwrap();
        (folder, store, identity)
    }

    #[test]
    fn growing_files_stay_the_same() {
        let (_folder, store, identity) = three_files();
        fs::write(store.wal(), "longer than before").unwrap();
        assert_eq!(identity.check(), Ok(()));
    }

    #[test]
    fn each_of_the_three_is_missed() {
        for which in 0..3 {
            let (_folder, store, identity) = three_files();
            let path = [store.database().to_owned(), store.wal(), store.shm()][which].clone();
            fs::remove_file(&path).unwrap();
            assert_eq!(identity.check(), Err(Replaced { file: path }));
        }
    }

    #[test]
    fn a_file_swapped_by_rename_is_another_file() {
        let (folder, store, identity) = three_files();
        let copy = folder.path().join("copy");
        fs::copy(store.database(), &copy).unwrap();
        fs::rename(&copy, store.database()).unwrap();
        let replaced = identity.check().unwrap_err();
        assert!(replaced.to_string().contains("idem.db` was deleted or replaced"), "{replaced}");
    }

    #[test]
    fn nothing_is_captured_before_all_three_exist() {
        let folder = tempfile::tempdir().unwrap();
        let store = StorePath::resolve(&folder.path().join("idem.db")).unwrap();
        fs::write(store.database(), "x").unwrap();
        assert!(Identity::capture(&store).is_err());
    }
}
