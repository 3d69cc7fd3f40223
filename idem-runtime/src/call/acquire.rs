//! From a prepared call to an answer or a claim: read, decide, wait, claim, and again until it is settled.
//!
//! The state machine does no waiting itself; [`crate::call::run`] blocks a thread at its waits and [`crate::run_async`]
//! awaits, in the same steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::claim::{CLAIM_WAIT_MIN, Claim};
use crate::call::{Prepared, claim, refusal};
use crate::engine::request::{Caller, OnFailure, Reply, Request};
use crate::engine::shared::Core;
use crate::engine::submit::Engine;
use crate::error::{Error, Ran};
use crate::event;
use crate::protocol::change::{Change, Expect};
use crate::protocol::decide::{Decision, Expired, Holder, Mode, View, decide};
use crate::protocol::record::{Reason, Record, RecordRef, Status};
use crate::protocol::timeline::Stamp;
use crate::sync::deadline;
use crate::waiting::in_flight::{Completion, Handoff, Waiter};
use crate::waiting::oneshot::OneShot;
use crate::waiting::watcher::PollRate;

/// What the caller has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing: the acquisition is over.
    Ready(Ready),
    /// Wait for the writer, then tell [`Acquisition::answered`].
    Claim(Arc<OneShot<Reply>>, Instant),
    /// Wait for the running call, then tell [`Acquisition::on_completion`].
    Wait(Waiter, Instant),
}

/// How a acquisition ends, short of an error.
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
    /// Nothing: read it.
    Nothing,
    /// What was just read, or what the writer or a completion said.
    Found(Option<Arc<Record>>),
}

#[derive(Debug)]
pub(crate) struct Acquisition<'a> {
    call: &'a Prepared,
    core: &'a Arc<Engine>,
    mode: Mode,
    caller: Caller,
    begun: Instant,
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
        core: &'a Arc<Engine>,
        mode: Mode,
        known: Known,
        caller: Caller,
    ) -> Acquisition<'a> {
        Acquisition {
            call,
            core,
            mode,
            caller,
            begun: Instant::now(),
            deadline: deadline(call.wait),
            known,
            waited: false,
            expired: Vec::new(),
            unprovable: false,
            recovering: false,
            handoff: None,
        }
    }

    fn ready(&self, claim: Result<Claim, Arc<Record>>) -> Ready {
        let waited = if self.waited { self.begun.elapsed() } else { Duration::ZERO };
        Ready { recover: claim.is_ok() && self.recovering, claim, waited }
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        loop {
            self.core.check_not_ended()?;
            let record = match std::mem::replace(&mut self.known, Known::Nothing) {
                Known::Nothing => self.core.read(&self.call.slots)?.map(Arc::new),
                Known::Found(record) => record,
            };
            let Some(record) = record else { return Ok(self.claim(None)) };
            let Some((record, holder)) = self.core.confirmed_holder(record)? else {
                return Ok(self.claim(None));
            };
            let differing = self.call.differing(&record.borrowed())?;
            let decision = self.decide(&record, holder, !differing.is_empty());
            if !matches!(decision, Decision::Claim) {
                // Somebody else goes on with this call: whoever waits behind us looks for themselves.
                self.handoff = None;
            }
            match decision {
                Decision::Claim => return Ok(self.claim(Some(&record))),
                Decision::Rerun => {
                    return Ok(self.claim_again(&record, record.attempt.saturating_add(1), false));
                }
                Decision::Recover => return Ok(self.claim_again(&record, record.attempt, true)),
                Decision::Replay => return Ok(Step::Ready(self.ready(Err(record)))),
                Decision::Wait => {
                    if let Some(step) = self.wait(&record, holder)? {
                        return Ok(step);
                    }
                }
                Decision::RefuseMismatch => return Err(refusal::mismatch(&record, &differing)),
                Decision::RefuseReentrant => return Err(refusal::reentrant()),
                Decision::RefuseResultGone => return Err(refusal::result_gone(&record)),
                Decision::RefuseInDoubt | Decision::RefuseExhausted => {
                    let reason = self.note_doubt(&record).reason;
                    return Err(refusal::in_doubt(&record, reason, decision));
                }
            }
        }
    }

    /// Takes the writer's answer; `None` means that it did not come in time.
    pub(crate) fn on_reply(&mut self, reply: Option<Reply>) -> Result<Option<Ready>, Error> {
        match reply {
            Some(Reply::Granted(grant)) => {
                let claim =
                    Claim::of(grant, self.core).ok_or_else(|| Error::store("the claim was granted twice"))?;
                event::claimed(claim.record());
                Ok(Some(self.ready(Ok(claim))))
            }
            Some(Reply::Stands(standing)) => {
                self.known = Known::Found(standing.map(|standing| Arc::new(*standing)));
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
        event::waited(&self.call.name, self.call.key.as_str(), self.begun.elapsed().as_millis());
        self.handoff = completion.handoff;
        if let Some(record) = completion.record {
            self.known = Known::Found(Some(record));
        }
        Ok(())
    }

    fn decide(&self, record: &Record, holder: Holder, differs: bool) -> Decision {
        let view = View {
            status: record.status,
            holder,
            expired: self.core.expired(record),
            has_result: record.result.is_some(),
            attempt: record.attempt,
            differs,
            reentrant: self.call.is_reentrant(&self.core.store_id),
            waited: self.waited,
        };
        decide(view, self.mode)
    }

    /// Claims a new call, in the place of an expired one if there is one.
    fn claim(&mut self, expired: Option<&Record>) -> Step {
        let new = self.call.first_record(expired, self.core.owner, self.core.now());
        self.expired.extend(expired.map(|expired| expired.claim));
        self.recovering = false;
        let repeatable = matches!(self.mode, Mode::Interrupt(mode) if mode.may_repeat());
        self.send(self.call.claim_change(new, expired, self.expired.clone()), None, repeatable)
    }

    /// Claims an interrupted call: to run its body once more, or to run the recovery hook.
    fn claim_again(&mut self, record: &Record, attempt: u32, recovering: bool) -> Step {
        let now = self.core.now();
        let before = interrupted(record, self.core, now);
        let new = Record {
            status: Status::Running,
            claim: 0,
            owner: self.core.owner,
            attempt,
            fingerprint: self.call.fingerprint.encode(),
            at: now,
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

    fn send(&mut self, change: Change, before: Option<Record>, repeatable: bool) -> Step {
        let deadline = self.deadline.max(Instant::now() + CLAIM_WAIT_MIN);
        let mut request = Request::new(change, OnFailure::FailAfter(deadline), None);
        (request.before, request.handoff, request.repeatable) = (before, self.handoff.take(), repeatable);
        Step::Claim(claim::ask(self.core, request, self.caller), deadline)
    }

    /// A place among those who wait; `None` if the call has just ended and is to be read again.
    fn wait(&mut self, record: &Record, holder: Holder) -> Result<Option<Step>, Error> {
        self.unprovable = holder == Holder::Unknown;
        if Instant::now() >= self.deadline {
            return Err(self.wait_is_over());
        }
        let waiter = match holder {
            Holder::Here => self.core.in_flight.subscribe_local(record.claim),
            _ => Some(self.core.in_flight.subscribe_remote(record.claim)),
        };
        let rate = if holder == Holder::Here { PollRate::Slow } else { PollRate::Fast };
        Ok(waiter.map(|waiter| {
            self.core.watcher.poll(record.claim, record.slot, rate);
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
        let doubt = interrupted(record, self.core, self.core.now());
        if record.status == Status::Running {
            let expect = Expect::Exactly(record.claim, Status::Running);
            let change = Change { slot: record.slot, expect, new: Some(doubt.clone()) };
            let on_failure = OnFailure::FailAfter(Instant::now() + CLAIM_WAIT_MIN);
            let mut request = Request::new(change, on_failure, None);
            request.inside = crate::scope::context::is_in_call();
            self.core.queue.push(request);
        }
        doubt
    }
}

/// Whether a finished record of this age answers the call as it stands.
pub(crate) fn answers(call: &Prepared, mode: Mode, record: &RecordRef<'_>, age_ms: Option<i64>) -> bool {
    let Ok(differing) = call.differing(record) else { return false };
    let view = View {
        status: record.status,
        // Nobody holds what is finished, and a call that stands in its own body is not.
        holder: Holder::Nobody,
        reentrant: false,
        expired: Expired::of(record, age_ms),
        has_result: record.result.is_some(),
        attempt: record.attempt,
        differs: !differing.is_empty(),
        waited: false,
    };
    decide(view, mode) == Decision::Replay
}

/// An interrupted record as the record in doubt that it is.
fn interrupted(record: &Record, core: &Core, now: Stamp) -> Record {
    if record.status == Status::InDoubt {
        return record.clone();
    }
    let reason = if record.owner == core.owner { Reason::Dropped } else { record.reason_if_cut_off() };
    record.in_doubt(reason, now)
}
