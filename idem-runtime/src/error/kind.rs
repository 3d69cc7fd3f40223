//! The kinds of errors, and their texts for the other side of a network.

/// The kind of an [`Error`](crate::Error). New kinds may be added.
///
/// | kind | body ran | HTTP | a consumer should |
/// |---|---|---|---|
/// | `BadKey`, `BadArgument` | no | 400 | reject the message: its key stays unusable |
/// | `Mismatch` | no | 422 | reject: the key belongs to another request |
/// | `InDoubt` | unknown; yes if the body of this call left it in doubt | 409 | park until the call is settled |
/// | `Reentrant` | no | 500 | fix the program |
/// | `Running` | no (a duplicate runs) | 409 + `Retry-After` | retry later |
/// | `Fenced` | yes | 500 | park: an operator stole the call while the body ran |
/// | `Undecodable` | no (an earlier call did) | 500 | fix the type, then retry |
/// | `ResultGone` | no (an earlier call did) | 410 | acknowledge: the call is done |
/// | `ResultGone` and [`failed`](crate::Error::failed) | no (an earlier call did) | 410 | reject: the call failed for good |
/// | `NotRecorded` | yes | 500 | park: the outcome is not on disk |
/// | `DuplicateName`, `NotInitialised`, `Closed` | no | 500 | fix the program |
/// | `Store`, `DiskFull` | see [`Error::ran`](crate::Error::ran) | 503 | retry later if it did not run |
/// | `LostRecords`, `Damaged`, `Replaced` | no | 503 | park: a person restores the files first |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is missing, empty, blank, too long, or of a type that cannot be a key.
    BadKey,
    /// An argument cannot be compared, or an option has a value that is not allowed, such as a `ttl` of zero.
    BadArgument,
    /// The key was used before with other arguments.
    Mismatch,
    /// An earlier attempt was cut off, or its `Err` left its effect unknown.
    InDoubt,
    /// The call reached itself with the same key.
    Reentrant,
    /// A duplicate is running and did not end within `wait`.
    Running,
    /// An operator stole the call while the body ran.
    Fenced,
    /// The stored result cannot be read as the requested type.
    Undecodable,
    /// The call is finished and its result or its remembered error is not kept, or no longer.
    ///
    /// [`Error::failed`](crate::Error::failed) tells the two apart. A result without content, such as `()`, is never gone.
    ResultGone,
    /// The body ran and its outcome is not written yet.
    NotRecorded,
    /// Two functions share one name, or a default name is not the path of its function.
    DuplicateName,
    /// No store is in scope: the program did not call `init`.
    NotInitialised,
    /// The store is closed, or belongs to the parent of this forked process.
    Closed,
    /// The file, the disk or `SQLite` refuses an operation of the store.
    Store,
    /// The store has lost records: its database is older than its high-water mark, or records are missing.
    LostRecords,
    /// The database or a record is damaged.
    Damaged,
    /// The disk is full.
    DiskFull,
    /// The files of the open store were deleted, replaced or set back to an older state.
    Replaced,
}

impl ErrorKind {
    /// The text of [`Error::detail`](crate::Error::detail).
    pub(super) fn detail(self, failed: bool) -> &'static str {
        match self {
            Self::Undecodable if failed => {
                "The request was processed earlier and failed, but its error cannot be read."
            }
            Self::ResultGone if failed => {
                "The request was processed earlier and failed, and its error is no longer available."
            }
            Self::BadKey => "The idempotency key is missing or not valid.",
            Self::BadArgument => "The request contains a value that cannot be processed.",
            Self::Mismatch => "The idempotency key was already used for a different request.",
            Self::InDoubt => "The outcome of this request is unknown.",
            Self::Running => "The same request is still being processed.",
            Self::Fenced => "The request was processed, but its outcome was not recorded.",
            Self::Undecodable => "The request was processed earlier, but its result cannot be read.",
            Self::ResultGone => "The request was processed earlier, and its result is no longer available.",
            Self::NotRecorded => "The request was processed, but its outcome is not recorded yet.",
            Self::Reentrant | Self::DuplicateName | Self::NotInitialised | Self::Closed => {
                "The service is not able to process this request."
            }
            Self::Store | Self::LostRecords | Self::Damaged | Self::DiskFull | Self::Replaced => {
                "The service cannot access its records at the moment."
            }
        }
    }
}

/// Whether the body of *this* call ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ran {
    /// The body did not run: a retry repeats nothing.
    No,
    /// The body ran.
    Yes,
    /// An earlier attempt may have run, wholly or in part.
    Unknown,
}

impl Ran {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}
