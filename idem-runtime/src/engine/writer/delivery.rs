//! The replies of a committed batch, and the completions of the calls that it ended.

use crate::backend;
use crate::backend::request::{Grant, OnFailure, Reply, Request};
use crate::engine::state::StoreState;
use crate::error::Error;
use crate::protocol::change::Applied;
use crate::protocol::record::Record;
use crate::waiting::watcher::PollRate;

/// A committed batch, with the outcome of each request.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) batch: Vec<Request>,
    pub(crate) applied: Vec<Applied>,
}

impl Written {
    /// Sends every reply and wakes the waiters of ended calls. Returns the number of requests.
    pub(crate) fn deliver(self, state: &StoreState) -> usize {
        let count = self.batch.len();
        self.batch
            .into_iter()
            .zip(self.applied)
            .for_each(|(request, applied)| deliver(state, request, applied));
        count
    }
}

/// Fails a request of a store that writes nothing any more. The call that the request claims or ends is over.
pub(crate) fn fail(state: &StoreState, request: Request, error: &Error) {
    complete_ended(state, &request, None);
    if let Some(claim) = request.change.new.as_ref().filter(|_| request.is_claim()) {
        state.in_flight.complete(claim.claim, None);
    }
    request.answer(Reply::Failed(error.clone()));
}

/// Completes the call that a request ends, even if the write of its record fails.
pub(crate) fn complete_ended(state: &StoreState, request: &Request, record: Option<&Record>) {
    if let (Some(ended), OnFailure::RetryForever) = (request.change.expect.claim(), request.on_failure) {
        state.in_flight.complete(ended, record);
    }
}

fn deliver(state: &StoreState, request: Request, applied: Applied) {
    match applied {
        Applied::Yes => deliver_written(state, request),
        Applied::No(standing) => {
            complete_ended(state, &request, standing.as_deref());
            request.answer(Reply::Stands(standing));
        }
        Applied::Damaged(what) => {
            // The writer overwrites nothing and frees no key: a woken waiter reads the damaged row.
            complete_ended(state, &request, None);
            let error = backend::damaged(what, "writing to the store");
            request.answer(Reply::Failed(error));
        }
    }
}

fn deliver_written(state: &StoreState, mut request: Request) {
    if let Some(ended) = request.change.expect.claim() {
        state.in_flight.complete(ended, request.change.new.as_ref());
    }
    match (request.change.new.take(), request.back.take()) {
        (Some(record), Some(back)) => {
            // A claim may have taken over waiters of the same key. A poll tells them of a `steal` by another process.
            if state.in_flight.has_waiters(record.claim) {
                state.watcher.poll(record.claim, record.slot, PollRate::Slow);
            }
            let grant = Grant::new(record, request.before.take(), back);
            request.answer(Reply::Granted(grant));
        }
        _ => request.answer(Reply::Written),
    }
}
