//! Where a store is written: by the writer's thread, or by a caller in its place.
//!
//! To hand a request to a sleeping thread and to sleep until it has answered takes longer than a commit to memory. A
//! blocked caller that finds nobody else writing therefore writes its own request, by the same code; a task never
//! does, since its executor has others to poll. Whoever has the queue's turn has the desk: nobody waits for it.
//!
//! A caller makes one attempt. What it cannot write it leaves to the writer's thread, which tries again and keeps the
//! deadlines, and so it does with all that is no request. Only a disk that hangs in the middle of a write holds the
//! caller as long, as it would hold the thread.

use std::fmt::{self, Debug, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::context;
use crate::core::Core;
use crate::queue::{Request, Sender};
use crate::signal::{Signal, lock};
use crate::writer::{Reply, Writer};

/// The writer, from the opening of a store until its thread ends.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Option<Writer>>);

impl Desk {
    pub(crate) fn set(&self, writer: Writer) {
        *lock(&self.0) = Some(writer);
    }

    /// Nothing is written any more.
    pub(crate) fn take(&self) -> Option<Writer> {
        lock(&self.0).take()
    }

    /// Does something with the writer, while it is there.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        lock(&self.0).as_mut().map(work)
    }
}

/// The writer knows the store, whose part the desk is.
impl Debug for Desk {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Desk")
    }
}

/// Has a request written: at once on this thread, or by the writer's.
pub(crate) fn send(core: &Arc<Core>, request: Request, sender: Sender) {
    // A child has a copy of the desk, and none of SQLite's locks.
    let may_write = sender == Sender::Thread && core.is_of_this_process() && core.queue.enter();
    let left = if may_write { write_here(core, request) } else { Some(request) };
    if let Some(request) = left {
        core.queue.push(request);
    }
}

/// Gives the request back if there is something to try again before it.
fn write_here(core: &Arc<Core>, request: Request) -> Option<Request> {
    // Whom it wakes and what it tells stand outside of the call that this thread is making.
    let _outside = context::enter(Arc::default());
    let reply = request.reply.clone();
    let mut request = Some(request);
    let mut turn = CallersTurn { core, call: true };
    let tried = catch_unwind(AssertUnwindSafe(|| {
        core.desk.with(|writer| (writer.write_lone(&mut request), writer.has_more_to_do()))
    }));
    let Ok(Some((written, has_more_to_do))) = tried else {
        break_down(core, reply.as_deref());
        return None;
    };
    turn.call = has_more_to_do;
    drop(turn);
    // The turn is over by now: a waker is code of others, and may want to write as well.
    if catch_unwind(AssertUnwindSafe(|| written.deliver(core))).is_err() {
        break_down(core, reply.as_deref());
    }
    request
}

/// A panic means here what it means on the writer's thread, which ends.
fn break_down(core: &Core, reply: Option<&Signal<Reply>>) {
    let error = core.break_down();
    if let Some(reply) = reply {
        reply.send(Reply::Failed(error));
    }
}

/// Ends when it is dropped.
struct CallersTurn<'a> {
    core: &'a Core,
    /// There is something for the writer's thread to do.
    call: bool,
}

impl Drop for CallersTurn<'_> {
    fn drop(&mut self) {
        self.core.queue.leave(self.call);
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
pub(crate) mod tests;
