//! The replies after a failed commit.

use std::sync::Mutex;

use super::*;
use crate::backend::request::{Caller, Submit};
use crate::encoding::codec::Stored;
use crate::encoding::digest::Slot;
use crate::engine::tests::Threadless;
use crate::policy::Lifetime;
use crate::protocol::change::{Applied, Change, Expect};
use crate::protocol::record::{Mark, Record, Status};
use crate::sync::lock;
use crate::waiting::oneshot::OneShot;

/// Fails every commit with this outcome.
#[derive(Debug)]
struct Failing(WriteOutcome);

impl Commit for Failing {
    fn commit(&mut self, _: &mut [Request]) -> Result<Vec<Applied>, Failure> {
        Err(Failure { outcome: self.0, error: Error::store("as asked") })
    }

    fn needs_maintenance(&self) -> bool {
        false
    }

    fn is_maintaining(&self) -> bool {
        false
    }

    fn maintain(&mut self) {}

    fn purgeable(&mut self, _: usize) -> Vec<Change> {
        Vec::new()
    }

    fn close(self: Box<Self>, _: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn close_now(self: Box<Self>) {}

    fn abandon(self: Box<Self>) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[derive(Debug, Default)]
struct Submitted(Mutex<Vec<Request>>);

impl Submit for Submitted {
    fn submit(&self, request: Request, _: Caller) {
        lock(&self.0).push(request);
    }
}

fn running(claim: u64) -> Record {
    Record {
        slot: Slot::default(),
        name: "tests.writer".into(),
        key: "A-17".into(),
        status: Status::Running,
        claim,
        owner: 1,
        attempt: 1,
        returned: 0,
        fingerprint: Vec::new(),
        at: Mark::default(),
        reason: None,
        doubt_since: None,
        ttl: Lifetime::FOREVER,
        keep_result: Lifetime::FOREVER,
        result: None::<Stored>,
        purge_ms: None,
        row: None,
    }
}

// The claim may be on disk, and its caller never runs the body.
#[test]
fn a_refused_claim_is_given_back_if_the_outcome_of_its_commit_is_unknown() {
    let place = Threadless::new();
    for (outcome, is_given_back) in [(WriteOutcome::Unknown, true), (WriteOutcome::NotWritten, false)] {
        let back = Arc::new(Submitted::default());
        let expect = Expect::Free { over: None, nor_in: Vec::new(), expired: Vec::new() };
        let change = Change { slot: Slot::default(), expect, new: Some(running(7)) };
        let reply = OneShot::new();
        let on_failure = OnFailure::FailAfter(Instant::now() + Duration::from_secs(30));
        let mut request = Request::new(change, on_failure, Some(Arc::clone(&reply)));
        request.back = Some(Arc::clone(&back) as _);
        let mut writer = Writer::new(Box::new(Failing(outcome)));
        let _ = writer.round(&place.store.inner.engine.state, vec![request]);
        assert!(matches!(reply.take(), Some(Reply::Failed(_))));
        let given_back = std::mem::take(&mut *lock(&back.0));
        assert_eq!(given_back.len(), usize::from(is_given_back), "{outcome:?}");
        for request in given_back {
            assert_eq!(request.change.expect, Expect::Unfinished { claim: 7, owner: 1 });
            assert!(request.change.new.is_none() && request.on_failure == OnFailure::RetryForever);
        }
    }
}
