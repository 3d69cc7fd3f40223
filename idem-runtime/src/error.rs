//! The one error type: what happened, whether the body ran, and the cure.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
/// | `Store` | see [`Error::ran`] | 503 | retry later if it did not run |
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
    /// There is no store: `init` was not called.
    NotInitialised,
    /// The store was closed, or belongs to the process this one was forked from.
    Closed,
    /// The store cannot be used: the file, the disk or `SQLite` says no.
    Store,
}

/// Whether the body of *this* call ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ran {
    /// It did not: retrying repeats nothing.
    No,
    /// It did.
    Yes,
    /// An earlier attempt may have run, wholly or in part.
    Unknown,
}

/// Why a call did not give a result of its own.
///
/// The message says what happened, whether the body ran, and what to do; it shows the name and the key, never
/// arguments or results.
///
/// ```
/// use idem_runtime::{ErrorKind, Ran, Store};
///
/// let store = Store::temporary()?;
/// let paid: Result<u32, idem_runtime::Error> = idem_runtime::call("docs.pay").store(&store).key("").run(|| Ok(1));
/// let error = paid.unwrap_err();
/// assert_eq!((error.kind(), error.ran()), (ErrorKind::BadKey, Ran::No));
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    ran: Ran,
    name: Option<Box<str>>,
    key: Option<Box<str>>,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, ran: Ran, message: impl Into<String>) -> Error {
        let message = message.into();
        Error(Box::new(Inner { kind, ran, name: None, key: None, message, retry_after: None, source: None }))
    }

    /// A store that cannot be used; the body was not run.
    pub(crate) fn store(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Store, Ran::No, message)
    }

    /// `SQLite` has a table of locks in memory: a child inherits the table and not the locks.
    pub(crate) fn forked() -> Error {
        Error::new(
            ErrorKind::Closed,
            Ran::No,
            "the store was opened before a fork and belongs to the parent process; SQLite cannot open its file in the \
             child. Open the store after the fork, or start the child's program with `exec`",
        )
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, Ran::No, "the store is closed; open it again")
    }

    #[must_use]
    pub(crate) fn about(mut self, name: &str, key: &str) -> Error {
        self.0.name = Some(name.into());
        self.0.key = Some(key.into());
        self
    }

    #[must_use]
    pub(crate) fn about_name(mut self, name: &str) -> Error {
        self.0.name = Some(name.into());
        self
    }

    #[must_use]
    pub(crate) fn after(mut self, retry_after: Duration) -> Error {
        self.0.retry_after = Some(retry_after);
        self
    }

    #[must_use]
    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Arc::new(source));
        self
    }

    #[must_use]
    pub(crate) fn with_ran(mut self, ran: Ran) -> Error {
        self.0.ran = ran;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the body of this call ran.
    pub fn ran(&self) -> Ran {
        self.0.ran
    }

    /// The name of the call, where one is concerned.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The key of the call, where one is concerned and it could be made.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// When asking again makes sense, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.key()) {
            (Some(name), Some(key)) => write!(f, "`{name}` with key `{}`: ", key.escape_debug())?,
            (Some(name), None) => write!(f, "`{name}`: ")?,
            _ => {}
        }
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    /// `unwrap` and `main` print the debug form: the message has to be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

/// An error is never changed once it is made.
impl std::panic::UnwindSafe for Error {}
impl std::panic::RefUnwindSafe for Error {}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for String {
    fn from(error: Error) -> String {
        error.to_string()
    }
}

impl From<Error> for std::io::Error {
    /// The kind is the nearest one; the error itself is kept inside.
    fn from(error: Error) -> std::io::Error {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            ErrorKind::BadKey | ErrorKind::BadArgument | ErrorKind::Mismatch => Io::InvalidInput,
            ErrorKind::Undecodable => Io::InvalidData,
            ErrorKind::Running => Io::WouldBlock,
            _ => Io::Other,
        };
        std::io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_name_and_key_and_escape_control_characters() {
        let error = Error::store("the disk is full").about("shop.charge", "a\nb");
        assert_eq!(error.to_string(), "`shop.charge` with key `a\\nb`: the disk is full");
        assert_eq!(format!("{error:?}"), format!("Store: {error}"));
    }

    #[test]
    fn it_travels_between_threads() {
        fn travels<T: Send + Sync + Clone + 'static>() {}
        travels::<Error>();
    }
}
