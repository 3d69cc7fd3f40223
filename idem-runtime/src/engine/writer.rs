//! The writer of one open store: which requests share a commit, and what follows a failed one.
//!
//! The writer thread commits batches. A caller that writes inline uses the same code for its own request (see
//! [`crate::engine`]).
//!
//! # Batches
//! The requests that arrive during a commit share the next one. The backend commits a batch and checks that the files
//! are still those it opened. Only then does the writer send the replies.
//!
//! # Failed writes
//! If another process holds the write lock, the writer keeps all requests, and claims until their deadline. Otherwise a
//! claim or an operator's change fails, because its caller has not run a body. The writer keeps the outcome of a body
//! and retries the write while the process lives. After a failure, the writer tries one request at a time. A request
//! that fails alone is `stuck`: the writer retries it on its own, so that it delays no other request.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Grant, OnFailure, Reply, Request};
use crate::backend::{Commit, Failure, WriteOutcome};
use crate::engine::purge::{self, PurgeSchedule};
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;

pub(crate) mod delivery;

use delivery::{Written, complete_ended};

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// The committer, and the requests that it has not written yet.
#[derive(Debug)]
pub(crate) struct Writer {
    committer: Box<dyn Commit>,
    pending: Vec<Request>,
    /// The batch of the current write. After a panic in the write, its requests still get a reply.
    batch: Vec<Request>,
    /// Requests that failed alone, and the time of the next retry.
    stuck: Vec<Request>,
    retry_at: Instant,
    backoff: Duration,
    /// The last failure, until the next successful write.
    last_error: Option<Error>,
    purge: PurgeSchedule,
}

impl Writer {
    pub(crate) fn new(committer: Box<dyn Commit>) -> Writer {
        Writer {
            committer,
            pending: Vec::new(),
            batch: Vec::new(),
            stuck: Vec::new(),
            retry_at: Instant::now(),
            backoff: BACKOFF_FIRST,
            last_error: None,
            purge: PurgeSchedule::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn committer<C: Commit + 'static>(&mut self) -> &mut C {
        self.committer.as_any().downcast_mut().unwrap()
    }

    #[cfg(test)]
    pub(crate) fn never_purge(&mut self) {
        self.purge = PurgeSchedule::never();
    }

    /// Writes new and pending requests, and purges. Returns how long to wait for the next requests.
    ///
    /// `Break` if the close deadline of the store is over.
    pub(crate) fn round(
        &mut self,
        state: &StoreState,
        requests: Vec<Request>,
    ) -> ControlFlow<(), Option<Duration>> {
        if self.pending.is_empty() {
            self.pending = requests;
        } else {
            self.pending.extend(requests);
        }
        if state.is_close_deadline_over() {
            return ControlFlow::Break(());
        }
        let written = self.write_pending(state) + self.retry_stuck(state);
        self.purge_slice(written);
        self.committer.maintain();
        ControlFlow::Continue(self.next_timeout())
    }

    /// Ends the writer and closes the committer.
    ///
    /// `Ok` means that every request was written and the database was closed in good order.
    pub(crate) fn end(mut self, state: &StoreState) -> Result<(), Error> {
        let lost: Vec<Request> = self.pending.drain(..).chain(self.stuck.drain(..)).collect();
        let all_written = lost.is_empty();
        for request in lost {
            request.answer(Reply::Failed(not_recorded()));
        }
        state.queue.end(&Error::closed());
        if let Err(error) = state.check_poison() {
            self.committer.abandon();
            return Err(error);
        }
        if all_written {
            return self.committer.close(state.close_time_left());
        }
        self.committer.close_now();
        Err(not_recorded())
    }

    /// Ends the writer after a panic. Returns every unwritten request.
    pub(crate) fn abort(self) -> Vec<Request> {
        let Writer { committer, batch, pending, stuck, .. } = self;
        committer.close_now();
        batch.into_iter().chain(pending).chain(stuck).collect()
    }

    /// Makes one attempt to write the request of a caller. If another request has to be retried first, leaves the request in place.
    pub(crate) fn write_inline(&mut self, state: &StoreState, request: &mut Option<Request>) -> Written {
        let inline = if self.has_to_retry() { None } else { request.take() };
        self.write(state, inline.into_iter().collect())
    }

    /// Whether the writer thread has work to do that is not in the queue.
    pub(crate) fn has_other_work(&self) -> bool {
        self.has_to_retry() || self.is_purge_due() || self.committer.needs_maintenance()
    }

    /// Whether to purge now. A purge waits for the end of a checkpoint, because both need the disk.
    fn is_purge_due(&self) -> bool {
        self.purge.is_due() && !self.committer.is_maintaining()
    }

    fn has_to_retry(&self) -> bool {
        self.last_error.is_some() || !self.pending.is_empty() || !self.stuck.is_empty()
    }

    /// How long to wait for new requests. `None` if no request has to be retried.
    fn next_timeout(&self) -> Option<Duration> {
        if !self.pending.is_empty() {
            return Some(Duration::ZERO);
        }
        (!self.stuck.is_empty()).then(|| self.retry_at.saturating_duration_since(Instant::now()))
    }

    /// Makes one attempt to write the pending requests. Returns the number of written requests.
    fn write_pending(&mut self, state: &StoreState) -> usize {
        self.fail_timed_out();
        let batch = match self.last_error {
            Some(_) => self.pending.drain(..self.pending.len().min(1)).collect(),
            None => std::mem::take(&mut self.pending),
        };
        self.write(state, batch).deliver(state)
    }

    /// Retries one stuck request if its time has come. Returns the number of written requests.
    fn retry_stuck(&mut self, state: &StoreState) -> usize {
        if self.stuck.is_empty() || Instant::now() < self.retry_at {
            return 0;
        }
        let first = self.stuck.drain(..1).collect();
        self.write(state, first).deliver(state)
    }

    fn write(&mut self, state: &StoreState, batch: Vec<Request>) -> Written {
        if batch.is_empty() {
            return Written::default();
        }
        self.batch = batch;
        match self.committer.commit(&mut self.batch) {
            Ok(applied) => {
                self.last_error = None;
                self.backoff = BACKOFF_FIRST;
                self.retry_at = Instant::now();
                Written { batch: std::mem::take(&mut self.batch), applied }
            }
            Err(failure) => {
                self.keep_or_fail(state, failure);
                Written::default()
            }
        }
    }

    /// Drops pending requests whose caller has gone, and fails those whose deadline is over.
    fn fail_timed_out(&mut self) {
        let now = Instant::now();
        let is_over = |request: &Request| matches!(request.on_failure, OnFailure::FailAfter(deadline) if deadline <= now);
        // Usually no request is dropped or fails. Requests are large, so they are not moved without need.
        if !self.pending.iter().any(|request| request.is_abandoned() || is_over(request)) {
            return;
        }
        for request in std::mem::take(&mut self.pending) {
            if request.is_abandoned() {
                drop(request);
            } else if is_over(&request) {
                request.answer(Reply::Failed(self.last_error.clone().unwrap_or_else(claim_timed_out)));
            } else {
                self.pending.push(request);
            }
        }
    }

    /// Keeps the requests of a failed batch that end a call, and fails the others. If another process holds the write
    /// lock, keeps all requests.
    fn keep_or_fail(&mut self, state: &StoreState, failure: Failure) {
        event::store_error(&failure.error.with_causes());
        let poisoned = state.check_poison().is_err();
        let alone = self.batch.len() == 1;
        for request in std::mem::take(&mut self.batch) {
            match request.on_failure {
                _ if poisoned => {
                    complete_ended(state, &request, None);
                    request.answer(Reply::Failed(failure.error.clone()));
                }
                _ if failure.outcome == WriteOutcome::Busy => self.pending.push(request),
                OnFailure::FailAfter(_) => Self::refuse(request, &failure),
                OnFailure::RetryForever if alone => {
                    self.stuck.push(request);
                    self.retry_at = Instant::now() + self.backoff;
                    self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
                }
                OnFailure::RetryForever => self.pending.push(request),
            }
        }
        self.last_error = Some(failure.error);
    }

    /// Fails a request. A claim whose commit has an unknown outcome may be on disk, so it is given back as well.
    fn refuse(request: Request, failure: &Failure) {
        if let (WriteOutcome::Unknown, Some(record), Some(back)) =
            (failure.outcome, &request.change.new, &request.back)
        {
            drop(Grant::new(record.clone(), request.before.clone(), Arc::clone(back)));
        }
        request.answer(Reply::Failed(failure.error.clone()));
    }

    fn purge_slice(&mut self, written: usize) {
        if self.last_error.is_some() || !self.is_purge_due() {
            return;
        }
        let limit = purge::limit(written);
        let changes = self.committer.purgeable(limit);
        self.purge.on_found(changes.len(), limit);
        let on_failure = OnFailure::FailAfter(Instant::now() + purge::PURGE_INTERVAL);
        let mut batch: Vec<_> =
            changes.into_iter().map(|change| Request::new(change, on_failure, None)).collect();
        if !batch.is_empty() && self.committer.commit(&mut batch).is_err() {
            // The next purge finds the same records again.
            self.purge.postpone();
        }
    }
}

fn claim_timed_out() -> Error {
    Error::not_in_time("the claim")
}

fn not_recorded() -> Error {
    let message = "the store closed before the outcome of the body was written";
    Error::new(ErrorKind::NotRecorded, Ran::Yes, message).advise(Advice::InDoubtAfterRestart)
}
