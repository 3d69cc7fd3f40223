//! The turn to write, and the batches of the writer thread.

use std::sync::Arc;
use std::thread;

use super::*;
use crate::backend::request::OnFailure;
use crate::encoding::digest::Slot;
use crate::engine::tests::{pause, until};
use crate::protocol::change::{Change, Expect};
use crate::waiting::oneshot::OneShot;

pub(crate) fn request() -> Request {
    let change = Change { slot: Slot::default(), expect: Expect::Any, new: None };
    Request::new(change, OnFailure::RetryForever, Some(OneShot::new()))
}

#[test]
fn the_writer_thread_ends_after_an_inline_write() {
    let queue = Arc::new(Queue::default());
    assert!(queue.try_begin_inline());
    let asked = Arc::clone(&queue);
    let thread = thread::spawn(move || asked.next(None));
    queue.close();
    pause();
    assert!(!thread.is_finished());
    queue.end_inline(false);
    assert!(matches!(thread.join().unwrap(), Work::Closed));
}

#[test]
fn many_callers_do_not_write_inline() {
    let queue = Arc::new(Queue::default());
    let asked = Arc::clone(&queue);
    let thread = thread::spawn(move || {
        let mut sizes = Vec::new();
        while let Work::Batch(batch) = asked.next(None) {
            sizes.push(batch.len());
        }
        sizes
    });
    assert!(queue.try_begin_inline());
    assert!(!queue.try_begin_inline(), "one at a time");
    (0..3).for_each(|_| queue.push(request()));
    pause();
    assert_eq!(queue.len(), 3, "requests that arrive during a write share the next commit");
    queue.end_inline(false);
    for _ in 0..INLINE_AFTER_COMMITS {
        until("the request is written", || queue.is_idle());
        assert!(!queue.try_begin_inline(), "callers shared a commit");
        queue.push(request());
    }
    until("the request is written", || queue.is_idle());
    assert!(queue.try_begin_inline(), "enough commits of one request");
    queue.end_inline(false);
    queue.close();
    let sizes = thread.join().unwrap();
    assert_eq!((sizes.first(), sizes.len()), (Some(&3), 1 + INLINE_AFTER_COMMITS as usize));
}
