//! What can be wrong with the path of a store, in words that say what to do.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why a path cannot be a store. The text says which path and what to do.
#[derive(Debug)]
pub(crate) enum PathProblem {
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
    Io { path: PathBuf, doing: &'static str, error: io::Error },
}

/// Gives an I/O error its path and what was being done.
pub(crate) fn problem(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> PathProblem {
    move |error| PathProblem::Io { path: path.to_owned(), doing, error }
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the path of the store is empty; name a file"),
            Self::Memory => {
                f.write_str("a store in memory would forget everything; use `Store::temporary()` in tests")
            }
            Self::Uri(path) => write!(
                f,
                "`{}` looks like a URI; give a plain path, or `./file:…` for a file of that name",
                path.display()
            ),
            Self::Nul(path) => {
                write!(
                    f,
                    "the path `{}` contains a NUL byte; remove it",
                    path.display().to_string().escape_debug()
                )
            }
            Self::Folder(path) => {
                write!(f, "`{}` is a folder; name a file in it, such as `idem.db`", path.display())
            }
            Self::NotAFile(path) => write!(f, "`{}` is not a regular file; name another", path.display()),
            Self::MissingFolder { path, missing } => write!(
                f,
                "cannot open `{}`: the folder `{}` does not exist; create it first",
                path.display(),
                missing.display()
            ),
            Self::LostLink { path, target } => write!(
                f,
                "`{}` is a link to `{}`, which does not exist; name that path itself to create a store there",
                path.display(),
                target.display()
            ),
            Self::HardLinks { path, count } => write!(
                f,
                "`{}` has {count} hard links; under each name it would get a log of its own and lose records: \
                 keep one",
                path.display()
            ),
            Self::Emptied(path) => write!(
                f,
                "`{}` is empty (0 bytes); a store that was emptied does not start again by itself: restore it, \
                 or delete the file to begin a new one",
                path.display()
            ),
            Self::ReadOnly(path) => {
                write!(
                    f,
                    "`{}` is read-only; a store must be writable: change its permissions",
                    path.display()
                )
            }
            Self::Remote { path, kind } => write!(
                f,
                "`{}` is on a `{kind}` mount, where locks between machines fail and records are lost; use a \
                 local disk, or allow such mounts when building the store",
                path.display()
            ),
            Self::Io { path, doing, error } => write!(
                f,
                "could not {doing} `{}`: {error}; the store needs a folder it may read and write",
                path.display()
            ),
        }
    }
}

impl std::error::Error for PathProblem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
