//! The folder `‹database›-idem` beside a database: owner files, the fair lock, the high-water mark.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::host::path_error::{PathError, path_error};
use crate::host::platform;

/// Says that a database is being made and has not seen its first commit.
const CREATING: &str = "creating";

/// A folder that only the owner of the store may enter. It exists as long as this value is used.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    /// This value made the folder.
    fresh: bool,
}

impl Sidecar {
    /// Finds or makes the folder.
    ///
    /// # Errors
    /// If it cannot be made, or something else has its name.
    pub(crate) fn create(path: PathBuf) -> Result<Self, PathError> {
        let fresh = match platform::private_folder().create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(path_error(&path, "create the folder")(error)),
        };
        // A link could lead two stores into one folder, so it does not count as a folder.
        let metadata = fs::symlink_metadata(&path).map_err(path_error(&path, "look at"))?;
        if !metadata.is_dir() {
            let error = io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder");
            return Err(path_error(&path, "use")(error));
        }
        Ok(Self { path, fresh })
    }

    /// Takes a folder away that was made for a file that turned out not to be ours. One that was there before stays,
    /// and so does one that another process uses by now.
    pub(crate) fn remove_unused(&self) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        let names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
        let is_used = names.iter().any(|name| name.as_encoded_bytes().starts_with(b"owner-"));
        if !self.fresh || is_used {
            return;
        }
        for name in names {
            // What stays behind does no harm.
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Marks that the database is about to be made. A crash leaves the mark, and the next open goes on.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub(crate) fn begin_creation(&self) -> io::Result<()> {
        platform::private_file().write(true).create(true).truncate(false).open(self.file(CREATING)).map(drop)
    }

    /// True if a creation was begun and not finished.
    pub(crate) fn is_creating(&self) -> bool {
        self.file(CREATING).exists()
    }

    /// Takes the mark away. Call it whenever the schema has been seen committed.
    ///
    /// # Errors
    /// If the mark is there and cannot be removed.
    pub(crate) fn finish_creation(&self) -> io::Result<()> {
        match fs::remove_file(self.file(CREATING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A folder beside a database that is never made.
#[cfg(test)]
pub(crate) fn alone() -> (tempfile::TempDir, Sidecar) {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::create(folder.path().join("idem.db-idem")).unwrap();
    (folder, sidecar)
}
