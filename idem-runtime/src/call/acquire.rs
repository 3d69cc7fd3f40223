//! From a prepared call to an answer or a claim: find, decide, wait, claim, and again until it is settled.
//!
//! The state machine waits for nothing itself. [`crate::call::run`] blocks a thread at its waits or awaits them, in the
//! same steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Caller, OnFailure, Reply, Request};
use crate::backend::{FindReply, Found, ReadFailure, Search};
use crate::call::claim::{CLAIM_WAIT_MIN, Claim};
use crate::call::{Prepared, claim, refusal};
use crate::engine::Engine;
use crate::engine::state::{StoreState, not_read};
use crate::error::{Error, Ran};
use crate::event;
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::{Decision, Holder, Mode, View, decide};
use crate::protocol::record::{Reason, Record, RecordRef, Status};
use crate::scope::context;
use crate::sync::deadline;
use crate::waiting::in_flight::{Completion, Handoff, Waiter};
use crate::waiting::oneshot::OneShot;
use crate::waiting::watcher::PollRate;

/// What the caller has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing: the acquisition is over.
    Ready(Ready),
    /// Wait for the backend, then call [`Acquisition::on_found`].
    Find(Arc<OneShot<FindReply>>, Instant),
    /// Wait for the writer, then call [`Acquisition::on_reply`].
    Claim(Arc<OneShot<Reply>>, Instant),
    /// Wait for the running call, then call [`Acquisition::on_completion`].
    Wait(Waiter, Instant),
}

/// How an acquisition ends, short of an error.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The right to run the body, or the record that answers.
    pub(crate) claim: Result<Claim, Arc<Record>>,
    /// The call was interrupted before: the recovery hook comes first.
    pub(crate) recover: bool,
    /// How long the call waited for another one.
    pub(crate) waited: Duration,
}

/// What is known of the record.
#[derive(Debug)]
pub(crate) enum Known {
    Nothing,
    /// The record as it was just read or reported, whoever holds it.
    Record(Arc<Record>),
    Found(Option<Found>),
}

impl Known {
    /// What a read or the writer said.
    pub(crate) fn of(record: Option<Arc<Record>>) -> Known {
        record.map_or(Known::Found(None), Known::Record)
    }
}

#[derive(Debug)]
pub(crate) struct Acquisition<'a> {
    call: &'a Prepared,
    engine: &'a Arc<Engine>,
    mode: Mode,
    caller: Caller,
    started: Instant,
    deadline: Instant,
    known: Known,
    waited: bool,
    /// Claims of this call, under whatever name, whose records have expired.
    expired: Vec<u64>,
    /// Nothing can be proven of the owner that is waited for.
    unprovable: bool,
    /// The last claim asked for was to recover.
    recovering: bool,
    /// Others who wait behind this call.
    handoff: Option<Handoff>,
}

impl<'a> Acquisition<'a> {
    pub(crate) fn new(
        call: &'a Prepared,
        engine: &'a Arc<Engine>,
        mode: Mode,
        known: Known,
        caller: Caller,
    ) -> Acquisition<'a> {
        Acquisition {
            call,
            engine,
            mode,
            caller,
            started: Instant::now(),
            deadline: deadline(call.wait),
            known,
            waited: false,
            expired: Vec::new(),
            unprovable: false,
            recovering: false,
            handoff: None,
        }
    }

    fn state(&self) -> &'a StoreState {
        &self.engine.state
    }

    fn ready(&self, claim: Result<Claim, Arc<Record>>) -> Ready {
        let waited = if self.waited { self.started.elapsed() } else { Duration::ZERO };
        Ready { recover: claim.is_ok() && self.recovering, claim, waited }
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        loop {
            self.state().check_not_closed()?;
            let found = match std::mem::replace(&mut self.known, Known::Nothing) {
                Known::Nothing => return Ok(self.find(Search::Slots(self.call.slots.to_vec()))),
                Known::Record(record) if record.status == Status::Running => {
                    return Ok(self.find(Search::Holder(record)));
                }
                Known::Record(record) => Some(self.unheld(record)),
                Known::Found(found) => found,
            };
            let Some(found) = found else { return Ok(self.claim(None)) };
            if let Some(step) = self.step_from(found)? {
                return Ok(step);
            }
        }
    }

    /// Does what is decided about a record. `None` if it is to be read again.
    fn step_from(&mut self, found: Found) -> Result<Option<Step>, Error> {
        let differing = self.call.differing(&found.record.borrowed())?;
        let decision = self.decide(&found, !differing.is_empty());
        if !matches!(decision, Decision::Claim) {
            // Somebody else goes on with this call: whoever waits behind us looks for themselves.
            self.handoff = None;
        }
        let Found { record, holder, .. } = found;
        Ok(Some(match decision {
            Decision::Claim => self.claim(Some(&record)),
            Decision::Rerun => self.claim_again(&record, record.attempt.saturating_add(1), false),
            Decision::Recover => self.claim_again(&record, record.attempt, true),
            Decision::Replay => Step::Ready(self.ready(Err(record))),
            Decision::Wait => return self.wait(&record, holder),
            Decision::RefuseMismatch => return Err(refusal::mismatch(&record, &differing)),
            Decision::RefuseReentrant => return Err(refusal::reentrant()),
            Decision::RefuseResultGone => return Err(refusal::result_gone(&record)),
            Decision::RefuseInDoubt | Decision::RefuseExhausted => {
                let reason = self.note_doubt(&record).reason;
                return Err(refusal::in_doubt(&record, reason, decision));
            }
        }))
    }

    fn find(&self, search: Search) -> Step {
        Step::Find(self.state().ask(search), self.answer_by())
    }

    /// A record that nobody runs.
    fn unheld(&self, record: Arc<Record>) -> Found {
        let age_ms = self.state().age_ms(&record.borrowed());
        Found { record, holder: Holder::Nobody, age_ms }
    }

    /// Until when the store has to answer.
    fn answer_by(&self) -> Instant {
        self.deadline.max(Instant::now() + CLAIM_WAIT_MIN)
    }

    /// Takes the record that was found; `None` means that the answer did not come in time.
    pub(crate) fn on_found(&mut self, found: Option<FindReply>) -> Result<(), Error> {
        let found = found.ok_or_else(not_read)?;
        self.known = Known::Found(found.map_err(ReadFailure::into_error)?);
        Ok(())
    }

    /// Takes the writer's answer; `None` means that it did not come in time.
    pub(crate) fn on_reply(&mut self, reply: Option<Reply>) -> Result<Option<Ready>, Error> {
        match reply {
            Some(Reply::Granted(grant)) => {
                let claim = Claim::of(grant, self.engine);
                event::claimed(claim.record());
                Ok(Some(self.ready(Ok(claim))))
            }
            Some(Reply::Stands(standing)) => {
                self.known = Known::of(standing.map(|standing| Arc::new(*standing)));
                Ok(None)
            }
            Some(Reply::Failed(error)) => Err(error.with_ran(Ran::No)),
            Some(Reply::Written) | None => Err(Error::not_in_time("the claim")),
        }
    }

    /// Takes the end of the call that was waited for; `None` means that it still runs.
    pub(crate) fn on_completion(&mut self, completion: Option<Completion>) -> Result<(), Error> {
        self.waited = true;
        let Some(completion) = completion else { return Err(self.wait_is_over()) };
        event::waited(&self.call.name, self.call.key.as_str(), self.started.elapsed().as_millis());
        self.handoff = completion.handoff;
        if let Some(record) = completion.record {
            self.known = Known::Record(record);
        }
        Ok(())
    }

    fn decide(&self, found: &Found, differs: bool) -> Decision {
        let view = View {
            reentrant: self.call.is_reentrant(&self.state().settings.store_id),
            waited: self.waited,
            ..View::of(&*found.record, found.holder, found.age_ms, differs)
        };
        decide(view, self.mode)
    }

    /// Claims a new call, in the place of an expired one if there is one.
    fn claim(&mut self, expired: Option<&Record>) -> Step {
        let new = self.call.first_record(expired);
        self.expired.extend(expired.map(|expired| expired.claim));
        self.recovering = false;
        let repeatable = matches!(self.mode, Mode::Interrupt(mode) if mode.may_repeat());
        self.send(self.call.claim_change(new, expired, self.expired.clone()), None, repeatable)
    }

    /// Claims an interrupted call: to run its body once more, or to run the recovery hook.
    fn claim_again(&mut self, record: &Record, attempt: u32, recovering: bool) -> Step {
        let before = interrupted(record, self.state());
        let new = Record {
            status: Status::Running,
            claim: 0,
            attempt,
            fingerprint: self.call.fingerprint.encode(),
            reason: None,
            // A doubt about a new attempt begins anew.
            doubt_since: before.doubt_since.filter(|_| recovering),
            ttl: self.call.ttl,
            keep_result: self.call.keep_result,
            ..before.clone()
        };
        let expect = Expect::Exactly(record.claim, record.status);
        self.recovering = recovering;
        // Forced to disk, whatever the mode: attempts are counted once the first one is known.
        self.send(Change { slot: record.slot, expect, new: Some(new) }, Some(before), false)
    }

    fn send(&mut self, mut change: Change, before: Option<Record>, repeatable: bool) -> Step {
        if let Some(new) = &mut change.new {
            self.state().backend.stamp(new);
        }
        let deadline = self.answer_by();
        let mut request = Request::new(change, OnFailure::FailAfter(deadline), None);
        (request.before, request.handoff, request.repeatable) = (before, self.handoff.take(), repeatable);
        Step::Claim(claim::ask(self.engine, request, self.caller), deadline)
    }

    /// A place among those who wait; `None` if the call has just ended and is to be read again.
    fn wait(&mut self, record: &Record, holder: Holder) -> Result<Option<Step>, Error> {
        self.unprovable = holder == Holder::Unknown;
        if Instant::now() >= self.deadline {
            return Err(self.wait_is_over());
        }
        let waiter = match holder {
            Holder::Local => self.state().in_flight.subscribe_local(record.claim),
            _ => Some(self.state().in_flight.subscribe_remote(record.claim)),
        };
        let rate = if holder == Holder::Local { PollRate::Slow } else { PollRate::Fast };
        Ok(waiter.map(|waiter| {
            self.state().watcher.poll(record.claim, record.slot, rate);
            Step::Wait(waiter, self.deadline)
        }))
    }

    fn wait_is_over(&self) -> Error {
        if self.unprovable {
            refusal::unprovable(self.call.wait)
        } else {
            refusal::still_running(self.call.wait)
        }
    }

    /// Records when the doubt was first noticed. Whether it succeeds does not matter: the next caller does it.
    fn note_doubt(&self, record: &Record) -> Record {
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

/// Whether a finished record of this age answers the call as it stands.
pub(crate) fn answers(call: &Prepared, mode: Mode, record: &RecordRef<'_>, age_ms: Option<i64>) -> bool {
    let Ok(differing) = call.differing(record) else { return false };
    // A finished call has no holder and no body on the call stack.
    let view = View::of(record, Holder::Nobody, age_ms, !differing.is_empty());
    decide(view, mode) == Decision::Replay
}

/// An interrupted record as the record in doubt that it is.
fn interrupted(record: &Record, state: &StoreState) -> Record {
    if record.status == Status::InDoubt {
        return record.clone();
    }
    let is_own = record.owner == state.backend.owner();
    let reason = if is_own { Reason::Dropped } else { record.reason_if_cut_off() };
    state.stamped(record.in_doubt(reason))
}
