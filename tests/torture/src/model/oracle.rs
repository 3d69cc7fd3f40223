//! The contract as an oracle in memory.

use super::{Body, Make, Mode};

/// Everything that must have occurred.
pub(super) const TRANSITIONS: &[&str] = &[
    "op call",
    "op crash",
    "op clock step",
    "op reopen",
    "op purge",
    "op steal",
    "op forget",
    "op settle",
    "op record_done",
    "absent to done",
    "absent to released",
    "absent to failed",
    "in doubt by Err",
    "in doubt by panic",
    "in doubt by a dropped future",
    "released by a drop before the first poll",
    "in doubt by a dead process",
    "stolen and accepted late",
    "stolen, settled and fenced",
    "stolen, run elsewhere and fenced",
    "stolen, cut off elsewhere and fenced",
    "in doubt, refused",
    "in doubt, run again",
    "attempts exhausted",
    "recovered as done",
    "recovered as not done",
    "recovered as unknown",
    "settled as done",
    "settled without a result",
    "settled as not done",
    "a value replayed",
    "an error replayed",
    "result gone",
    "result over",
    "record expired, claimed again",
    "mismatch",
    "forgotten",
    "purged",
    "recorded as done",
    "recorded over nothing: refused",
];

/// A defect of the oracle, as a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Contract,
    /// A panic counts as not done.
    PanicIsFree,
    /// A dead process's call counts as not done.
    CrashIsFree,
    /// A stolen call may still write its outcome after it was settled.
    LateAlwaysCounts,
    /// Results are kept as long as their records.
    ResultsLive,
}

impl Trust {
    pub(super) const DEFECTS: [Trust; 4] =
        [Trust::PanicIsFree, Trust::CrashIsFree, Trust::LateAlwaysCounts, Trust::ResultsLive];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Value(u32),
    /// The body's own error.
    Own(u32),
    /// An error of the store, by its kind.
    Ours(&'static str),
    Panicked,
    Dropped,
}

#[derive(Clone, Debug)]
enum State {
    InDoubt,
    Done(Option<u32>),
    Failed(Option<u32>),
}

#[derive(Clone, Debug)]
struct Rec {
    state: State,
    /// The attempts that did not return: the others do not count towards a limit.
    attempt: u32,
    /// Nothing is compared with a record that was brought in.
    arg: Option<u8>,
    at_min: u64,
    ttl_min: Option<u16>,
    keep_min: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Oracle {
    records: Vec<Option<Rec>>,
    pub(super) now_min: u64,
    trust: Trust,
    pub(super) seen: Vec<&'static str>,
}

impl Oracle {
    pub(super) fn new(trust: Trust) -> Oracle {
        Oracle { records: vec![None; usize::from(super::KEYS)], now_min: 0, trust, seen: Vec::new() }
    }

    fn saw(&mut self, what: &'static str) {
        debug_assert!(TRANSITIONS.contains(&what), "{what}");
        self.seen.push(what);
    }

    fn rec(&mut self, key: u8) -> &mut Option<Rec> {
        &mut self.records[usize::from(key)]
    }

    pub(super) fn is_in_doubt(&self, key: u8) -> bool {
        self.records[usize::from(key)].as_ref().is_some_and(|rec| matches!(rec.state, State::InDoubt))
    }

    /// Its record counts as absent, and may be gone at any moment: the store purges as it writes.
    pub(super) fn is_expired(&self, key: u8) -> bool {
        self.records[usize::from(key)].as_ref().is_some_and(|rec| self.is_over(rec, rec.ttl_min))
    }

    fn is_over(&self, rec: &Rec, lifetime: Option<u16>) -> bool {
        let finished = !matches!(rec.state, State::InDoubt);
        finished && lifetime.is_some_and(|minutes| self.now_min - rec.at_min >= u64::from(minutes))
    }

    /// Makes the call; `value` is what its body gives.
    pub(super) fn make(&mut self, make: &Make, value: u32) -> Answer {
        let Some(rec) = self.rec(make.key).clone() else { return self.run(make, value, 1) };
        if self.is_over(&rec, rec.ttl_min) {
            self.saw("record expired, claimed again");
            return self.run(make, value, 1);
        }
        if rec.arg.is_some_and(|arg| arg != make.arg) {
            self.saw("mismatch");
            return Answer::Ours("Mismatch");
        }
        let over = self.is_over(&rec, rec.keep_min) && self.trust != Trust::ResultsLive;
        match rec.state {
            State::InDoubt => self.interrupted(make, value, rec.attempt),
            State::Done(Some(_)) | State::Failed(Some(_)) if over => {
                self.saw("result over");
                Answer::Ours("ResultGone")
            }
            State::Done(None) | State::Failed(None) => {
                self.saw("result gone");
                Answer::Ours("ResultGone")
            }
            State::Done(Some(value)) => {
                self.saw("a value replayed");
                Answer::Value(value)
            }
            State::Failed(Some(value)) => {
                self.saw("an error replayed");
                Answer::Own(value)
            }
        }
    }

    fn interrupted(&mut self, make: &Make, value: u32, attempt: u32) -> Answer {
        match make.mode {
            Mode::Refuse => {
                self.saw("in doubt, refused");
                Answer::Ours("InDoubt")
            }
            Mode::RerunTwice if attempt >= 2 => {
                // Only at the limit does it tell whether the limit is the right one.
                if attempt == 2 {
                    self.saw("attempts exhausted");
                }
                Answer::Ours("InDoubt")
            }
            Mode::Rerun | Mode::RerunTwice => {
                self.saw("in doubt, run again");
                self.run(make, value, attempt + 1)
            }
            Mode::RecoverUnknown => {
                self.saw("recovered as unknown");
                if let Some(rec) = self.rec(make.key) {
                    (rec.ttl_min, rec.keep_min, rec.arg) = (make.ttl_min, make.keep_min, Some(make.arg));
                }
                Answer::Ours("InDoubt")
            }
            Mode::RecoverDone => {
                self.saw("recovered as done");
                let kept = (make.keep_min != Some(0)).then_some(value);
                self.put(make, State::Done(kept), attempt);
                Answer::Value(value)
            }
            Mode::RecoverNotDone => {
                self.saw("recovered as not done");
                self.run(make, value, attempt + 1)
            }
        }
    }

    fn put(&mut self, make: &Make, state: State, attempt: u32) {
        let at_min = self.now_min;
        let Make { key, arg, ttl_min, keep_min, .. } = *make;
        *self.rec(key) = Some(Rec { state, attempt, arg: Some(arg), at_min, ttl_min, keep_min });
    }

    fn run(&mut self, make: &Make, value: u32, attempt: u32) -> Answer {
        let kept = (make.keep_min != Some(0)).then_some(value);
        match make.body {
            Body::Ok => {
                self.saw("absent to done");
                self.put(make, State::Done(kept), attempt);
                Answer::Value(value)
            }
            Body::Release => {
                self.saw("absent to released");
                *self.rec(make.key) = None;
                Answer::Own(value)
            }
            Body::Remember => {
                self.saw("absent to failed");
                self.put(make, State::Failed(kept), attempt);
                Answer::Own(value)
            }
            Body::InDoubt => self.doubt(make, attempt - 1, "in doubt by Err", Answer::Own(value)),
            Body::Panic if self.trust == Trust::PanicIsFree => {
                *self.rec(make.key) = None;
                Answer::Panicked
            }
            Body::Panic => self.doubt(make, attempt, "in doubt by panic", Answer::Panicked),
            Body::DropBefore => {
                // What was in doubt before is in doubt again.
                self.saw("released by a drop before the first poll");
                Answer::Dropped
            }
            Body::DropDuring => self.doubt(make, attempt, "in doubt by a dropped future", Answer::Dropped),
            Body::Stolen => {
                self.saw("stolen and accepted late");
                self.put(make, State::Done(kept), attempt);
                Answer::Value(value)
            }
            _ if self.trust == Trust::LateAlwaysCounts => {
                self.put(make, State::Done(kept), attempt);
                Answer::Value(value)
            }
            Body::StolenSettledDone => {
                self.saw("stolen, settled and fenced");
                self.put(make, State::Done(None), attempt);
                Answer::Ours("Fenced")
            }
            Body::StolenSettledNotDone => {
                self.saw("stolen, settled and fenced");
                *self.rec(make.key) = None;
                Answer::Ours("Fenced")
            }
            Body::StolenRunElsewhere => {
                self.saw("stolen, run elsewhere and fenced");
                self.put(
                    make,
                    State::Done((make.keep_min != Some(0)).then_some(value + 1_000_000)),
                    attempt + 1,
                );
                Answer::Ours("Fenced")
            }
            Body::StolenCutOffElsewhere => {
                let what = "stolen, cut off elsewhere and fenced";
                self.doubt(make, attempt + 1, what, Answer::Ours("Fenced"))
            }
        }
    }

    fn doubt(&mut self, make: &Make, attempt: u32, how: &'static str, answer: Answer) -> Answer {
        self.saw(how);
        self.put(make, State::InDoubt, attempt);
        answer
    }

    /// A child made the call with `rerun`, without a limit, and died in its body.
    pub(super) fn crash(&mut self, key: u8) {
        let rec = self.rec(key).clone();
        let fresh = rec.as_ref().is_none_or(|rec| self.is_over(rec, rec.ttl_min));
        let attempt = match &rec {
            _ if fresh => 1,
            Some(Rec { state: State::InDoubt, attempt, arg, .. }) if arg.is_none_or(|arg| arg == 0) => {
                attempt + 1
            }
            _ => return,
        };
        if self.trust == Trust::CrashIsFree {
            *self.rec(key) = None;
            return;
        }
        self.saw("in doubt by a dead process");
        let make = Make { key, arg: 0, mode: Mode::Rerun, body: Body::Ok, ttl_min: None, keep_min: None };
        self.put(&make, State::InDoubt, attempt);
    }

    pub(super) fn purge(&mut self) {
        for n in 0..self.records.len() {
            let Some(rec) = self.records[n].clone() else { continue };
            let result_over = matches!(rec.state, State::Done(Some(_)) | State::Failed(Some(_)))
                && self.is_over(&rec, rec.keep_min);
            if self.is_over(&rec, rec.ttl_min) {
                self.saw("purged");
                self.records[n] = None;
            } else if result_over && self.trust == Trust::Contract {
                self.saw("purged");
                let state =
                    if matches!(rec.state, State::Done(_)) { State::Done(None) } else { State::Failed(None) };
                self.records[n] = Some(Rec { state, ..rec });
            }
        }
    }

    /// True if there was a record.
    pub(super) fn forget(&mut self, key: u8) -> bool {
        let had = self.rec(key).take().is_some();
        if had {
            self.saw("forgotten");
        }
        had
    }

    /// Whether the call was in doubt, and so is settled now; `Err` is not done.
    pub(super) fn settle(&mut self, key: u8, verdict: Result<Option<u32>, ()>) -> bool {
        let now_min = self.now_min;
        let Some(rec) = self.rec(key).as_mut().filter(|rec| matches!(rec.state, State::InDoubt)) else {
            return false;
        };
        if let Ok(result) = verdict {
            (rec.state, rec.at_min) = (State::Done(result), now_min);
            self.saw(if result.is_some() { "settled as done" } else { "settled without a result" });
        } else {
            *self.rec(key) = None;
            self.saw("settled as not done");
        }
        true
    }

    pub(super) fn record_done(&mut self, key: u8, value: u32) -> bool {
        if self.rec(key).is_some() {
            self.saw("recorded over nothing: refused");
            return false;
        }
        self.saw("recorded as done");
        let at_min = self.now_min;
        *self.rec(key) = Some(Rec {
            state: State::Done(Some(value)),
            attempt: 1,
            arg: None,
            at_min,
            ttl_min: None,
            keep_min: None,
        });
        true
    }
}
