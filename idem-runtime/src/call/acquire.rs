//! The acquisition of a claim or an answer: find the record, decide, then claim or wait, and repeat.
//!
//! The state machine never waits. [`crate::call::invocation`] performs its waits, blocking a thread or suspending a
//! task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::request::{Caller, Reply};
use crate::backend::{FindReply, Found, ReadFailure, Search};
use crate::call::claim::{CLAIM_WAIT_MIN, Claim};
use crate::call::prepared::Prepared;
use crate::call::refusal;
use crate::engine::Engine;
use crate::engine::state::{StoreState, not_read};
use crate::error::{Error, Ran};
use crate::event;
use crate::protocol::decide::{Decision, Holder, Mode, View, decide};
use crate::protocol::record::{Record, RecordRef, Status};
use crate::sync::deadline;
use crate::waiting::in_flight::{Completion, Turn, Waiter};
use crate::waiting::oneshot::OneShot;
use crate::waiting::watcher::PollRate;

mod write;

/// The next action of the caller. Every wait has a deadline.
#[derive(Debug)]
pub(crate) enum Step {
    /// Stop: the acquisition has ended.
    Ready(Ready),
    /// Wait for the backend, then call [`Acquisition::on_found`].
    Find(Arc<OneShot<FindReply>>, Instant),
    /// Wait for the writer, then call [`Acquisition::on_reply`].
    Claim(Arc<OneShot<Reply>>, Instant),
    /// Wait for the running call, then call [`Acquisition::on_completion`].
    Wait(Waiter, Instant),
}

/// The end of an acquisition without an error.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The claim under which the body runs, or the record that answers the call.
    pub(crate) claim: Result<Claim, Arc<Record>>,
    /// Whether the recovery hook runs before the body, because an earlier attempt was cut off.
    pub(crate) recover: bool,
    /// The time that the call waited for another call.
    pub(crate) waited: Duration,
}

/// The knowledge of an acquisition about the record of its call.
#[derive(Debug)]
pub(crate) enum Known {
    Nothing,
    /// The record as just read or reported. The holder is not known.
    Record(Arc<Record>),
    /// The record with its holder, or `None` if no record exists.
    Found(Option<Found>),
}

impl Known {
    /// The knowledge from a read, or from a reply of the writer.
    pub(crate) fn of(record: Option<Arc<Record>>) -> Known {
        record.map_or(Known::Found(None), Known::Record)
    }
}

/// Whether the call has waited for another one, and how the last wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    No,
    Yes,
    /// The recovery hook of the other caller answered, and left the call in doubt.
    ForAnswer,
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
    /// The claim that the writer granted.
    claimed: Option<Claim>,
    waited: Waited,
    /// Claims of this call whose records have expired, under its name and its earlier names.
    expired: Vec<u64>,
    /// Whether the call waits for an owner that is neither proven alive nor proven dead.
    unprovable: bool,
    /// Whether the last requested claim was for the recovery hook.
    recovering: bool,
    turn: Turn,
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
            deadline: deadline(call.options.wait),
            known,
            claimed: None,
            waited: Waited::No,
            expired: Vec::new(),
            unprovable: false,
            recovering: false,
            turn: Turn::default(),
        }
    }

    fn has_waited(&self) -> bool {
        self.waited != Waited::No
    }

    fn state(&self) -> &'a StoreState {
        &self.engine.state
    }

    fn ready(&self, claim: Result<Claim, Arc<Record>>) -> Ready {
        let waited = if self.has_waited() { self.started.elapsed() } else { Duration::ZERO };
        Ready { recover: claim.is_ok() && self.recovering, claim, waited }
    }

    /// Decides on the next action of the caller.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        if let Some(claim) = self.claimed.take() {
            return Ok(Step::Ready(self.ready(Ok(claim))));
        }
        loop {
            self.state().check_not_closed()?;
            let found = match std::mem::replace(&mut self.known, Known::Nothing) {
                Known::Nothing => return Ok(self.find(Search::Slots(self.call.slots().to_vec()))),
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

    /// Acts on the decision about a record. `None` if the record must be read again.
    fn step_from(&mut self, found: Found) -> Result<Option<Step>, Error> {
        let difference = self.call.difference(&found.record.borrowed())?;
        let decision = self.decide(&found, difference.is_some());
        if !matches!(decision, Decision::Claim | Decision::Wait) {
            // This call does not take the claim, so the waiters behind it read the record themselves.
            self.turn.handoff = None;
        }
        let Found { record, holder, .. } = found;
        Ok(Some(match decision {
            Decision::Claim => self.claim(Some(&record)),
            Decision::Rerun => self.claim_again(&record, record.attempt.saturating_add(1), false),
            Decision::Recover => self.claim_again(&record, record.attempt, true),
            Decision::Replay => Step::Ready(self.ready(Err(record))),
            Decision::Wait => return self.wait(&record, holder),
            Decision::RefuseMismatch => return Err(refusal::mismatch(&record, difference)),
            Decision::RefuseReentrant => return Err(refusal::reentrant()),
            Decision::RefuseResultGone => return Err(refusal::result_gone(&record)),
            Decision::RefuseInDoubt | Decision::RefuseExhausted => {
                let doubt = self.note_doubt(&record);
                let error = refusal::in_doubt(&record, doubt.reason, decision);
                let is_asked = matches!(self.mode, Mode::Recover);
                return Err(if is_asked { refusal::ask_again(error, self.state(), &doubt) } else { error });
            }
        }))
    }

    fn find(&self, search: Search) -> Step {
        Step::Find(self.state().ask(search), self.answer_by())
    }

    /// A record that is not running, and therefore has no holder.
    fn unheld(&self, record: Arc<Record>) -> Found {
        let age_ms = self.state().age_ms(&record.borrowed());
        Found { record, holder: Holder::Nobody, age_ms }
    }

    /// The deadline for an answer of the store.
    fn answer_by(&self) -> Instant {
        self.deadline.max(Instant::now() + CLAIM_WAIT_MIN)
    }

    /// Takes the answer of the backend, or `None` after the deadline.
    pub(crate) fn on_found(&mut self, found: Option<FindReply>) -> Result<(), Error> {
        let found = found.ok_or_else(not_read)?;
        self.known = Known::Found(found.map_err(ReadFailure::into_error)?);
        Ok(())
    }

    /// Takes the reply of the writer, or `None` after the deadline.
    pub(crate) fn on_reply(&mut self, reply: Option<Reply>) -> Result<(), Error> {
        match reply {
            Some(Reply::Granted(grant)) => {
                let claim = Claim::of(grant, self.engine);
                event::claimed(claim.record());
                self.claimed = Some(claim);
            }
            Some(Reply::Stands(standing)) => {
                self.known = Known::of(standing.map(|standing| Arc::new(*standing)));
            }
            Some(Reply::Failed(error)) => return Err(error.with_ran(Ran::No)),
            Some(Reply::Written) | None => return Err(self.state().backend.not_in_time("the claim")),
        }
        Ok(())
    }

    /// Takes the completion of the running call, or `None` after the deadline.
    pub(crate) fn on_completion(&mut self, completion: Option<Completion>) -> Result<(), Error> {
        self.waited = Waited::Yes;
        let Some(completion) = completion else { return Err(self.wait_timed_out()) };
        event::waited(&self.call.options.name, self.call.key.as_str(), self.started.elapsed().as_millis());
        self.turn.handoff = completion.handoff;
        if completion.is_answered {
            self.waited = Waited::ForAnswer;
        }
        match completion.record {
            Some(record) => self.known = Known::Record(record),
            // After a breakdown of the writer, no other completion follows.
            None => self.state().check_poison()?,
        }
        Ok(())
    }

    fn decide(&self, found: &Found, differs: bool) -> Decision {
        let view = View {
            reentrant: self.call.is_reentrant(&self.state().settings.store_id),
            waited: self.has_waited(),
            answered: self.waited == Waited::ForAnswer,
            ..View::of(&*found.record, found.holder, found.age_ms, differs)
        };
        decide(view, self.mode)
    }

    /// Subscribes to the running call. `None` if the call has just ended and its record must be read again.
    fn wait(&mut self, record: &Record, holder: Holder) -> Result<Option<Step>, Error> {
        self.unprovable = holder == Holder::Unknown;
        if Instant::now() >= self.deadline {
            return Err(self.wait_timed_out());
        }
        if self.unprovable {
            // The waiters behind this call must notice the state of the owner themselves.
            self.turn.handoff = None;
        }
        let in_flight = &self.state().in_flight;
        let waiter = match holder {
            Holder::Local => in_flight.subscribe_local(record.claim, &mut self.turn),
            _ => Some(in_flight.subscribe_remote(record.claim, &mut self.turn)),
        };
        let rate = if holder == Holder::Local { PollRate::Slow } else { PollRate::Fast };
        Ok(waiter.map(|waiter| {
            self.state().watcher.poll(record.claim, record.slot, rate);
            Step::Wait(waiter, self.deadline)
        }))
    }

    fn wait_timed_out(&self) -> Error {
        if self.unprovable {
            refusal::unprovable(self.call.options.wait)
        } else {
            refusal::still_running(self.call.options.wait)
        }
    }
}

/// Whether a finished record of this age answers the call without further reads.
pub(crate) fn answers(call: &Prepared, mode: Mode, record: &RecordRef<'_>, age_ms: Option<i64>) -> bool {
    let Ok(difference) = call.difference(record) else { return false };
    // A finished record has no holder, and a call inside its own body has no finished record.
    let view = View::of(record, Holder::Nobody, age_ms, difference.is_some());
    decide(view, mode) == Decision::Replay
}

#[cfg(test)]
mod tests;
