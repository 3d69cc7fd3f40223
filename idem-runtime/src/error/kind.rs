//! The kinds of errors, and what of them may leave the program.

/// What went wrong. New kinds may be added.
///
/// | kind | body ran | HTTP | a consumer should |
/// |---|---|---|---|
/// | `BadKey`, `BadArgument` | no | 400 | reject the message: it will never have a usable key |
/// | `Mismatch` | no | 422 | reject: the key was used for something else |
/// | `InDoubt` | unknown, or yes if this caller's body said so | 409 | park until the call is settled |
/// | `Reentrant` | no | 500 | fix the program |
/// | `Running` | no (a duplicate does) | 409 + `Retry-After` | retry later |
/// | `Fenced` | yes | 500 | park: an operator took the call away while it ran |
/// | `Undecodable` | no (an earlier call did) | 500 | fix the type, then retry |
/// | `ResultGone` | no (an earlier call did) | 410 | acknowledge: it is done |
/// | `NotRecorded` | yes | 500 | park: done, but the disk does not know it |
/// | `DuplicateName`, `NotInitialised`, `Closed` | no | 500 | fix the program |
/// | `Store` | see [`Error::ran`](crate::Error::ran) | 503 | retry later if it did not run |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is missing, empty, too long, or of a type that makes no key.
    BadKey,
    /// An argument cannot be fingerprinted.
    BadArgument,
    /// The key was used before with other arguments.
    Mismatch,
    /// An earlier attempt was cut off, or its `Err` left its effect unknown.
    InDoubt,
    /// The call reached itself with the same key.
    Reentrant,
    /// A duplicate is running and did not end within `wait`.
    Running,
    /// The call was taken away from its owner while the body ran.
    Fenced,
    /// The stored result cannot be read as the type asked for.
    Undecodable,
    /// The call is done; its result is not kept, or no longer.
    ResultGone,
    /// The body ran and its outcome could not be written yet.
    NotRecorded,
    /// Two functions share one name.
    DuplicateName,
    /// No store is in scope: the program did not call `init`.
    NotInitialised,
    /// The store was closed, or belongs to the process this one was forked from.
    Closed,
    /// The file, the disk or `SQLite` refuses an operation of the store.
    Store,
}

impl ErrorKind {
    /// See [`Error::detail`](crate::Error::detail).
    pub(super) fn detail(self) -> &'static str {
        match self {
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
            Self::Store => "The service cannot access its records at the moment.",
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
