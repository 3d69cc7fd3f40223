//! The writes of an acquisition: claims, and the first detection of a doubt.

use std::time::Instant;

use crate::backend::request::{OnFailure, Request};
use crate::call::acquire::{Acquisition, Step};
use crate::call::claim;
use crate::call::claim::CLAIM_WAIT_MIN;
use crate::engine::state::StoreState;
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::Mode;
use crate::protocol::record::{Reason, Record, Status};
use crate::scope::context;

impl Acquisition<'_> {
    /// Claims a new call. If its slot holds an expired record, the claim replaces this record.
    pub(super) fn claim(&mut self, expired: Option<&Record>) -> Step {
        // The record of a key that looks new may be one of those that are lost: the recovery hook is asked first.
        let is_new = expired.is_none() && matches!(self.mode, Mode::Recover);
        let lost = if is_new { self.state().backend.lost_records() } else { None };
        let new = Record { doubt_since: lost, ..self.call.first_record(expired) };
        self.expired.extend(expired.map(|expired| expired.claim));
        self.recovering = lost.is_some();
        let repeatable = matches!(self.mode, Mode::Interrupt(mode) if mode.may_repeat());
        self.send(self.call.claim_change(new, expired, self.expired.clone()), None, repeatable)
    }

    /// Claims an interrupted call, to run its body again or to run the recovery hook.
    pub(super) fn claim_again(&mut self, record: &Record, attempt: u32, recovering: bool) -> Step {
        let before = interrupted(record, self.state());
        let new = Record {
            status: Status::Running,
            claim: 0,
            attempt,
            fingerprint: self.call.fingerprint.encode(),
            reason: None,
            // A new attempt starts a new settle window. A recovery hook keeps the present one.
            doubt_since: before.doubt_since.filter(|_| recovering),
            ttl: self.call.options.ttl,
            keep_result: self.call.options.keep_result,
            ..before.clone()
        };
        let expect = Expect::Exactly(record.claim, record.status);
        self.recovering = recovering;
        // Synced in every mode, so that a power failure does not lose the count of attempts.
        self.send(Change { slot: record.slot, expect, new: Some(new) }, Some(before), false)
    }

    fn send(&mut self, mut change: Change, before: Option<Record>, repeatable: bool) -> Step {
        if let Some(new) = &mut change.new {
            self.state().backend.stamp(new);
        }
        let deadline = self.answer_by();
        let mut request = Request::new(change, OnFailure::FailAfter(deadline), None);
        (request.before, request.handoff, request.repeatable) =
            (before, self.turn.handoff.take(), repeatable);
        Step::Claim(claim::ask(self.engine, request, self.caller), deadline)
    }

    /// Records the time of the first detection of a doubt. Returns the record in doubt.
    ///
    /// Does not wait for the write: if the write fails, the next caller repeats it.
    pub(super) fn note_doubt(&self, record: &Record) -> Record {
        let doubt = interrupted(record, self.state());
        if record.status == Status::Running {
            let expect = Expect::Exactly(record.claim, Status::Running);
            let change = Change { slot: record.slot, expect, new: Some(doubt.clone()) };
            let on_failure = OnFailure::FailAfter(Instant::now() + CLAIM_WAIT_MIN);
            let mut request = Request::new(change, on_failure, None);
            request.inside = context::is_in_call();
            self.state().queue.push(request);
        }
        doubt
    }
}

/// Returns an interrupted record as a record in doubt, with the reason.
fn interrupted(record: &Record, state: &StoreState) -> Record {
    if record.status == Status::InDoubt {
        return record.clone();
    }
    let is_own = record.owner == state.backend.owner();
    let reason = if is_own { Reason::Dropped } else { record.reason_if_cut_off() };
    state.stamped(record.in_doubt(reason))
}
