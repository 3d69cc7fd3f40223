//! The interface between the engine and the database.
//!
//! The engine decides which calls are claimed and how they end. A backend stamps records with its own clock and owner,
//! reads records together with their holder, and commits batches of requests. The engine and the call path name no SQL,
//! no file lock and no boot.
//!
//! # Reading
//! [`Backend::visit`] answers on the caller's thread. [`Backend::find`] answers through a [`OneShot`], which a blocked
//! caller waits for and a task awaits. A local backend sends the answer before `find` returns.
//!
//! # Writing
//! Only the engine's writer holds the [`Commit`] half, so one thread at a time writes.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::encoding::digest::Slot;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::{Applied, Change};
use crate::protocol::decide::{Holder, Standing, View};
use crate::protocol::record::{Mark, Record, RecordRef};
use crate::waiting::oneshot::OneShot;

pub(crate) mod request;

use request::Request;

/// Reads records and their owners, and makes the marks of records with its clock.
pub(crate) trait Backend: Send + Sync + Debug {
    /// Shows `answer` the record under the first of `slots` that has one, with its age in milliseconds.
    ///
    /// Returns the record if `answer` returns false. Returns `None` if there is no record or `answer` returns true. The
    /// outer `None` means that the backend cannot read without waiting: use [`find`](Backend::find).
    fn visit(&self, slots: &[Slot], answer: &mut Answer<'_>) -> Option<Result<Option<Arc<Record>>, Error>>;

    /// Sends the record of `search` with its holder and age. The three are read consistently.
    fn find(&self, search: Search, reply: Arc<OneShot<FindReply>>);

    /// Polls running claims that callers wait for. `None` for a claim that still runs.
    fn poll(&self, waited: &[(u64, Slot)]) -> Vec<Option<Ended>>;

    /// Lists a page of records.
    fn page(&self, selection: &Selection<'_>) -> Result<Vec<Listed>, Error>;

    /// Counts the records and measures the files of the whole store.
    fn totals(&self) -> Result<Totals, Error>;

    /// Returns the changes that purge up to `limit` expired records and results.
    fn expired(&self, limit: u32) -> Result<Vec<Change>, Error>;

    /// Checks every record. Describes each problem in words.
    fn verify(&self) -> Result<Vec<String>, Error>;

    /// Stamps a record before its write: the time, the owner of a claim, the time of its purge.
    ///
    /// A record in doubt keeps the mark of its first doubt, or gets one.
    fn stamp(&self, record: &mut Record);

    /// Time since a mark was made, in milliseconds. `None` if the clocks give no lower bound.
    fn age_ms(&self, mark: Mark) -> Option<i64>;

    /// Wall time of a mark, for display.
    fn wall_time(&self, mark: Mark) -> SystemTime;

    /// Time left of the settle `window` of a doubt that began at `since`.
    fn settles_in(&self, since: Mark, window: Duration) -> Duration;

    /// The time up to which records are lost. `None` if the store lost none.
    fn lost_records(&self) -> Option<Mark>;

    /// Owner number of this open store.
    fn owner(&self) -> i64;

    /// Describes an owner in words: process and host. `None` if its row is gone.
    fn owner_text(&self, owner: i64) -> Option<String>;

    /// The error of a write of `what` that did not come in time. Says whose connection holds the write lock.
    fn not_in_time(&self, what: &str) -> Error {
        Error::not_in_time(what)
    }

    /// Closes the connections that only read. The writer closes last.
    fn close_reads(&self);

    /// Leaves the connections that only read open, after a fork or after the files were replaced.
    fn leak_reads(&self);

    /// Ends the owner after the last write.
    fn release_owner(&self) -> Result<(), Error>;

    /// Ends the owner without its last writes. The running calls of the owner become in doubt.
    fn abandon_owner(&self);
}

/// Answers a caller from a record in place, with its age in milliseconds. False if the caller needs the record.
pub(crate) type Answer<'a> = dyn FnMut(&RecordRef<'_>, Option<i64>) -> bool + 'a;

/// The answer of [`Backend::find`].
pub(crate) type FindReply = Result<Option<Found>, ReadFailure>;

/// The writing half of a backend.
pub(crate) trait Commit: Send + Debug {
    /// Numbers the claims of a batch, registers them in memory, and commits all requests or none.
    ///
    /// On return the commit is on disk, unless every request is repeatable.
    fn commit(&mut self, batch: &mut [Request]) -> Result<Vec<Applied>, Failure>;

    /// Whether [`maintain`](Commit::maintain) has work to do before the next commit.
    fn needs_maintenance(&self) -> bool;

    /// Whether maintenance runs on another thread at the moment.
    fn is_maintaining(&self) -> bool;

    /// Runs the maintenance that is due between two commits.
    fn maintain(&mut self);

    /// Returns the changes that purge or postpone up to `limit` records whose purge time has come.
    fn purgeable(&mut self, limit: usize) -> Vec<Change>;

    /// Closes after the last write, within `limit`.
    fn close(self: Box<Self>, limit: Duration) -> Result<(), Error>;

    /// Closes at once. Requests may be unwritten.
    fn close_now(self: Box<Self>);

    /// Leaves everything open, after the store was poisoned: its files may have been replaced.
    fn abandon(self: Box<Self>);

    /// The committer as its own type, for tests of its state.
    #[cfg(test)]
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// The record to find.
#[derive(Clone, Debug)]
pub(crate) enum Search {
    /// The record under the first of these slots that has one.
    Slots(Vec<Slot>),
    /// A record that was just read, or the record that has replaced it.
    Holder(Arc<Record>),
}

/// A record with its holder and age.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) record: Arc<Record>,
    pub(crate) holder: Holder,
    /// Time since the record entered its status. `None` if the clocks give no lower bound.
    pub(crate) age_ms: Option<i64>,
}

impl Found {
    /// What the record is for somebody who asks now.
    pub(crate) fn standing(&self) -> Standing {
        View::of(&*self.record, self.holder, self.age_ms, false).standing()
    }
}

/// The end of a polled claim, with the present record of its slot.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Option<Record>);

/// Why a record was not read.
#[derive(Clone, Debug)]
pub(crate) enum ReadFailure {
    /// The row exists and fails its checks.
    Damaged(&'static str),
    Store(Error),
}

impl ReadFailure {
    /// Converts the failure. A `From` implementation would appear in the compile errors of users whose `?` does not
    /// fit.
    pub(crate) fn into_error(self) -> Error {
        match self {
            ReadFailure::Damaged(what) => damaged(what, "reading a record"),
            ReadFailure::Store(error) => error,
        }
    }
}

/// The error of a call whose record is damaged.
pub(crate) fn damaged(what: &str, doing: &str) -> Error {
    let message = format!("{doing} failed: the record is damaged ({what})");
    Error::new(ErrorKind::Damaged, Ran::No, message).advise(Advice::RestoreRecord)
}

/// Why a batch was not committed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: WriteOutcome,
    pub(crate) error: Error,
}

/// The outcome of a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// Another process holds the write lock: the same write may succeed later.
    Busy,
    NotWritten,
    /// The commit may be on disk. Only a new connection can tell.
    Unknown,
}

/// Counts and sizes of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) unfinished: u64,
    pub(crate) database_bytes: u64,
    pub(crate) wal_bytes: u64,
    /// The kind of the mount, if its files do not survive a power failure or the container.
    pub(crate) volatile_mount: Option<&'static str>,
}

/// The records to list, in the order of their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) after: i64,
    pub(crate) name: Option<&'a str>,
    pub(crate) key_prefix: Option<&'a str>,
    /// Lists only records that are running or in doubt.
    pub(crate) unfinished: bool,
    pub(crate) limit: u32,
}

/// A record with its number and holder. `None` for a record that is damaged or was just deleted.
pub(crate) type Listed = (i64, Option<Found>);

/// The error after which the store writes nothing. The first error stays.
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

#[cfg(test)]
mod tests;
