//! What is written together, and what becomes of what cannot be: by the store's own thread, with group commit, or by
//! a lone caller in its place (see [`crate::engine`]).
//!
//! # Batches
//! Everything that came while the last commit was forced to disk shares the next one; a lone caller waits for
//! nobody. Replies are sent after the COMMIT, and after a look whether the files are still the ones that were opened.
//!
//! # When a write fails
//! Claims fail closed: their callers have not started anything. What ended is kept and tried again while the process
//! lives. After a failure one request is tried at a time, and one that fails alone is `stuck`: it is tried alone from
//! then on, so that it does not hold up the others.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Grant, OnFailure, Reply, Request};
use crate::backend::{self, Commit, Failure, WriteOutcome};
use crate::engine::purge::{self, PurgeSchedule};
use crate::engine::state::StoreState;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::protocol::change::Applied;
use crate::protocol::record::Record;
use crate::waiting::watcher::PollRate;

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LAST: Duration = Duration::from_secs(1);

/// A batch that is on disk, and what came of each.
#[derive(Debug, Default)]
pub(crate) struct Written {
    batch: Vec<Request>,
    applied: Vec<Applied>,
}

impl Written {
    /// Answers those who wait. Gives how many requests there were.
    pub(crate) fn deliver(self, state: &StoreState) -> usize {
        let count = self.batch.len();
        self.batch
            .into_iter()
            .zip(self.applied)
            .for_each(|(request, applied)| deliver(state, request, applied));
        count
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    committer: Box<dyn Commit>,
    pending: Vec<Request>,
    /// What is being written: here a panic does not take it along.
    batch: Vec<Request>,
    /// What failed alone, and when to try again.
    stuck: Vec<Request>,
    retry_at: Instant,
    backoff: Duration,
    /// The last failure, until something is written.
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

    /// Writes what has come and what was left over. Gives how long to wait for more; it is over if the store gives up.
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

    /// The last of it. Gives whether everything was written and the file left in order.
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
        self.committer.let_go();
        Err(not_recorded())
    }

    /// Writing panicked: whoever waits for it is told.
    pub(crate) fn abort(self, error: &Error) {
        let Writer { committer, batch, pending, stuck, .. } = self;
        for request in batch.into_iter().chain(pending).chain(stuck) {
            request.answer(Reply::Failed(error.clone()));
        }
        committer.let_go();
    }

    /// One attempt at the request of a caller, which stays where it is if there is something to try again first.
    pub(crate) fn write_inline(&mut self, state: &StoreState, request: &mut Option<Request>) -> Written {
        let inline = if self.has_to_retry() { None } else { request.take() };
        self.write(state, inline.into_iter().collect())
    }

    /// Whether there is anything for the thread to do that is not in the queue.
    pub(crate) fn has_other_work(&self) -> bool {
        self.has_to_retry() || self.is_purge_due() || self.committer.needs_maintenance()
    }

    /// While the log is folded in the disk has enough to do.
    fn is_purge_due(&self) -> bool {
        self.purge.is_due() && !self.committer.is_maintaining()
    }

    fn has_to_retry(&self) -> bool {
        self.last_error.is_some() || !self.pending.is_empty() || !self.stuck.is_empty()
    }

    /// How long to wait for new requests; for ever if there is nothing else to do.
    fn next_timeout(&self) -> Option<Duration> {
        if !self.pending.is_empty() {
            return Some(Duration::ZERO);
        }
        (!self.stuck.is_empty()).then(|| self.retry_at.saturating_duration_since(Instant::now()))
    }

    /// One attempt at what is pending; gives how many requests it wrote.
    fn write_pending(&mut self, state: &StoreState) -> usize {
        self.fail_timed_out();
        let batch = match self.last_error {
            Some(_) => self.pending.drain(..self.pending.len().min(1)).collect(),
            None => std::mem::take(&mut self.pending),
        };
        self.write(state, batch).deliver(state)
    }

    /// One attempt at one of the stuck, once its time has come.
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

    /// Requests nobody waits for are skipped; those whose time is over fail.
    fn fail_timed_out(&mut self) {
        let now = Instant::now();
        let is_over = |request: &Request| matches!(request.on_failure, OnFailure::FailAfter(deadline) if deadline <= now);
        // Almost always there is none, and a request is large enough not to be moved for nothing.
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

    /// What ended is kept; whoever has not started yet is refused.
    fn keep_or_fail(&mut self, state: &StoreState, failure: Failure) {
        event::store_error(&failure.error.with_causes());
        let poisoned = state.check_poison().is_err();
        let alone = self.batch.len() == 1;
        for request in std::mem::take(&mut self.batch) {
            match request.on_failure {
                _ if poisoned => {
                    complete_persistent(state, &request, request.change.expect.claim(), None);
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

    /// Refuses a claim. If its commit is unknown it may yet be found on disk, so it is taken back as well.
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
            // Nothing is lost: the same records are found again.
            self.purge.postpone();
        }
    }
}

fn deliver(state: &StoreState, mut request: Request, applied: Applied) {
    let ended = request.change.expect.claim();
    match applied {
        Applied::Yes => {
            if let Some(ended) = ended {
                state.in_flight.complete(ended, request.change.new.as_ref());
            }
            match (request.change.new.take(), request.back.take()) {
                (Some(record), Some(back)) => {
                    // Whoever waited before for this key came along: a `steal` from elsewhere must reach them.
                    if state.in_flight.has_waiters(record.claim) {
                        state.watcher.poll(record.claim, record.slot, PollRate::Slow);
                    }
                    let grant = Grant::new(record, request.before.take(), back);
                    request.answer(Reply::Granted(grant));
                }
                _ => request.answer(Reply::Written),
            }
        }
        Applied::No(standing) => {
            complete_persistent(state, &request, ended, standing.as_deref());
            request.answer(Reply::Stands(standing));
        }
        Applied::Damaged(what) => {
            // Nothing is overwritten, and the key is not freed: whoever waits meets the damaged row.
            complete_persistent(state, &request, ended, None);
            let error = backend::damaged(what, "writing to the store");
            request.answer(Reply::Failed(error));
        }
    }
}

/// A call that has ended is over for those who wait, whatever became of its record.
fn complete_persistent(state: &StoreState, request: &Request, ended: Option<u64>, record: Option<&Record>) {
    if let (Some(ended), OnFailure::RetryForever) = (ended, request.on_failure) {
        state.in_flight.complete(ended, record);
    }
}

fn claim_timed_out() -> Error {
    Error::not_in_time("the claim")
}

fn not_recorded() -> Error {
    let message = "the store closed before the outcome of the body was written";
    Error::new(ErrorKind::NotRecorded, Ran::Yes, message).advise(Advice::InDoubtAfterRestart)
}
