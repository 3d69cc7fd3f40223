//! The answers to `peek` and `settle`, given in place of the call.

use crate::call::prepared::Prepared;
use crate::call::refusal;
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::protocol::change::{Change, Expect};
use crate::protocol::record::{Reason, Record, Status};
use crate::scope::interception::{Encode, Interception, Purpose, Settled, Verdict};
use crate::store::Store;
use crate::store::snapshot::Snapshot;
use crate::sync::lock;

/// Answers an interception that inspects or settles the call.
pub(crate) fn answer(interception: &Interception, prepared: Result<(Prepared, Store), Error>) {
    match &interception.purpose {
        Purpose::Peek(found) => {
            let seen = prepared
                .and_then(|(call, store)| peek(&call, &store).map_err(|error| call.with_identity(error)));
            *lock(found) = Some(seen.map(|snapshot| snapshot.map(Box::new)));
        }
        Purpose::Settle { verdict, settled } => {
            let verdict = lock(verdict);
            let done = prepared.and_then(|(call, store)| {
                settle(&call, &store, &verdict).map_err(|error| call.with_identity(error))
            });
            *lock(settled) = Some(done);
        }
        Purpose::Observe(_) => {}
    }
}

fn peek(call: &Prepared, store: &Store) -> Result<Option<Snapshot>, Error> {
    let state = &store.inner.engine.state;
    let found = state.find_slots(call.slots())?;
    Ok(found.map(|found| Snapshot::of(state, found, 0)))
}

fn settle(call: &Prepared, store: &Store, verdict: &Verdict<Encode>) -> Result<Settled, Error> {
    let state = &store.inner.engine.state;
    loop {
        let Some(found) = state.find_slots(call.slots())? else { return Ok(Settled::NotInDoubt(None)) };
        let record = &found.record;
        if record.status.is_finished() {
            return Ok(Settled::NotInDoubt(Some(record.status)));
        }
        if found.is_held() {
            return Err(refusal::running());
        }
        let expect = Expect::Exactly(record.claim, record.status);
        let (slot, (settled, new)) = (record.slot, settled(call, state, record, verdict)?);
        if store.write(Change { slot, expect, new })?.is_none() {
            return Ok(settled);
        }
        // Another call has changed the record since the read: read again.
    }
}

fn settled(
    call: &Prepared,
    state: &StoreState,
    record: &Record,
    verdict: &Verdict<Encode>,
) -> Result<(Settled, Option<Record>), Error> {
    let result = match verdict {
        Verdict::NotDone => return Ok((Settled::NotDone, None)),
        Verdict::Unknown => {
            let message = "`Verdict::Unknown` settles no call";
            return Err(Error::new(ErrorKind::BadArgument, Ran::No, message).advise(Advice::KnownVerdict));
        }
        Verdict::DoneWithoutResult => Err(Reason::Settled),
        Verdict::Done(encode) => Ok(encode(call.options.codec, state.settings.result_bytes_max)?),
    };
    Ok((Settled::Done, Some(state.stamped(record.finished(Status::Done, result)))))
}
