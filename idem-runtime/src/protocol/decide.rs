//! What a call does about the record it found. A pure match: no I/O, no clock, no `SQLite`.
//!
//! This is where the promise is read off the page. Order for a duplicate: other arguments, in doubt, itself,
//! running, replay.

use crate::policy::OnInterrupt;
use crate::protocol::record::{RecordOf, Status};

/// Who holds a running record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A call in this process that is known here.
    Local,
    /// Claimed by this process's owner, but no call here knows of it: it was cut off.
    Nobody,
    /// Another owner, proven alive by its kernel lock.
    Alive,
    /// Another owner, proven dead.
    Dead,
    /// Another owner of which nothing can be proven.
    Unknown,
}

impl Holder {
    /// Whether the call is certainly not running any more.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Holder::Dead | Holder::Nobody)
    }
}

/// Which lifetimes of a finished record are over.
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

/// Everything about a record that a decision needs.
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts, and the match names each")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) holder: Holder,
    pub(crate) expired: Expired,
    /// Whether its result is stored at all.
    pub(crate) has_result: bool,
    pub(crate) attempt: u32,
    /// The arguments differ from those of the record.
    pub(crate) differs: bool,
    /// The call stands on its own call stack.
    pub(crate) reentrant: bool,
    /// This caller waited for the call to end: it gets the outcome, whatever the lifetimes say by then.
    pub(crate) waited: bool,
}

impl View {
    /// The view of a caller that has not waited and whose call stack does not hold the call.
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
            attempt: record.attempt,
            differs,
            reentrant: false,
            waited: false,
        }
    }
}

/// How the caller wants an interrupted call handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Interrupt(OnInterrupt),
    /// The caller has a recovery hook.
    Recover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Claim it as a new call.
    Claim,
    /// Claim it as a further attempt of the same call.
    Rerun,
    /// Claim it and run the recovery hook.
    Recover,
    /// Answer with the stored result or remembered error.
    Replay,
    /// Wait for the running call to end.
    Wait,
    RefuseMismatch,
    RefuseInDoubt,
    /// `rerun` is spent: as many attempts as allowed were started.
    RefuseExhausted,
    RefuseReentrant,
    RefuseResultGone,
}

/// Decides about a found record; where there is none, the call claims.
pub(crate) fn decide(view: View, mode: Mode) -> Decision {
    if is_over(view) {
        return Decision::Claim;
    }
    if view.differs {
        return Decision::RefuseMismatch;
    }
    match (view.status, view.holder) {
        (Status::InDoubt, _) | (Status::Running, Holder::Dead | Holder::Nobody) => {
            interrupted(view.attempt, mode)
        }
        (Status::Running, _) if view.reentrant => Decision::RefuseReentrant,
        (Status::Running, Holder::Local | Holder::Alive | Holder::Unknown) => Decision::Wait,
        (Status::Done | Status::Failed, _) if !view.has_result => Decision::RefuseResultGone,
        (Status::Done | Status::Failed, _) if view.expired != Expired::No && !view.waited => {
            Decision::RefuseResultGone
        }
        (Status::Done | Status::Failed, _) => Decision::Replay,
    }
}

/// Only a finished record ends by age: what runs or is in doubt stays until somebody settles it.
fn is_over(view: View) -> bool {
    view.status.is_finished() && view.expired == Expired::Record && !view.waited
}

fn interrupted(attempt: u32, mode: Mode) -> Decision {
    match mode {
        Mode::Recover => Decision::Recover,
        Mode::Interrupt(OnInterrupt::Refuse) => Decision::RefuseInDoubt,
        Mode::Interrupt(OnInterrupt::Rerun { attempts_max: Some(max) }) if attempt >= max => {
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
    const MODES: [Mode; 4] = [
        Mode::Interrupt(OnInterrupt::Refuse),
        Mode::Interrupt(OnInterrupt::rerun_at_most(2)),
        Mode::Interrupt(OnInterrupt::rerun_unlimited()),
        Mode::Recover,
    ];

    /// Every combination there is.
    fn for_all(mut check: impl FnMut(View, Mode, Decision)) {
        let bools = [false, true];
        for mode in MODES {
            for status in STATUSES {
                for holder in HOLDERS {
                    for expired in EXPIRED {
                        for bits in 0..16_usize {
                            for attempt in [1, 2] {
                                let view = View {
                                    status,
                                    holder,
                                    expired,
                                    attempt,
                                    has_result: bools[bits & 1],
                                    differs: bools[bits >> 1 & 1],
                                    reentrant: bools[bits >> 2 & 1],
                                    waited: bools[bits >> 3 & 1],
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
    fn the_body_runs_only_for_a_record_that_is_over_or_by_the_callers_own_mode() {
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
            Decision::Recover => assert!(cut_off(view) && !view.differs && mode == Mode::Recover),
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
                Mode::Interrupt(OnInterrupt::Rerun { attempts_max: Some(max) }) if view.attempt >= max => {
                    Decision::RefuseExhausted
                }
                Mode::Interrupt(OnInterrupt::Rerun { .. }) => Decision::Rerun,
                Mode::Recover => Decision::Recover,
            };
            assert_eq!(decision, expected);
        });
    }

    #[test]
    fn a_replay_needs_a_finished_record_with_a_result_that_is_still_kept_or_was_waited_for() {
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
