//! One open store at work: what its parts share, and where it is written, by the writer's thread or by a caller in its
//! place.
//!
//! To hand a request to a sleeping thread and to sleep until it has answered takes longer than a commit to memory. A
//! blocked caller that finds nobody else writing therefore writes its own request, by the same code; a task never
//! does, since its executor has others to poll. Whoever has the queue's inline has the writer: nobody waits for it.
//!
//! A caller makes one attempt. What it cannot write it leaves to the writer's thread, which tries again and keeps the
//! deadlines, and so it does with all that is no request. Only a disk that hangs in the middle of a write holds the
//! caller as long, as it would hold the thread.

use std::fmt::{self, Debug, Formatter};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use crate::backend::request::{Caller, Reply, Request, Submit};
use crate::engine::queue::Work;
use crate::engine::state::StoreState;
use crate::engine::writer::Writer;
use crate::error::{Advice, Error};
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

pub(crate) mod purge;
pub(crate) mod queue;
pub(crate) mod state;
pub(crate) mod writer;

/// How long to wait at a time for the last calls of a store that closes.
const CLOSE_POLL: Duration = Duration::from_millis(5);

pub(crate) struct Engine {
    pub(crate) state: StoreState,
    /// Empty once the writer's thread has ended.
    writer: Mutex<Option<Writer>>,
}

impl Debug for Engine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Engine").field(&self.state).finish()
    }
}

impl Engine {
    pub(crate) fn new(state: StoreState, writer: Writer) -> Engine {
        Engine { state, writer: Mutex::new(Some(writer)) }
    }

    /// Nothing is written any more.
    pub(crate) fn take_writer(&self) -> Option<Writer> {
        lock(&self.writer).take()
    }

    /// Does something with the writer, while it is there.
    pub(crate) fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        lock(&self.writer).as_mut().map(work)
    }

    /// Writing panicked: nobody who waits is left waiting. Gives what every later call gets.
    pub(crate) fn abort(&self) -> Error {
        let error = Error::store("the writer thread ended unexpectedly").advise(Advice::Reopen);
        self.state.poison(error.clone());
        self.state.queue.end(&error);
        if let Some(writer) = self.take_writer() {
            writer.abort(&error);
        }
        self.state.in_flight.wake_all();
        error
    }

    /// The thread's loop, until the store closes. Gives whether everything was written and the file left in order.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let mut timeout = None;
        loop {
            let mut close_poll = None;
            let requests = match self.state.queue.next(timeout) {
                Work::Batch(requests) => requests,
                Work::Idle => Vec::new(),
                // A claim that had waited for the write lock was given while the store closed: its end is awaited.
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

    /// Gives the request back if there is something to try again before it.
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
        // The inline is over by now: a waker is code of others, and may want to write as well.
        if catch_unwind(AssertUnwindSafe(|| written.deliver(&self.state))).is_err() {
            self.abort_with_reply(reply.as_deref());
        }
        request
    }

    /// A panic means here what it means on the writer's thread, which ends.
    fn abort_with_reply(&self, reply: Option<&OneShot<Reply>>) {
        let error = self.abort();
        if let Some(reply) = reply {
            reply.send(Reply::Failed(error));
        }
    }
}

impl Submit for Engine {
    fn submit(&self, request: Request, caller: Caller) {
        // A child has a copy of the writer, and none of SQLite's locks.
        let may_write = caller == Caller::Blocking
            && self.state.is_of_this_process()
            && self.state.queue.try_begin_inline();
        let left = if may_write { self.write_inline(request) } else { Some(request) };
        if let Some(request) = left {
            self.state.queue.push(request);
        }
    }
}

/// Ends when it is dropped.
struct InlineWrite<'a> {
    state: &'a StoreState,
    /// There is something for the writer's thread to do.
    other_work: bool,
}

impl Drop for InlineWrite<'_> {
    fn drop(&mut self) {
        self.state.queue.end_inline(self.other_work);
    }
}

#[cfg(test)]
pub(crate) mod tests;
