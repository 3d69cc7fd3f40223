//! Why a path cannot be a store.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::error::Advice;

/// Why a path cannot be a store. `Display` states the fact and names the path.
#[derive(Debug)]
pub(crate) enum PathError {
    Empty,
    Memory,
    Uri(PathBuf),
    Nul(PathBuf),
    Folder(PathBuf),
    NotAFile(PathBuf),
    MissingFolder { path: PathBuf, missing: PathBuf },
    LostLink { path: PathBuf, target: PathBuf },
    HardLinks { path: PathBuf, count: u64 },
    Emptied(PathBuf),
    ReadOnly(PathBuf),
    Remote { path: PathBuf, kind: String },
    MountPoint(PathBuf),
    Missing(PathBuf),
    PathTooLong { bytes: usize, most: usize },
    NameTooLong { bytes: usize, most: usize },
    Io { path: PathBuf, doing: &'static str, error: io::Error },
}

/// Gives an I/O error its path and the operation that failed.
pub(crate) fn path_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> PathError {
    move |error| PathError::Io { path: path.to_owned(), doing, error }
}

impl PathError {
    pub(crate) fn advice(&self) -> Advice {
        match self {
            Self::Empty | Self::Folder(_) | Self::NotAFile(_) => Advice::NameAFile,
            Self::Memory => Advice::TemporaryStore,
            Self::Uri(_) => Advice::PlainPath,
            Self::Nul(_) => Advice::CheckPath,
            Self::MissingFolder { .. } => Advice::CreateFolder,
            Self::LostLink { .. } => Advice::NameTheTarget,
            Self::HardLinks { .. } => Advice::OneHardLink,
            Self::Emptied(_) => Advice::DeleteToRestart,
            Self::ReadOnly(_) | Self::Io { .. } => Advice::Permissions,
            Self::Remote { .. } => Advice::RemoteMount,
            Self::Missing(_) => Advice::RestoreReplaced,
            Self::MountPoint(_) => Advice::MountTheFolder,
            Self::PathTooLong { .. } | Self::NameTooLong { .. } => Advice::ShortPath,
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the path of the store is empty"),
            Self::Memory => f.write_str("the path of the store names a database in memory"),
            Self::Uri(path) => write!(f, "the path `{}` is a URI", path.display()),
            Self::Nul(path) => {
                let path = path.display().to_string();
                write!(f, "the path `{}` contains a NUL byte", path.escape_debug())
            }
            Self::Folder(path) => write!(f, "the path `{}` is a folder", path.display()),
            Self::NotAFile(path) => write!(f, "the path `{}` is not a regular file", path.display()),
            Self::MissingFolder { path, missing } => {
                let (path, missing) = (path.display(), missing.display());
                write!(f, "the folder `{missing}` of `{path}` does not exist")
            }
            Self::LostLink { path, target } => {
                let (path, target) = (path.display(), target.display());
                write!(f, "the path `{path}` is a link to `{target}`, which does not exist")
            }
            Self::HardLinks { path, count } => {
                write!(f, "the file `{}` has {count} hard links", path.display())
            }
            Self::Emptied(path) => write!(f, "the file `{}` is empty (0 bytes)", path.display()),
            Self::ReadOnly(path) => write!(f, "the file `{}` is read-only", path.display()),
            Self::Remote { path, kind } => write!(f, "the path `{}` is on a `{kind}` mount", path.display()),
            Self::Missing(path) => write!(f, "`{}` is missing", path.display()),
            Self::MountPoint(path) => write!(f, "`{}` is a mount point of its own", path.display()),
            Self::PathTooLong { bytes, most } => {
                write!(f, "the path of the store is too long: {bytes} bytes instead of {most} at most")
            }
            Self::NameTooLong { bytes, most } => {
                write!(f, "the file name of the store is too long: {bytes} bytes instead of {most} at most")
            }
            Self::Io { path, doing, .. } => write!(f, "could not {doing} `{}`", path.display()),
        }
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
