//! One open store at work: the state that its parts share, and the writer that commits its requests.
//!
//! The writer thread commits requests in batches. A blocked caller that finds no other writer commits its own request
//! on its own thread: an inline write. An inline write takes less time than to wake the writer thread and to sleep until
//! its reply. A task never writes inline, because its executor has other tasks to poll.
//!
//! # Inline writes
//! The queue admits one writer at a time, so no thread waits for the lock of the [`Writer`]. An inline write is one
//! attempt. The writer thread retries a failed request, keeps its deadline and does all other work. A disk that hangs
//! inside a write holds the caller as long as it would hold the writer thread.

use std::fmt::{self, Debug, Formatter};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backend::request::{Caller, Reply, Request, Submit};
use crate::engine::queue::Work;
use crate::engine::state::StoreState;
use crate::engine::writer::Writer;
use crate::engine::writer::delivery::fail;
use crate::error::{Advice, Error};
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

pub(crate) mod purge;
pub(crate) mod queue;
pub(crate) mod state;
pub(crate) mod writer;

/// How often the writer thread of a closing store polls for the end of in-flight calls.
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// The shared state and the writer of one open store.
pub(crate) struct Engine {
    pub(crate) state: StoreState,
    /// `None` after the writer thread has ended.
    writer: Mutex<Option<Writer>>,
    /// Whether a panic in a write has ended the writer.
    is_aborted: AtomicBool,
}

impl Debug for Engine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Engine").field(&self.state).finish()
    }
}

impl Engine {
    pub(crate) fn new(state: StoreState, writer: Writer) -> Engine {
        Engine { state, writer: Mutex::new(Some(writer)), is_aborted: AtomicBool::new(false) }
    }

    /// Takes the writer out. The store writes nothing afterwards.
    pub(crate) fn take_writer(&self) -> Option<Writer> {
        lock(&self.writer).take()
    }

    /// Calls `work` with the writer. `None` if the writer has been taken out.
    pub(crate) fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        lock(&self.writer).as_mut().map(work)
    }

    /// Fails every waiting caller after a panic in a write. Returns the error of every later call.
    pub(crate) fn abort(&self) -> Error {
        let error = Error::store("the writer thread ended unexpectedly").advise(Advice::Reopen);
        self.state.poison(error.clone());
        self.is_aborted.store(true, Ordering::Release);
        let unwritten = self.take_writer().map(Writer::abort).unwrap_or_default();
        for request in self.state.queue.take_all().into_iter().chain(unwritten) {
            fail(&self.state, request, &error);
        }
        self.state.in_flight.wake_waiters();
        self.abandon_aborted();
        error
    }

    /// Fails a request that the queue has refused.
    fn fail_refused(&self, request: Request) {
        let is_aborted = self.is_aborted.load(Ordering::Acquire);
        if !is_aborted {
            return request.answer(Reply::Failed(Error::closed()));
        }
        let error = self.state.check_poison().err().unwrap_or_else(Error::closed);
        fail(&self.state, request, &error);
        self.abandon_aborted();
    }

    /// Ends the owner of an aborted store once no call of this process runs. Every call without a recorded end is then in
    /// doubt, also for a store that this process opens again.
    fn abandon_aborted(&self) {
        if self.state.in_flight.count_local() == 0 {
            self.state.backend.abandon_owner();
        }
    }

    /// Runs the loop of the writer thread until the store closes.
    ///
    /// `Ok` means that every request was written and the database was closed in good order.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let mut timeout = None;
        loop {
            let mut close_poll = None;
            let requests = match self.state.queue.next(timeout) {
                Work::Batch(requests) => requests,
                Work::Idle => Vec::new(),
                // While the store closed, a claim may have been granted. The completion of that call is still to come.
                Work::Closed if self.state.in_flight.count_local() > 0 => {
                    close_poll = Some(CLOSE_POLL);
                    Vec::new()
                }
                Work::Closed => break,
            };
            match self.with_writer(|writer| writer.round(&self.state, requests)) {
                Some(ControlFlow::Continue(pause)) => timeout = pause.or(close_poll),
                Some(ControlFlow::Break(())) | None => break,
            }
        }
        match self.take_writer() {
            Some(writer) => writer.end(&self.state),
            None => self.state.check_poison(),
        }
    }

    /// Makes one attempt at an inline write. Returns the request if the writer has an earlier one to retry.
    fn write_inline(&self, request: Request) -> Option<Request> {
        let reply = request.reply.clone();
        let mut request = Some(request);
        let mut inline = InlineWrite { state: &self.state, other_work: true };
        let tried = catch_unwind(AssertUnwindSafe(|| {
            self.with_writer(|writer| {
                (writer.write_inline(&self.state, &mut request), writer.has_other_work())
            })
        }));
        let Ok(Some((written, has_other_work))) = tried else {
            self.abort_with_reply(reply.as_deref());
            return None;
        };
        inline.other_work = has_other_work;
        drop(inline);
        // The inline write has ended: a waker may run foreign code, and that code may write too.
        if catch_unwind(AssertUnwindSafe(|| written.deliver(&self.state))).is_err() {
            self.abort_with_reply(reply.as_deref());
        }
        request
    }

    /// Aborts the store after a panic in an inline write, and answers its caller.
    fn abort_with_reply(&self, reply: Option<&OneShot<Reply>>) {
        let error = self.abort();
        if let Some(reply) = reply {
            reply.send(Reply::Failed(error));
        }
    }
}

impl Submit for Engine {
    fn submit(&self, request: Request, caller: Caller) {
        // After a fork, the child has a copy of the writer but none of SQLite's locks.
        let may_write = caller == Caller::Blocking
            && self.state.is_of_this_process()
            && self.state.queue.try_begin_inline();
        let left = if may_write { self.write_inline(request) } else { Some(request) };
        if let Some(request) = left {
            self.state.note_ending(&request);
            if let Some(refused) = self.state.queue.offer(request) {
                self.fail_refused(refused);
            }
        }
    }
}

/// The turn of an inline write. Dropping the turn ends it.
struct InlineWrite<'a> {
    state: &'a StoreState,
    /// Whether the writer thread has work to do that is not a request.
    other_work: bool,
}

impl Drop for InlineWrite<'_> {
    fn drop(&mut self) {
        self.state.queue.end_inline(self.other_work);
    }
}

#[cfg(test)]
pub(crate) mod tests;
