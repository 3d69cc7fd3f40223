//! The seam between the engine and the database below it.
//!
//! The engine decides what is claimed and how a call ends. A backend stores it: it stamps records with its own clock
//! and owner, reads them together with their holder, and commits batches of requests. Nothing above this module names
//! SQL, a file, a lock or a boot.
//!
//! # Reading
//! [`Backend::visit`] answers on the caller's thread. [`Backend::find`] answers through a [`OneShot`], which a blocked
//! caller waits for and a task awaits: a local backend sends the answer before it returns.
//!
//! # Writing
//! Only the engine's writer holds the [`Commit`] half, so one thread at a time writes.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::encoding::digest::Slot;
use crate::error::{Advice, Error};
use crate::protocol::change::{Applied, Change};
use crate::protocol::decide::{Expired, Holder};
use crate::protocol::record::{Mark, Record, RecordRef, Status};
use crate::waiting::oneshot::OneShot;

pub(crate) mod request;

use request::Request;

/// Reads records, knows their owners, and owns the clock that their marks are made with.
pub(crate) trait Backend: Send + Sync + Debug {
    /// Shows the record under the first of `slots` that has one, with its age in milliseconds, to `answer`.
    ///
    /// Gives the record if `answer` returns false, and `None` if no record stands there or it was answered in place.
    /// The outer `None` means that this backend cannot read without waiting: use [`find`](Backend::find).
    fn visit(&self, slots: &[Slot], answer: &mut Answer<'_>) -> Option<Result<Option<Arc<Record>>, Error>>;

    /// Sends the record of `search` with its holder and age, all read so that they agree.
    fn find(&self, search: Search, reply: Arc<OneShot<FindReply>>);

    /// Looks at running claims that callers wait for. `None` for a claim that still runs.
    fn poll(&self, waited: &[(u64, Slot)]) -> Vec<Option<Ended>>;

    /// A page of records.
    fn page(&self, selection: &Selection<'_>) -> Result<Vec<Listed>, Error>;

    /// Counts and sizes of the whole store.
    fn totals(&self) -> Result<Totals, Error>;

    /// The changes that purge up to `limit` expired records and results.
    fn expired(&self, limit: u32) -> Result<Vec<Change>, Error>;

    /// Checks every record. Gives what is wrong, in words.
    fn verify(&self) -> Result<Vec<String>, Error>;

    /// Marks a record that is about to be written: the time, the owner of a claim, the time of its purge.
    ///
    /// A record in doubt keeps the mark of when it was first known to be in doubt, or gets one.
    fn stamp(&self, record: &mut Record);

    /// How long ago a mark was made, in milliseconds; `None` if the clocks give no lower bound.
    fn age_ms(&self, mark: Mark) -> Option<i64>;

    /// The wall time of a mark, to show to people.
    fn wall_time(&self, mark: Mark) -> SystemTime;

    /// How much of the settle `window` is left after a doubt that began at `since`.
    fn settles_in(&self, since: Mark, window: Duration) -> Duration;

    /// The number of the owner that this open store is.
    fn owner(&self) -> i64;

    /// An owner in words: process and host. `None` if its row is gone.
    fn owner_text(&self, owner: i64) -> Option<String>;

    /// Closes what only reads. The writer closes last.
    fn close_reads(&self);

    /// Leaves connections open that must not be closed: after a fork, or after the files were replaced.
    fn leak_reads(&self);

    /// Ends the owner after everything is written.
    fn release_owner(&self) -> Result<(), Error>;

    /// Ends the owner whose last outcomes could not be written: its running calls are in doubt.
    fn abandon_owner(&self);
}

/// Judges a record in place, with its age in milliseconds. True if the record answers the caller.
pub(crate) type Answer<'a> = dyn FnMut(&RecordRef<'_>, Option<i64>) -> bool + 'a;

/// What [`Backend::find`] sends.
pub(crate) type FindReply = Result<Option<Found>, ReadFailure>;

/// The writing half of a backend.
pub(crate) trait Commit: Send + Debug {
    /// Numbers the claims of a batch, makes them known in memory, and commits all requests or none.
    ///
    /// The commit is on disk when this returns, unless every request is repeatable.
    fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure>;

    /// Whether [`maintain`](Commit::maintain) has something to do before the next commit.
    fn needs_maintenance(&self) -> bool;

    /// Whether maintenance runs beside the commits right now.
    fn is_maintaining(&self) -> bool;

    /// Does what is due between two commits.
    fn maintain(&mut self);

    /// The changes that purge or put off up to `limit` records whose purge time has come.
    fn purgeable(&mut self, limit: usize) -> Vec<Change>;

    /// Closes in good order within `limit`.
    fn close(self: Box<Self>, limit: Duration) -> Result<(), Error>;

    /// Closes without the promise that everything is written.
    fn let_go(self: Box<Self>);

    /// Leaves everything open: what stands in the place of the files is not ours.
    fn abandon(self: Box<Self>);

    /// The half as its own type, for tests that look inside.
    #[cfg(test)]
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// What to find.
#[derive(Clone, Debug)]
pub(crate) enum Search {
    /// The record under the first of these slots that has one.
    Slots(Vec<Slot>),
    /// The holder of a record that was just read, or the record that has taken its place.
    Holder(Arc<Record>),
}

/// A record, who holds it, and how old it is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) record: Arc<Record>,
    pub(crate) holder: Holder,
    /// Time since the record entered its status; `None` if the clocks give no lower bound.
    pub(crate) age_ms: Option<i64>,
}

impl Found {
    pub(crate) fn expired(&self) -> Expired {
        Expired::of(&self.record.borrowed(), self.age_ms)
    }

    /// Whether the record says that it runs and its holder is gone.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.record.status == Status::Running && self.holder.is_gone()
    }

    /// Whether somebody runs the call now, or may.
    pub(crate) fn is_held(&self) -> bool {
        self.record.status == Status::Running && !self.holder.is_gone()
    }
}

/// The end of a polled claim: the record that stands now, if there is one.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Option<Record>);

/// Why a record could not be read.
#[derive(Clone, Debug)]
pub(crate) enum ReadFailure {
    /// The row is there, and is not to be believed.
    Damaged(&'static str),
    Store(Error),
}

impl ReadFailure {
    /// A method, since a `From` would stand in the compile errors of users whose `?` does not fit.
    pub(crate) fn into_error(self) -> Error {
        match self {
            ReadFailure::Damaged(what) => damaged(what, "reading a record"),
            ReadFailure::Store(error) => error,
        }
    }
}

/// The error of a call that met a damaged record.
pub(crate) fn damaged(what: &str, doing: &str) -> Error {
    Error::store(format!("{doing} failed: the record is damaged ({what})")).advise(Advice::RestoreRecord)
}

/// Why a batch was not committed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: WriteOutcome,
    pub(crate) error: Error,
}

/// What is known of a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// Another process holds the write lock: the same write may succeed later.
    Busy,
    NotWritten,
    /// The commit may or may not be on disk: read again after reopening.
    Unknown,
}

/// Counts and sizes of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) unfinished: u64,
    pub(crate) database_bytes: u64,
    pub(crate) wal_bytes: u64,
}

/// Which records to list, in the order of their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) after: i64,
    pub(crate) name: Option<&'a str>,
    pub(crate) key_prefix: Option<&'a str>,
    /// Only running and in-doubt records.
    pub(crate) unfinished: bool,
    pub(crate) limit: u32,
}

/// A record with its number and holder. `None` for a record that is damaged or has just gone.
pub(crate) type Listed = (i64, Option<Found>);

/// The error after which nothing is written any more. The first one stays.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<Error>);

impl Poison {
    pub(crate) fn set(&self, error: Error) {
        self.0.get_or_init(|| error);
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.get().cloned().map_or(Ok(()), Err)
    }
}
