//! From a prepared call to an answer or a claim: read, decide, wait, claim, and again until it is settled.
//!
//! The state machine does no waiting itself; [`crate::run`] blocks a thread at its waits and [`crate::run_async`]
//! awaits, in the same steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::Prepared;
use crate::claim::{self, Claim};
use crate::core::Core;
use crate::decide::{Decision, Holder, Mode, View, decide};
use crate::error::{Error, ErrorKind, Ran};
use crate::event;
use crate::fingerprint::Fingerprint;
use crate::flight::{Baton, Landing, Waiter};
use crate::queries::{Change, Expect};
use crate::queue::{Request, Urgency};
use crate::record::{Reason, Record, Status};
use crate::signal::Signal;
use crate::watch::Pace;
use crate::writer::Reply;

/// A claim waits for the store as long as the call waits for a duplicate, and at least this long.
const CLAIM_WAIT_MIN: Duration = Duration::from_secs(5);
/// When to ask again after a call that is still running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the caller has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The record answers.
    Answer(Box<Record>),
    /// Wait for the writer, then tell [`Negotiation::answered`].
    Claim(Arc<Signal<Reply>>, Instant),
    /// Wait for the running call, then tell [`Negotiation::landed`].
    Wait(Waiter, Instant),
}

/// How the negotiation ends, short of an error.
#[derive(Debug)]
pub(crate) enum Ready {
    Answer(Box<Record>),
    Run(Claimed),
}

/// A claim, and whether its recovery hook is to be run first.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) claim: Claim,
    pub(crate) recover: bool,
}

/// What is known of the record.
#[derive(Debug)]
enum Known {
    /// Nothing: read it.
    Nothing,
    /// What the writer or a landing said.
    Found(Option<Box<Record>>),
}

#[derive(Debug)]
pub(crate) struct Negotiation<'a> {
    call: &'a Prepared,
    core: &'a Arc<Core>,
    mode: Mode,
    begun: Instant,
    deadline: Instant,
    known: Known,
    waited: bool,
    /// The last claim asked for was to recover.
    recovering: bool,
    /// Others who wait behind this call.
    baton: Option<Baton>,
}

impl<'a> Negotiation<'a> {
    pub(crate) fn new(call: &'a Prepared, mode: Mode) -> Negotiation<'a> {
        let begun = Instant::now();
        // A wait too long for the clock is as good as a year.
        let deadline = begun.checked_add(call.wait).unwrap_or_else(|| begun + Duration::from_secs(31_536_000));
        Negotiation {
            call,
            core: &call.store.inner.core,
            mode,
            begun,
            deadline,
            known: Known::Nothing,
            waited: false,
            recovering: false,
            baton: None,
        }
    }

    /// How long it waited for another call.
    pub(crate) fn waited(&self) -> Duration {
        if self.waited { self.begun.elapsed() } else { Duration::ZERO }
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        loop {
            let record = match std::mem::replace(&mut self.known, Known::Nothing) {
                Known::Nothing => self.core.read(&self.call.slots)?.map(Box::new),
                Known::Found(record) => record,
            };
            let Some(record) = record else { return Ok(self.claim(None)) };
            let (record, holder) = self.core.confirmed_holder(*record)?;
            let decision = self.decide(&record, holder)?;
            if !matches!(decision, Decision::Claim) {
                // Somebody else goes on with this call: whoever waits behind us looks for themselves.
                self.baton = None;
            }
            match decision {
                Decision::Claim => return Ok(self.claim(Some(&record))),
                Decision::Rerun => return Ok(self.claim_again(&record, record.attempt.saturating_add(1), false)),
                Decision::Recover => return Ok(self.claim_again(&record, record.attempt, true)),
                Decision::Replay => return Ok(Step::Answer(Box::new(record))),
                Decision::Wait => {
                    if let Some(step) = self.wait(&record, holder)? {
                        return Ok(step);
                    }
                }
                refusal => return Err(self.refuse(&record, refusal)),
            }
        }
    }

    /// Takes the writer's answer; `None` means that it did not come in time.
    pub(crate) fn answered(&mut self, reply: Option<Reply>) -> Result<Option<Claimed>, Error> {
        match reply {
            Some(Reply::Claimed(claim)) => {
                event::claimed(claim.record());
                Ok(Some(Claimed { claim, recover: self.recovering }))
            }
            Some(Reply::Stands(standing)) => {
                self.known = Known::Found(standing);
                Ok(None)
            }
            Some(Reply::Failed(error)) => Err(error.with_ran(Ran::No)),
            Some(Reply::Written) | None => Err(Error::store(
                "the call could not be claimed in time: the store's write lock is held by another program, or the disk \
                 is slow. The body was not run; retry",
            )),
        }
    }

    /// Takes the end of the call that was waited for; `None` means that it still runs.
    pub(crate) fn landed(&mut self, landing: Option<Landing>) -> Result<(), Error> {
        self.waited = true;
        let Some(landing) = landing else { return Err(still_running(self.call.wait)) };
        event::waited(&self.call.name, self.call.key.as_str(), self.begun.elapsed().as_millis());
        self.baton = landing.baton;
        if let Some(record) = landing.record {
            self.known = Known::Found(Some(Box::new(Record::clone(&record))));
        }
        Ok(())
    }

    fn decide(&self, record: &Record, holder: Holder) -> Result<Decision, Error> {
        self.check_identity(record)?;
        let stored = Fingerprint::decode(&record.fingerprint).map_err(|malformed| {
            Error::store(format!("the record is damaged ({malformed}); its body was not run"))
        })?;
        let view = View {
            status: record.status,
            holder,
            lapsed: self.core.lapsed(record),
            has_result: record.result.is_some(),
            attempt: record.attempt,
            differs: !self.call.fingerprint.differing(&stored).is_empty(),
            reentrant: self.call.is_reentrant(),
            waited: self.waited,
        };
        Ok(decide(view, self.mode))
    }

    /// The slot is a digest: what stands there must be this call.
    fn check_identity(&self, record: &Record) -> Result<(), Error> {
        let named = record.name == self.call.name || self.call.was.contains(&record.name.as_str());
        if named && record.key == self.call.key.as_str() {
            return Ok(());
        }
        Err(Error::store("another call's record stands in this one's place; its body was not run. Report this"))
    }

    /// Claims a new call, in the place of an expired one if there is one.
    fn claim(&mut self, expired: Option<&Record>) -> Step {
        let (slot, name) = match (expired, self.call.slots.first()) {
            (Some(expired), _) => (expired.slot, expired.name.clone()),
            (None, slot) => (slot.copied().unwrap_or_default(), self.call.name.to_string()),
        };
        let new = Record {
            slot,
            name,
            key: self.call.key.as_str().to_owned(),
            status: Status::Running,
            claim: 0,
            owner: self.core.owner,
            attempt: 1,
            fingerprint: self.call.fingerprint.encode(),
            at: self.core.now(),
            reason: None,
            doubt_since: None,
            ttl: self.call.ttl,
            keep_result: self.call.keep_result,
            result: None,
            purge_ms: None,
        };
        let nor_in = self.call.slots.iter().copied().filter(|other| *other != slot).collect();
        let expect = Expect::Free { over: expired.map(|expired| expired.claim), nor_in };
        self.recovering = false;
        self.send(Change { slot, expect, new: Some(new) }, None)
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
            ttl: self.call.ttl,
            keep_result: self.call.keep_result,
            ..before.clone()
        };
        let expect = Expect::Exactly(record.claim, record.status);
        self.recovering = recovering;
        self.send(Change { slot: record.slot, expect, new: Some(new) }, Some(before))
    }

    fn send(&mut self, change: Change, before: Option<Record>) -> Step {
        let deadline = self.deadline.max(Instant::now() + CLAIM_WAIT_MIN);
        let reply = claim::request(self.core, change, before, self.baton.take(), deadline);
        Step::Claim(reply, deadline)
    }

    /// A place among those who wait; `None` if the call has just ended and is to be read again.
    fn wait(&self, record: &Record, holder: Holder) -> Result<Option<Step>, Error> {
        if Instant::now() >= self.deadline {
            return Err(match holder {
                Holder::Unknown => unprovable(self.call.wait),
                _ => still_running(self.call.wait),
            });
        }
        let waiter = match holder {
            Holder::Here => self.core.flights.join_here(record.claim),
            _ => Some(self.core.flights.join_elsewhere(record.claim)),
        };
        let pace = if holder == Holder::Here { Pace::Loose } else { Pace::Close };
        Ok(waiter.map(|waiter| {
            self.core.watch.watch(record.claim, record.slot, pace);
            Step::Wait(waiter, self.deadline)
        }))
    }

    fn refuse(&self, record: &Record, decision: Decision) -> Error {
        match decision {
            Decision::RefuseMismatch => self.mismatch(record),
            Decision::RefuseReentrant => Error::new(
                ErrorKind::Reentrant,
                Ran::No,
                "the call reached itself with the same key; it would wait for itself for ever. Give the inner call \
                 another key",
            ),
            Decision::RefuseResultGone => {
                let why = record.reason.map_or("`keep_result` is over", Reason::text);
                Error::new(
                    ErrorKind::ResultGone,
                    Ran::No,
                    format!("it is done (attempt {}); its result is gone: {why}. Nothing was repeated", record.attempt),
                )
            }
            _ => self.in_doubt(record, decision),
        }
    }

    fn mismatch(&self, record: &Record) -> Error {
        let stored = Fingerprint::decode(&record.fingerprint);
        let differing = stored.map(|stored| self.call.fingerprint.differing(&stored)).unwrap_or_default();
        event::mismatch(record, &differing);
        let names = differing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Error::new(
            ErrorKind::Mismatch,
            Ran::No,
            format!(
                "the key was used before with other arguments: {names} differs, or its type changed. The body was not \
                 run. Use a key that tells the two calls apart, or say what to compare with `fingerprint = …` or \
                 `skip(…)`"
            ),
        )
    }

    fn in_doubt(&self, record: &Record, decision: Decision) -> Error {
        let doubt = self.note_doubt(record);
        let reason = doubt.reason.map_or("it was cut off", Reason::text);
        event::in_doubt(record, reason);
        let attempt = record.attempt;
        let (spent, cure) = match (decision, doubt.reason) {
            (Decision::RefuseExhausted, _) => (
                "; no further attempt is allowed",
                "To settle it see `settle`; to allow more attempts see `on_interrupt = rerun(n)`",
            ),
            (_, Some(Reason::Dropped)) => (
                "",
                "To let the body finish next time add `detach`; to settle this one see `settle`; if repeating is safe, \
                 use `on_interrupt = rerun`",
            ),
            _ => ("", "To settle it see `settle`; if repeating is safe, use `on_interrupt = rerun`"),
        };
        Error::new(
            ErrorKind::InDoubt,
            Ran::Unknown,
            format!("it is in doubt: {reason} (attempt {attempt}){spent}. Nothing was repeated. {cure}"),
        )
    }

    /// Records when the doubt was first noticed. Whether it succeeds does not matter: the next caller does it.
    fn note_doubt(&self, record: &Record) -> Record {
        let doubt = interrupted(record, self.core, self.core.now());
        if record.status == Status::Running {
            let expect = Expect::Exactly(record.claim, Status::Running);
            let change = Change { slot: record.slot, expect, new: Some(doubt.clone()) };
            let urgency = Urgency::Until(Instant::now() + CLAIM_WAIT_MIN);
            self.core.queue.push(Request { change, before: None, baton: None, urgency, reply: None });
        }
        doubt
    }
}

/// An interrupted record as the record in doubt that it is.
fn interrupted(record: &Record, core: &Core, now: crate::timeline::Stamp) -> Record {
    if record.status == Status::InDoubt {
        return record.clone();
    }
    let reason = if record.owner == core.owner { Reason::Dropped } else { Reason::OwnerDied };
    record.in_doubt(reason, now)
}

fn still_running(wait: Duration) -> Error {
    let message = format!("the same call is running and did not end within {wait:?}; this one was not run. Retry later");
    Error::new(ErrorKind::Running, Ran::No, message).after(RETRY_AFTER)
}

fn unprovable(wait: Duration) -> Error {
    let message = format!(
        "the same call runs in a program of which nothing can be proven (its lock file is missing, or it is in another \
         container), and it did not end within {wait:?}; this one was not run. If you know that program to be dead, take \
         the call from it with `Store::steal`"
    );
    Error::new(ErrorKind::Running, Ran::No, message).after(RETRY_AFTER)
}
