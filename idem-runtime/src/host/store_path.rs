//! The path of a store, and the creation of its file.
//!
//! **Never open the database, `-wal` or `-shm` while `SQLite` has them open.** Closing any descriptor of a file drops the
//! locks of this process on it, and then two processes write at once. Reading metadata is safe.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::host::path_error::{PathError, path_error};
use crate::host::sidecar::Sidecar;
use crate::host::{mounts, platform};

/// The path of a database file: absolute, without links, and never a URI or the name of a database in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorePath {
    database: PathBuf,
}

/// SQLite opens paths of up to 512 bytes, and appends `-journal`.
const PATH_BYTES_MAX: usize = 504;
/// File systems take names of up to 255 bytes, and SQLite appends `-journal`.
const NAME_BYTES_MAX: usize = 247;

/// The state of the database file before the open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The file was missing and is now empty.
    Fresh,
    /// An earlier creation ended before its first commit.
    Unfinished,
    /// The file existed before.
    Existing,
}

impl StorePath {
    /// Checks a path and resolves it to the one name of its file.
    ///
    /// # Errors
    /// A [`PathError`] if the path cannot be a store. Nothing was created.
    pub(crate) fn resolve(asked: &Path) -> Result<Self, PathError> {
        refuse_special(asked)?;
        let absolute = std::path::absolute(asked).map_err(path_error(asked, "make absolute"))?;
        let ends_as_folder = asked.as_os_str().as_encoded_bytes().ends_with(b"/");
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(PathError::Folder(absolute));
        };
        if ends_as_folder {
            return Err(PathError::Folder(absolute));
        }
        let parent = match parent.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing_folder(&absolute)),
            found => found.map_err(path_error(parent, "find the folder"))?,
        };
        let database = follow_link(parent.join(name))?;
        refuse_too_long(&database)?;
        Ok(Self { database })
    }

    /// Refuses a store of which a file or the folder `-idem` is a mount point, such as a file that is mounted into a
    /// container. The same file has another name elsewhere, and a WAL and locks beside that name.
    ///
    /// # Errors
    /// [`PathError::MountPoint`] with the path.
    pub(crate) fn refuse_mount_points(&self) -> Result<(), PathError> {
        let files = [self.database.clone(), self.wal(), self.shm(), self.sidecar()];
        match mounts::first_mount_point(&files) {
            Some(path) => Err(PathError::MountPoint(path.to_owned())),
            None => Ok(()),
        }
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// Whether a WAL exists that is not empty. If its metadata cannot be read, it counts as existing.
    pub(crate) fn has_wal(&self) -> bool {
        match fs::metadata(self.wal()) {
            Ok(log) => log.len() > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether the WAL is gone and its index is there. A clean close removes the WAL first, so this alone proves no loss.
    pub(crate) fn has_lost_wal(&self) -> bool {
        let is_missing =
            |path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        is_missing(self.wal()) && !is_missing(self.shm())
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.with_suffix("-wal")
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.with_suffix("-shm")
    }

    /// The folder of the store's other files.
    pub(crate) fn sidecar(&self) -> PathBuf {
        self.with_suffix("-idem")
    }

    /// The path with `suffix` added to the file name.
    pub(crate) fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.database);
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Refuses a mount without reliable locks.
    ///
    /// # Errors
    /// [`PathError::Remote`] with the kind of the mount.
    pub(crate) fn refuse_remote(&self) -> Result<(), PathError> {
        match mounts::remote_kind(&self.database) {
            Some(kind) => Err(PathError::Remote { path: self.database.clone(), kind }),
            None => Ok(()),
        }
    }

    /// Creates a private file for `SQLite` to open, or checks the existing one.
    ///
    /// A file of 0 bytes is refused: an emptied store must not start again unnoticed. A file whose creation began is
    /// accepted: the sidecar marks such a file.
    ///
    /// # Errors
    /// A [`PathError`] if the file cannot be created, cannot be written or was emptied.
    pub(crate) fn prepare(&self, sidecar: &Sidecar) -> Result<Creation, PathError> {
        let path = &self.database;
        if let Some(found) = self.inspect(sidecar)? {
            return Ok(found);
        }
        sidecar.begin_creation().map_err(path_error(path, "mark the creation"))?;
        // `create_new` never opens an existing file: closing this descriptor drops no lock.
        match platform::private_file().write(true).create_new(true).open(path) {
            Ok(_) => Ok(Creation::Fresh),
            // Another process was faster, or the path is a link.
            Err(error) => self.inspect(sidecar)?.ok_or_else(|| path_error(path, "create")(error)),
        }
    }

    fn inspect(&self, sidecar: &Sidecar) -> Result<Option<Creation>, PathError> {
        let path = || self.database.clone();
        let metadata = match fs::metadata(&self.database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(path_error(&self.database, "look at"))?,
        };
        let count = platform::hard_links(&metadata);
        if count > 1 {
            return Err(PathError::HardLinks { path: path(), count });
        }
        if metadata.permissions().readonly() {
            return Err(PathError::ReadOnly(path()));
        }
        match (sidecar.is_creating(), metadata.len()) {
            (true, _) => Ok(Some(Creation::Unfinished)),
            (false, 0) => Err(PathError::Emptied(path())),
            (false, _) => Ok(Some(Creation::Existing)),
        }
    }
}

/// Refuses names that `SQLite` does not read as a file.
fn refuse_special(asked: &Path) -> Result<(), PathError> {
    let bytes = asked.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes == b":memory:" {
        return Err(PathError::Memory);
    }
    if bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"file:")) {
        return Err(PathError::Uri(asked.to_owned()));
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul(asked.to_owned()));
    }
    Ok(())
}

/// Refuses a path to which SQLite cannot append its suffixes. Nothing is created before this check.
fn refuse_too_long(database: &Path) -> Result<(), PathError> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let bytes = database.as_os_str().len();
    let name_bytes = database.file_name().map_or(0, std::ffi::OsStr::len);
    if name_bytes > NAME_BYTES_MAX {
        return Err(PathError::NameTooLong { bytes: name_bytes, most: NAME_BYTES_MAX });
    }
    if bytes > PATH_BYTES_MAX {
        return Err(PathError::PathTooLong { bytes, most: PATH_BYTES_MAX });
    }
    Ok(())
}

/// Resolves a link: under two names, a file would have two WALs.
fn follow_link(path: PathBuf) -> Result<PathBuf, PathError> {
    let metadata = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
        found => found.map_err(path_error(&path, "look at"))?,
    };
    let path = if metadata.is_symlink() {
        path.canonicalize().map_err(|error| match fs::read_link(&path) {
            Ok(target) if error.kind() == io::ErrorKind::NotFound => {
                PathError::LostLink { path: path.clone(), target }
            }
            _ => path_error(&path, "follow the link")(error),
        })?
    } else {
        path
    };
    let metadata = fs::metadata(&path).map_err(path_error(&path, "look at"))?;
    if metadata.is_dir() {
        return Err(PathError::Folder(path));
    }
    if metadata.is_file() { Ok(path) } else { Err(PathError::NotAFile(path)) }
}

fn missing_folder(path: &Path) -> PathError {
    let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists()).last();
    PathError::MissingFolder { path: path.to_owned(), missing: missing.unwrap_or(path).to_owned() }
}

#[cfg(unix)]
#[cfg(test)]
#[path = "store_path_tests.rs"]
mod tests;
