//! The answers to `peek` and `settle`, given in place of the call.

use std::time::Duration;

use crate::backend::{Found, ReadFailure};
use crate::bounds::Value;
use crate::call::prepared::Prepared;
use crate::call::refusal;
use crate::encoding::codec;
use crate::encoding::codec::Stored;
use crate::engine::state::{READ_WAIT, StoreState, WRITE_WAIT};
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Standing;
use crate::protocol::record::{Reason, Record, Status};
use crate::scope::interception::{Encode, Interception, Purpose, Settled, Verdict};
use crate::store::Store;
use crate::store::snapshot::Snapshot;
use crate::sync::{deadline, lock};

/// The place where an inspected call keeps its record: a store, or the connection of a `tx` call.
pub(crate) trait Records {
    /// Finds what stands under a call now. If the end of the call is queued, waits for its write, at most `wait`.
    fn find(&self, call: &Prepared, wait: Duration) -> Result<Option<Found>, Error>;

    fn snapshot(&self, found: Found) -> Snapshot;

    /// An error if a change would wait for the code that makes it.
    fn check_writable(&self) -> Result<(), Error>;

    /// Replaces a record, or deletes it. False if the record has changed since the read.
    fn settle(&self, seen: &Record, new: Option<Record>) -> Result<bool, Error>;

    /// The error of a call that runs.
    fn running(&self, record: &Record) -> Error;

    fn result_bytes_max(&self) -> usize;
}

/// Checks that the function can read a stored result.
pub(crate) type CheckResult = fn(Stored<&[u8]>) -> Result<(), Error>;

/// Checks that a stored result is a `T`, the type that the function returns.
pub(crate) fn check_result<T: Value>(stored: Stored<&[u8]>) -> Result<(), Error> {
    match codec::decode::<T>(stored) {
        Ok(_) => Ok(()),
        Err(why) => {
            let message = format!("the verdict is not a result of the function: {why}");
            Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::VerdictType))
        }
    }
}

/// Answers an interception in place of the call.
pub(crate) fn answer(
    interception: &Interception,
    prepared: Result<(Prepared, impl Records), Error>,
    check: CheckResult,
) {
    match &interception.purpose {
        Purpose::Peek(found) => {
            let seen = prepared
                .and_then(|(call, records)| peek(&call, &records).map_err(|error| call.with_identity(error)));
            *lock(found) = Some(seen.map(|snapshot| snapshot.map(Box::new)));
        }
        Purpose::Settle { verdict, settled } => {
            let verdict = lock(verdict);
            let done = prepared.and_then(|(call, records)| {
                settle(&call, &records, &verdict, check).map_err(|error| call.with_identity(error))
            });
            *lock(settled) = Some(done);
        }
        Purpose::Observe(_) => {}
    }
}

fn peek(call: &Prepared, records: &impl Records) -> Result<Option<Snapshot>, Error> {
    let found = find(call, records, READ_WAIT)?;
    Ok(found.map(|found| records.snapshot(found)))
}

/// Finds the record of the call. An error if it is the record of a call with other arguments.
fn find(call: &Prepared, records: &impl Records, wait: Duration) -> Result<Option<Found>, Error> {
    let Some(found) = records.find(call, wait)? else { return Ok(None) };
    match call.difference(&found.record.borrowed())? {
        None => Ok(Some(found)),
        difference => Err(refusal::mismatch(&found.record, difference)),
    }
}

fn settle(
    call: &Prepared,
    records: &impl Records,
    verdict: &Verdict<Encode>,
    check: CheckResult,
) -> Result<Settled, Error> {
    let (settled, result) = match verdict {
        Verdict::NotDone => (Settled::NotDone, None),
        Verdict::Unknown => {
            let message = "`Verdict::Unknown` settles no call";
            return Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::KnownVerdict));
        }
        Verdict::DoneWithoutResult => (Settled::Done, Some(Err(Reason::Settled))),
        Verdict::Done(encode) => {
            let stored = encode(call.options.codec, records.result_bytes_max())?;
            check(stored.borrowed())?;
            (Settled::Done, Some(Ok(stored)))
        }
    };
    records.check_writable()?;
    loop {
        let Some(found) = find(call, records, WRITE_WAIT)? else { return Ok(Settled::NotInDoubt(None)) };
        let record = &found.record;
        match found.standing() {
            Standing::InDoubt => {}
            Standing::Running => return Err(records.running(record)),
            Standing::Finished | Standing::Absent => return Ok(Settled::NotInDoubt(Some(record.status))),
        }
        let new = result.clone().map(|result| record.finished(Status::Done, result));
        if records.settle(record, new)? {
            return Ok(settled);
        }
        // Another call has changed the record since the read: read again.
    }
}

impl Records for Store {
    fn find(&self, call: &Prepared, wait: Duration) -> Result<Option<Found>, Error> {
        state(self).find_standing(call.slots(), deadline(wait)).map_err(ReadFailure::into_error)
    }

    fn snapshot(&self, found: Found) -> Snapshot {
        Snapshot::of(state(self), found, 0)
    }

    fn check_writable(&self) -> Result<(), Error> {
        Store::check_writable(self)
    }

    fn settle(&self, seen: &Record, new: Option<Record>) -> Result<bool, Error> {
        let slot = seen.slot;
        let expect = Expect::Exactly(seen.claim, seen.status);
        let new = new.map(|new| state(self).stamped(new));
        Ok(self.write(Change { slot, expect, new })?.is_none())
    }

    fn running(&self, record: &Record) -> Error {
        refusal::held(state(self), record)
    }

    fn result_bytes_max(&self) -> usize {
        state(self).settings.result_bytes_max
    }
}

fn state(store: &Store) -> &StoreState {
    &store.inner.engine.state
}
