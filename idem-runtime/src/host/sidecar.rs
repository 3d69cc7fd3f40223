//! The folder `‹database›-idem` beside a database: owner files, the fair lock, the high-water mark.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::host::path_error::{PathError, path_error};
use crate::host::platform;

/// The mark of a database that is being created and has no commit yet.
const CREATING: &str = "creating";

/// The folder, which only the user who made it may enter.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    /// Whether this value created the folder.
    fresh: bool,
}

impl Sidecar {
    /// Creates the folder, or uses an existing one.
    ///
    /// # Errors
    /// A [`PathError`] if the folder cannot be created, or if the path is not a folder.
    pub(crate) fn create(path: PathBuf) -> Result<Self, PathError> {
        let fresh = match platform::private_folder().create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(path_error(&path, "create the folder")(error)),
        };
        // A link could lead two stores into one folder, so it does not count as a folder.
        let metadata = fs::symlink_metadata(&path).map_err(path_error(&path, "look at"))?;
        if !metadata.is_dir() {
            let error = io::Error::new(io::ErrorKind::NotADirectory, "not a folder");
            return Err(path_error(&path, "use")(error));
        }
        Ok(Self { path, fresh })
    }

    /// Removes the folder if this value created it and no process uses it. Call it if the file is not a store.
    pub(crate) fn remove_unused(&self) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        let names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
        let is_used = names.iter().any(|name| name.as_encoded_bytes().starts_with(b"owner-"));
        if !self.fresh || is_used {
            return;
        }
        for name in names {
            // A file that stays does no harm.
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

    /// Gives a file of the folder to the owner of the database.
    pub(crate) fn give_to_owner_of_database(&self, file: &fs::File) {
        let path = self.path.as_os_str().to_str().and_then(|path| path.strip_suffix("-idem"));
        if let Some(database) = path {
            platform::give_to_owner_of(file, Path::new(database));
        }
    }

    /// Marks that a creation begins. After a crash, the next open finds the mark and finishes the creation.
    ///
    /// # Errors
    /// An I/O error if the mark cannot be written.
    pub(crate) fn begin_creation(&self) -> io::Result<()> {
        platform::private_file().write(true).create(true).truncate(false).open(self.file(CREATING)).map(drop)
    }

    /// Whether a creation began and did not finish.
    pub(crate) fn is_creating(&self) -> bool {
        self.file(CREATING).exists()
    }

    /// Removes the mark. Call it once the schema is committed.
    ///
    /// # Errors
    /// An I/O error if the mark cannot be removed.
    pub(crate) fn finish_creation(&self) -> io::Result<()> {
        match fs::remove_file(self.file(CREATING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A sidecar without a database.
#[cfg(test)]
pub(crate) fn alone() -> (tempfile::TempDir, Sidecar) {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::create(folder.path().join("idem.db-idem")).unwrap();
    (folder, sidecar)
}
