//! The decision of a call about the record that it found. A pure match: no I/O, no clock, no SQL.
//!
//! A duplicate is checked in this order: other arguments, in doubt, re-entrant, running, finished.

use crate::policy::OnInterrupt;
use crate::protocol::record::{RecordOf, Status};

/// The holder of a running record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// An in-flight call of this process.
    Local,
    /// The record names this open store or no owner, and no in-flight call has the claim. A running call was cut off.
    Nobody,
    /// Another owner, whose kernel lock proves it alive.
    Alive,
    /// Another owner, proven dead.
    Dead,
    /// Another owner. Nothing proves it alive or dead.
    Unknown,
}

impl Holder {
    /// Whether the call certainly does not run any more.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Holder::Dead | Holder::Nobody)
    }
}

/// The lifetimes of a finished record that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    No,
    Result,
    Record,
}

impl Expired {
    /// The lifetimes that are over at this age. At an unknown age no lifetime is over.
    pub(crate) fn of<T, B: AsRef<[u8]>>(record: &RecordOf<T, B>, age_ms: Option<i64>) -> Expired {
        if !record.status.is_finished() {
            Expired::No
        } else if record.ttl.is_over(age_ms) {
            Expired::Record
        } else if record.keep_result.is_over(age_ms) {
            Expired::Result
        } else {
            Expired::No
        }
    }
}

/// The facts about a record and its caller that a decision needs.
#[expect(clippy::struct_excessive_bools, reason = "the facts are independent, and the match names each")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) holder: Holder,
    pub(crate) expired: Expired,
    /// Whether the record holds a result or an error.
    pub(crate) has_result: bool,
    /// The number of attempts whose body did not return.
    pub(crate) unreturned: u32,
    /// Whether the arguments of the caller differ from those of the record.
    pub(crate) differs: bool,
    /// Whether the call is made inside its own body.
    pub(crate) reentrant: bool,
    /// Whether the caller waited for the end of the call. A caller that waited gets the outcome, also after the
    /// lifetimes.
    pub(crate) waited: bool,
    /// Whether the recovery hook answered while the caller waited, and left the call in doubt. The answer serves the
    /// caller too.
    pub(crate) answered: bool,
}

impl View {
    /// The view of a caller that has not waited and is not inside the body of the call.
    pub(crate) fn of<T, B: AsRef<[u8]>>(
        record: &RecordOf<T, B>,
        holder: Holder,
        age_ms: Option<i64>,
        differs: bool,
    ) -> View {
        View {
            status: record.status,
            holder,
            expired: Expired::of(record, age_ms),
            has_result: record.result.is_some(),
            unreturned: record.attempt.saturating_sub(record.returned),
            differs,
            reentrant: false,
            waited: false,
            answered: false,
        }
    }
}

/// What stands in a slot for somebody who asks now: a caller or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The record has expired and counts as absent. Only a finished record expires.
    Absent,
    Running,
    /// The call was cut off, or is recorded as in doubt.
    InDoubt,
    Finished,
}

impl View {
    pub(crate) fn standing(self) -> Standing {
        match (self.status, self.holder) {
            (Status::InDoubt, _) | (Status::Running, Holder::Dead | Holder::Nobody) => Standing::InDoubt,
            (Status::Running, Holder::Local | Holder::Alive | Holder::Unknown) => Standing::Running,
            (Status::Done | Status::Failed, _) if self.expired == Expired::Record && !self.waited => {
                Standing::Absent
            }
            (Status::Done | Status::Failed, _) => Standing::Finished,
        }
    }
}

/// The mode of the caller for an interrupted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Interrupt(OnInterrupt),
    /// The caller has a recovery hook.
    Recover,
}

/// The next step of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Claim the call as a new one.
    Claim,
    /// Claim the call and run the body as the next attempt.
    Rerun,
    /// Claim the call and run the recovery hook.
    Recover,
    /// Answer with the recorded result or error.
    Replay,
    /// Wait for the end of the running call.
    Wait,
    RefuseMismatch,
    RefuseInDoubt,
    /// As many attempts were started as `rerun(n)` allows.
    RefuseExhausted,
    RefuseReentrant,
    RefuseResultGone,
}

/// The decision about a found record. If there is no record, the call claims.
pub(crate) fn decide(view: View, mode: Mode) -> Decision {
    match view.standing() {
        Standing::Absent => Decision::Claim,
        _ if view.differs => Decision::RefuseMismatch,
        Standing::InDoubt => interrupted(view, mode),
        Standing::Running if view.reentrant => Decision::RefuseReentrant,
        Standing::Running => Decision::Wait,
        Standing::Finished if !view.has_result => Decision::RefuseResultGone,
        Standing::Finished if view.expired != Expired::No && !view.waited => Decision::RefuseResultGone,
        Standing::Finished => Decision::Replay,
    }
}

/// The limit of `rerun` protects from bodies that end their process, so an attempt that returned does not count.
fn interrupted(view: View, mode: Mode) -> Decision {
    match mode {
        Mode::Recover if view.answered => Decision::RefuseInDoubt,
        Mode::Recover => Decision::Recover,
        Mode::Interrupt(OnInterrupt::Refuse) => Decision::RefuseInDoubt,
        Mode::Interrupt(OnInterrupt::Rerun { attempts_max: Some(max) })
            if view.unreturned >= max || max <= 1 =>
        {
            Decision::RefuseExhausted
        }
        Mode::Interrupt(OnInterrupt::Rerun { .. }) => Decision::Rerun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [Status; 4] = [Status::Running, Status::InDoubt, Status::Done, Status::Failed];
    const HOLDERS: [Holder; 5] =
        [Holder::Local, Holder::Nobody, Holder::Alive, Holder::Dead, Holder::Unknown];
    const EXPIRED: [Expired; 3] = [Expired::No, Expired::Result, Expired::Record];
    const MODES: [Mode; 5] = [
        Mode::Interrupt(OnInterrupt::Refuse),
        Mode::Interrupt(OnInterrupt::rerun_at_most(1)),
        Mode::Interrupt(OnInterrupt::rerun_at_most(2)),
        Mode::Interrupt(OnInterrupt::rerun_unlimited()),
        Mode::Recover,
    ];

    /// Checks every combination of a view and a mode.
    fn for_all(mut check: impl FnMut(View, Mode, Decision)) {
        let bools = [false, true];
        for mode in MODES {
            for status in STATUSES {
                for holder in HOLDERS {
                    for expired in EXPIRED {
                        for bits in 0..32_usize {
                            for unreturned in [0, 1, 2] {
                                let view = View {
                                    status,
                                    holder,
                                    expired,
                                    unreturned,
                                    has_result: bools[bits & 1],
                                    differs: bools[bits >> 1 & 1],
                                    reentrant: bools[bits >> 2 & 1],
                                    waited: bools[bits >> 3 & 1],
                                    answered: bools[bits >> 4 & 1],
                                };
                                check(view, mode, decide(view, mode));
                            }
                        }
                    }
                }
            }
        }
    }

    fn cut_off(view: View) -> bool {
        view.status == Status::InDoubt
            || view.status == Status::Running && matches!(view.holder, Holder::Dead | Holder::Nobody)
    }

    #[test]
    fn the_body_runs_only_for_an_expired_record_or_by_the_callers_mode() {
        for_all(|view, mode, decision| match decision {
            Decision::Claim => {
                assert!(view.status.is_finished() && view.expired == Expired::Record && !view.waited);
            }
            Decision::Rerun => {
                assert!(
                    cut_off(view)
                        && !view.differs
                        && matches!(mode, Mode::Interrupt(OnInterrupt::Rerun { .. }))
                );
            }
            Decision::Recover => {
                assert!(cut_off(view) && !view.differs && !view.answered && mode == Mode::Recover);
            }
            _ => {}
        });
    }

    #[test]
    fn a_live_or_unprovable_owner_is_never_taken_over() {
        for_all(|view, _, decision| {
            let held = matches!(view.holder, Holder::Local | Holder::Alive | Holder::Unknown);
            if view.status == Status::Running && held {
                assert!(matches!(
                    decision,
                    Decision::Wait | Decision::RefuseMismatch | Decision::RefuseReentrant
                ));
            }
        });
    }

    #[test]
    fn other_arguments_are_refused_before_anything_else() {
        for_all(|view, _, decision| {
            if view.differs && decision != Decision::Claim {
                assert_eq!(decision, Decision::RefuseMismatch);
            }
        });
    }

    #[test]
    fn refuse_never_repeats_and_rerun_stops_at_its_limit() {
        for_all(|view, mode, decision| {
            if !cut_off(view) || view.differs {
                return;
            }
            let expected = match mode {
                Mode::Interrupt(OnInterrupt::Refuse) => Decision::RefuseInDoubt,
                Mode::Interrupt(OnInterrupt::Rerun { attempts_max: Some(max) })
                    if view.unreturned >= max || max <= 1 =>
                {
                    Decision::RefuseExhausted
                }
                Mode::Interrupt(OnInterrupt::Rerun { .. }) => Decision::Rerun,
                Mode::Recover if view.answered => Decision::RefuseInDoubt,
                Mode::Recover => Decision::Recover,
            };
            assert_eq!(decision, expected);
        });
    }

    #[test]
    fn a_replay_needs_a_finished_record_with_a_result_that_is_kept_or_was_waited_for() {
        for_all(|view, _, decision| {
            if decision == Decision::Replay {
                assert!(view.status.is_finished() && view.has_result && !view.differs);
                assert!(view.expired == Expired::No || view.waited);
            }
        });
    }

    #[test]
    fn what_runs_or_is_in_doubt_never_ends_by_age() {
        for_all(|view, _, decision| {
            if !view.status.is_finished() {
                assert_ne!(decision, Decision::Claim);
            }
        });
    }
}
