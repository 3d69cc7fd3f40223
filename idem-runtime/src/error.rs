//! The error type: the fact, whether the body ran, the advice and the causes.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

mod advice;
mod kind;
#[cfg(test)]
mod tests;

pub(crate) use advice::Advice;
pub use kind::{ErrorKind, Ran};

/// An error of a call or of an operation on a store.
///
/// | to | use |
/// |---|---|
/// | decide in code | [`kind`](Error::kind), [`ran`](Error::ran), [`failed`](Error::failed), [`retry_after`](Error::retry_after) |
/// | write a log line | `Display`: the fact, with the name and the key; the causes are in `source()` |
/// | find the mistake | `Debug`, which `unwrap` and `main` print: kind, `Display`, [`help`](Error::help) and the causes |
/// | answer another machine | [`detail`](Error::detail) |
///
/// No text contains arguments or results.
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
    advice: Option<Advice>,
    retry_after: Option<Duration>,
    failed: bool,
    differing: Vec<&'static str>,
    /// Shared by the clones of the error, so that others see whether one of them exists.
    watched: Option<Arc<()>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, ran: Ran, message: impl Into<String>) -> Error {
        let message = message.into();
        Error(Box::new(Inner {
            kind,
            ran,
            name: None,
            key: None,
            message,
            advice: None,
            retry_after: None,
            failed: false,
            differing: Vec::new(),
            watched: None,
            source: None,
        }))
    }

    /// The store failed before the body ran.
    pub(crate) fn store(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Store, Ran::No, message)
    }

    /// The store belongs to the parent process.
    ///
    /// `SQLite` keeps a table of its locks in memory. A forked child inherits the table and not the locks.
    pub(crate) fn forked() -> Error {
        let message = "the store was opened before a fork and belongs to the parent process";
        Error::new(ErrorKind::Closed, Ran::No, message).advise(Advice::OpenAfterFork)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, Ran::No, "the store is closed")
    }

    /// The body did not run because `what` was not written within its time limit.
    pub(crate) fn not_in_time(what: &str) -> Error {
        Error::store(format!("{what} was not written in time")).advise(Advice::SlowWrite)
    }

    /// Replaces the advice of the kind.
    #[must_use]
    pub(crate) fn advise(mut self, advice: Advice) -> Error {
        self.0.advice = Some(advice);
        self
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

    /// The record says that the call failed, if `failed`.
    #[must_use]
    pub(crate) fn with_failed(mut self, failed: bool) -> Error {
        self.0.failed = failed;
        self
    }

    #[must_use]
    pub(crate) fn with_differing(mut self, differing: Vec<&'static str>) -> Error {
        self.0.differing = differing;
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

    /// A reference that is dead once the error and all its clones are dropped.
    pub(crate) fn watch(&mut self) -> Weak<()> {
        Arc::downgrade(self.0.watched.get_or_insert_default())
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the body of this call ran.
    pub fn ran(&self) -> Ran {
        self.0.ran
    }

    /// The name of the call, if the error concerns one.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The text of the key, if the error concerns a call with a valid key.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The time after which a retry makes sense, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether an earlier attempt failed for good, and its remembered error cannot be returned.
    ///
    /// True for [`ResultGone`](ErrorKind::ResultGone) and [`Undecodable`](ErrorKind::Undecodable) if `on_err` remembered
    /// an `Err`. If false, a `ResultGone` is a success whose result is gone.
    ///
    /// ```
    /// use idem_runtime::{Error, ErrorKind, Lifetime, Store, call, on_err};
    ///
    /// let store = Store::temporary()?;
    /// let pay = |outcome: Result<u32, String>| {
    ///     let pay = call("docs.pay").store(&store).key("A-17").keep_result(Lifetime::ZERO).on_err(on_err::Remember);
    ///     pay.map_err(|error: Error| format!("{:?}, failed: {}", error.kind(), error.failed())).run(|| outcome)
    /// };
    /// assert_eq!(pay(Err("declined".to_owned())), Err("declined".to_owned()));
    /// assert_eq!(pay(Ok(1)), Err("ResultGone, failed: true".to_owned()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn failed(&self) -> bool {
        self.0.failed
    }

    /// The names of the arguments of a [`Mismatch`](ErrorKind::Mismatch), in the order of the call. Otherwise empty.
    ///
    /// These arguments differ from those of the record. If the record has none of the arguments of the call, these are
    /// all arguments of the call.
    ///
    /// ```
    /// use idem_runtime::{Error, Store, call};
    ///
    /// let store = Store::temporary()?;
    /// let charge = |cents: u32| -> Result<u32, Error> {
    ///     call("docs.charge").store(&store).key("A-17").arg("cents", &cents).run(|| Ok(cents))
    /// };
    /// charge(500)?;
    /// assert_eq!(charge(999).unwrap_err().differing(), ["cents"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn differing(&self) -> &[&'static str] {
        &self.0.differing
    }

    /// Returns the advice for a developer or an operator.
    ///
    /// The text is fixed for each kind and reason: it contains no names, keys or paths. `Debug` shows it; `Display` does
    /// not.
    ///
    /// ```
    /// let store = idem_runtime::Store::temporary()?;
    /// store.close()?;
    /// let error = store.stats().unwrap_err();
    /// assert_eq!(error.to_string(), "the store is closed");
    /// assert_eq!(error.help(), "Open the store again.");
    /// # Ok::<(), idem_runtime::Error>(())
    /// ```
    pub fn help(&self) -> &'static str {
        self.0.advice.map_or_else(|| self.0.kind.help(), Advice::text)
    }

    /// Returns one sentence for the other side of a network, such as the `detail` of an HTTP problem.
    ///
    /// The text is fixed for each kind, and for a call that [`failed`](Error::failed): it contains no names, keys, paths or
    /// advice.
    ///
    /// ```
    /// let store = idem_runtime::Store::temporary()?;
    /// let paid: Result<u32, idem_runtime::Error> = idem_runtime::call("docs.pay").store(&store).key("").run(|| Ok(1));
    /// assert_eq!(paid.unwrap_err().detail(), "The idempotency key is missing or not valid.");
    /// # Ok::<(), idem_runtime::Error>(())
    /// ```
    pub fn detail(&self) -> &'static str {
        self.0.kind.detail(self.0.failed)
    }

    /// `Display` and the causes, for texts that have no `source()`.
    pub(crate) fn with_causes(&self) -> String {
        let mut texts = vec![self.to_string()];
        texts.extend(self.causes());
        texts.join(": ")
    }

    /// Returns the texts of the causes. If one text contains the next, only the longer one stays: an error of rusqlite
    /// repeats its cause.
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            match causes.last_mut() {
                Some(before) if before.contains(&text) => {}
                Some(before) if text.contains(before.as_str()) => *before = text,
                _ => causes.push(text),
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.key()) {
            (Some(name), Some(key)) => write!(f, "`{name}` with key `{}`: ", key.escape_debug())?,
            (Some(name), None) => write!(f, "`{name}`: ")?,
            _ => {}
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    /// The form that `unwrap` and `main` print: one line each for the error, `ran`, the advice and every cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, ran, .. } = &*self.0;
        write!(f, "{kind:?}: {self}\nbody ran: {}\nhelp: {}", ran.text(), self.help())?;
        self.causes().iter().try_for_each(|cause| write!(f, "\ncaused by: {cause}"))
    }
}

/// No method changes a shared error.
impl std::panic::UnwindSafe for Error {}
impl std::panic::RefUnwindSafe for Error {}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for String {
    /// `Display`, followed by the causes: a text has no `source()`.
    fn from(error: Error) -> String {
        error.with_causes()
    }
}

impl From<Error> for io::Error {
    /// Converts the kind to the nearest one. The error itself stays inside.
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::BadKey | ErrorKind::BadArgument | ErrorKind::Mismatch => io::ErrorKind::InvalidInput,
            ErrorKind::Undecodable | ErrorKind::Damaged => io::ErrorKind::InvalidData,
            ErrorKind::DiskFull => io::ErrorKind::StorageFull,
            ErrorKind::Running => io::ErrorKind::WouldBlock,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
