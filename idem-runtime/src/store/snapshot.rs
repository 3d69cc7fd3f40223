//! Records as an operator sees them, and the filter of a list.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::backend::{Found, Selection};
use crate::bounds::Value;
use crate::encoding::codec;
use crate::engine::state::StoreState;
use crate::error::{Error, ErrorKind, Ran};
use crate::protocol::decide::{Expired, Standing};
use crate::protocol::record::{Reason, Record, Status};

/// The default limit of a list, and the size of one read, in records.
const PAGE: usize = 1_000;

/// A copy of one record; see [`Store::get`](crate::Store::get) and [`Store::list`](crate::Store::list).
#[derive(Clone, Debug)]
pub struct Snapshot {
    record: Arc<Record>,
    number: i64,
    status: Status,
    age: Option<Duration>,
    since: SystemTime,
    owner: Option<String>,
    taken: Instant,
}

impl Snapshot {
    /// The name of the call.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The key of the call, as text.
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// The status of the call. A running call of a dead owner is in doubt.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The number of times the body was started.
    pub fn attempt(&self) -> u32 {
        self.record.attempt
    }

    /// Time since the record entered its current status. `None` if the system clocks give no lower bound.
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// The wall time at which the record entered its current status, for display.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The reason why the call is in doubt, or why a finished call has no result. `None` if neither applies.
    pub fn reason(&self) -> Option<&'static str> {
        if self.status == Status::InDoubt && self.record.status == Status::Running {
            return Some(self.record.reason_if_cut_off().text());
        }
        self.record.reason.map(Reason::text)
    }

    /// The process id and host of the current or last owner. `None` if the store no longer knows the owner.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Whether the `ttl` of the record has ended since the snapshot was taken. The next call then runs.
    ///
    /// The store shows no record whose `ttl` is over already.
    pub fn is_expired(&self) -> bool {
        let age = self.age.map(|age| age.saturating_add(self.taken.elapsed()).as_millis());
        let age_ms = age.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        Expired::of(&*self.record, age_ms) == Expired::Record
    }

    /// The stored result of a done call.
    ///
    /// # Errors
    /// - [`ErrorKind::Undecodable`] if the stored result is not a `T`.
    /// - [`ErrorKind::ResultGone`] if the call is not done or its result is not stored.
    pub fn result<T: Value>(&self) -> Result<T, Error> {
        let gone = || {
            Error::new(ErrorKind::ResultGone, Ran::No, "the record holds no result")
                .with_failed(self.status == Status::Failed)
                .about(self.name(), self.key())
        };
        let stored =
            self.record.result.as_ref().filter(|_| self.record.status == Status::Done).ok_or_else(gone)?;
        codec::decode(stored.borrowed()).map_err(|undecodable| {
            Error::new(ErrorKind::Undecodable, Ran::No, undecodable.to_string())
                .about(self.name(), self.key())
        })
    }

    pub(crate) fn of(state: &StoreState, found: Found, number: i64) -> Snapshot {
        let since = state.backend.wall_time(found.record.at);
        let owner = state.backend.owner_text(found.record.owner);
        Snapshot { number, ..Snapshot::new(found, since, owner) }
    }

    pub(crate) fn new(found: Found, since: SystemTime, owner: Option<String>) -> Snapshot {
        let status = match found.standing() {
            Standing::InDoubt => Status::InDoubt,
            Standing::Running | Standing::Finished | Standing::Absent => found.record.status,
        };
        let age = found.age_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Snapshot { record: found.record, number: 0, status, age, since, owner, taken: Instant::now() }
    }
}

/// The records to list; see [`Store::list`](crate::Store::list).
///
/// A filter without conditions lists all records, 1,000 at a time.
///
/// ```
/// use std::time::Duration;
/// use idem_runtime::{Filter, Status, Store};
///
/// let store = Store::temporary()?;
/// let stuck = Filter::new().status(Status::InDoubt).older_than(Duration::from_secs(60));
/// for record in store.list(&stuck)? {
///     println!("{} {}: {}", record.name(), record.key(), record.reason().unwrap_or_default());
/// }
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    name: Option<String>,
    key_prefix: Option<String>,
    status: Option<Status>,
    older_than: Option<Duration>,
    after: i64,
    pub(crate) limit: usize,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { name: None, key_prefix: None, status: None, older_than: None, after: 0, limit: PAGE }
    }
}

impl Filter {
    /// A filter without conditions, for the first 1,000 records.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Lists only calls of this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Filter {
        self.name = Some(name.into());
        self
    }

    /// Lists only calls whose key, as text, begins with `prefix`.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Filter {
        self.key_prefix = Some(prefix.into());
        self
    }

    /// Lists only calls in this status.
    #[must_use]
    pub fn status(mut self, status: Status) -> Filter {
        self.status = Some(status);
        self
    }

    /// Lists only records whose [`age`](Snapshot::age) is at least `age`. A record of unknown age is not listed.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Filter {
        self.older_than = Some(age);
        self
    }

    /// Lists only records that follow `last`, the last record of the previous page.
    #[must_use]
    pub fn after(mut self, last: &Snapshot) -> Filter {
        self.after = last.number;
        self
    }

    /// Lists at most this many records. The default is 1,000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Filter {
        self.limit = limit;
        self
    }

    pub(crate) fn selection(&self) -> Selection<'_> {
        Selection {
            after: self.after,
            name: self.name.as_deref(),
            key_prefix: self.key_prefix.as_deref(),
            unfinished: matches!(self.status, Some(Status::Running | Status::InDoubt)),
            limit: u32::try_from(PAGE).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn admits(&self, snapshot: &Snapshot) -> bool {
        let status = self.status.is_none_or(|status| status == snapshot.status);
        let age = self.older_than.is_none_or(|least| snapshot.age.is_some_and(|age| age >= least));
        status && age
    }
}
