//! The protocol as the writer and the negotiation carry it out, one atomic step at a time.

use super::defects::{Broken, Flaw};
use crate::real::sound::policy::OnInterrupt;
use crate::real::sound::protocol::change::{self, Precondition};
use crate::real::sound::protocol::decide::{Decision, Expired, Holder, Mode, View, decide};
use crate::real::sound::protocol::record::Status;

pub(crate) const WORKERS: usize = 4;
const PROCESSES: usize = 3;
/// Two workers share the first process.
const PROCESS_OF: [usize; WORKERS] = [0, 0, 1, 2];
const MODES: [Mode; WORKERS] = [
    Mode::Interrupt(OnInterrupt::Refuse),
    Mode::Interrupt(OnInterrupt::rerun_unlimited()),
    Mode::Recover,
    Mode::Interrupt(OnInterrupt::rerun_at_most(2)),
];
const CLAIMS: usize = 12;

/// The protocol as a model: see [`super`].
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) broken: Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    claim: u8,
    owner: u8,
    status: Status,
    attempt: u8,
    has_result: bool,
    /// 0 nothing, 1 the result, 2 all of it.
    expired: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Done,
    Released,
    InDoubt,
}

/// The condition of a write. [`Expect::admits`] asks the runtime's own conditions, which the statements bind: the tests
/// of `sqlite/changes.rs` compare the two for every condition and row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Expect {
    Free { over: Option<u8> },
    Unfinished { claim: u8, owner: u8 },
    Exactly(u8, Status),
}

impl Expect {
    fn of_runtime(self) -> change::Expect {
        match self {
            Expect::Free { over } => {
                change::Expect::Free { over: over.map(u64::from), nor_in: Vec::new(), expired: Vec::new() }
            }
            Expect::Unfinished { claim, owner } => {
                change::Expect::Unfinished { claim: claim.into(), owner: owner.into() }
            }
            Expect::Exactly(claim, status) => change::Expect::Exactly(claim.into(), status),
        }
    }

    fn admits(self, row: Option<Row>) -> bool {
        let Some(row) = row else { return matches!(self, Expect::Free { .. }) };
        let Precondition { claim, statuses, owner } = Precondition::of(&self.of_runtime());
        claim == u64::from(row.claim)
            && statuses & Precondition::bit(row.status) != 0
            && (owner == 0 || owner == i64::from(row.owner))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    Seen(Option<Row>),
    Claiming { expect: Expect, attempt: u8, hook: bool, before: Option<Row> },
    Noting(u8),
    Granted { claim: u8, attempt: u8, hook: bool, before: Option<Row> },
    Hook { claim: u8, attempt: u8 },
    Body { claim: u8 },
    Writing { claim: u8, ending: Ending },
}

impl Step {
    /// The claim that the process knows of in memory.
    fn holds(self) -> Option<u8> {
        match self {
            Step::Granted { claim, .. }
            | Step::Hook { claim, .. }
            | Step::Body { claim }
            | Step::Writing { claim, .. } => Some(claim),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    mode: u8,
    calls: u8,
    waited: bool,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    steals: u8,
    operator: u8,
    lapses: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct World {
    row: Option<Row>,
    issued: u8,
    /// The owner number of each process; 0 while it is dead.
    owners: [u8; PROCESSES],
    owners_made: u8,
    workers: [Worker; WORKERS],
    purging: Option<(u8, Status)>,
    /// What an operator has read and decided to write.
    operating: Option<(Act, u8, Status)>,
    budget: Budget,
    /// What an onlooker knows: numbers given, claims stolen, whether an effect may have happened, whether it is done.
    given: [bool; CLAIMS],
    stolen: [bool; CLAIMS],
    begun: bool,
    done: bool,
    pub(crate) fenced: bool,
    pub(crate) late: bool,
    flaws: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Step(usize),
    /// The claim is dropped before the body began.
    Drop(usize),
    End(usize, Ending),
    /// The recovery hook finds out.
    NotDone(usize),
    Crash(usize),
    Restart(usize),
    Steal,
    SettleDone,
    SettleNotDone,
    Forget,
    OperatorWrites,
    Lapse,
    PurgeLooks,
    PurgeDeletes,
}

impl World {
    /// Nothing yet; the modes go round among the workers.
    pub(crate) fn new(turn: usize) -> World {
        let mode = |worker: usize| u8::try_from((worker + turn) % WORKERS).unwrap_or(0);
        World {
            row: None,
            issued: 0,
            owners: [1, 2, 3],
            owners_made: 3,
            workers: std::array::from_fn(|n| Worker {
                mode: mode(n),
                calls: 1 + u8::from(n == 0),
                waited: false,
                step: Step::Idle,
            }),
            purging: None,
            operating: None,
            budget: Budget { crashes: 2, steals: 1, operator: 1, lapses: 2 },
            given: [false; CLAIMS],
            stolen: [false; CLAIMS],
            begun: false,
            done: false,
            fenced: false,
            late: false,
            flaws: 0,
        }
    }

    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaws & (1 << flaw as u8) != 0
    }

    fn note(&mut self, flaw: Flaw, when: bool) {
        self.flaws |= u8::from(when) << flaw as u8;
    }

    pub(crate) fn attempt(&self) -> u8 {
        self.row.map_or(0, |row| row.attempt)
    }

    pub(crate) fn recovers(&self) -> bool {
        self.workers.iter().any(|worker| matches!(worker.step, Step::Hook { .. }))
    }

    fn owner(&self, worker: usize) -> u8 {
        self.owners[PROCESS_OF[worker]]
    }

    pub(crate) fn acts(&self, acts: &mut Vec<Act>) {
        if self.flaws != 0 {
            return;
        }
        for n in (0..WORKERS).filter(|n| self.owner(*n) != 0) {
            match self.workers[n].step {
                Step::Idle if self.workers[n].calls == 0 => {}
                Step::Granted { .. } => acts.extend([Act::Step(n), Act::Drop(n)]),
                Step::Hook { .. } => {
                    acts.extend([Act::End(n, Ending::Done), Act::End(n, Ending::InDoubt), Act::NotDone(n)]);
                }
                Step::Body { .. } => {
                    acts.extend(
                        [Ending::Done, Ending::Released, Ending::InDoubt].map(|ending| Act::End(n, ending)),
                    );
                }
                _ => acts.push(Act::Step(n)),
            }
        }
        for process in 0..PROCESSES {
            match self.owners[process] {
                0 => acts.push(Act::Restart(process)),
                _ if self.budget.crashes > 0 => acts.push(Act::Crash(process)),
                _ => {}
            }
        }
        if self.purging.is_some() {
            acts.push(Act::PurgeDeletes);
        }
        if self.operating.is_some() {
            acts.push(Act::OperatorWrites);
        }
        if let Some(row) = self.row {
            self.acts_on(row, acts);
        }
    }

    fn acts_on(&self, row: Row, acts: &mut Vec<Act>) {
        if row.status == Status::Running && self.budget.steals > 0 && self.operating.is_none() {
            acts.push(Act::Steal);
        }
        if row.status == Status::InDoubt && self.budget.operator > 0 && self.operating.is_none() {
            acts.extend([Act::SettleDone, Act::SettleNotDone]);
        }
        if row.status != Status::Running && self.budget.operator > 0 && self.operating.is_none() {
            acts.push(Act::Forget);
        }
        if row.status.is_finished() && row.expired < 2 && self.budget.lapses > 0 {
            acts.push(Act::Lapse);
        }
        if row.expired == 2 && self.purging.is_none() {
            acts.push(Act::PurgeLooks);
        }
    }

    pub(crate) fn act(&mut self, act: Act, broken: Broken) {
        match act {
            Act::Step(n) => self.step(n, broken),
            Act::Drop(n) => self.give_back(n),
            Act::End(n, ending) => {
                if let Some(claim) = self.workers[n].step.holds() {
                    self.workers[n].step = Step::Writing { claim, ending };
                }
            }
            Act::NotDone(n) => self.next_attempt(n),
            Act::Crash(process) => self.crash(process),
            Act::Restart(process) => {
                self.owners_made += 1;
                self.owners[process] = self.owners_made;
            }
            Act::Lapse => self.lapse(),
            Act::PurgeLooks => self.purging = self.row.map(|row| (row.claim, row.status)),
            Act::PurgeDeletes => self.purge(broken),
            Act::OperatorWrites => self.operator_writes(),
            Act::Steal | Act::SettleDone | Act::SettleNotDone | Act::Forget => self.operate(act),
        }
        let kept = match self.row {
            None => !self.done && !self.begun,
            Some(row) => !self.done || row.status.is_finished(),
        };
        self.note(Flaw::KeyLost, !kept);
    }

    /// An operator reads the record. Others may act before the write.
    fn operate(&mut self, act: Act) {
        let Some(row) = self.row else { return };
        let budget = if act == Act::Steal { &mut self.budget.steals } else { &mut self.budget.operator };
        *budget -= 1;
        self.operating = Some((act, row.claim, row.status));
    }

    fn operator_writes(&mut self) {
        let Some((act, claim, status)) = self.operating.take() else { return };
        if !Expect::Exactly(claim, status).admits(self.row) {
            return;
        }
        // The operator has decided about the record that it read, and about no later end.
        self.note(Flaw::KeyLost, self.done && !status.is_finished());
        let Some(row) = &mut self.row else { return };
        if act == Act::Steal {
            row.status = Status::InDoubt;
            self.stolen[usize::from(row.claim)] = true;
            return;
        }
        (self.begun, self.done) = (false, act == Act::SettleDone);
        if act == Act::SettleDone {
            (row.status, row.has_result) = (Status::Done, false);
        } else {
            self.row = None;
        }
    }

    fn lapse(&mut self) {
        let Some(row) = &mut self.row else { return };
        row.expired += 1;
        self.done &= row.expired < 2;
        self.budget.lapses -= 1;
    }

    fn purge(&mut self, broken: Broken) {
        let Some((claim, status)) = self.purging.take() else { return };
        if Expect::Exactly(claim, status).admits(self.row) || broken == Broken::PurgeWithoutNumber {
            self.row = None;
        }
    }

    /// Everything in its memory is gone, what was decided and not written with it.
    fn crash(&mut self, process: usize) {
        self.owners[process] = 0;
        self.budget.crashes -= 1;
        for n in (0..WORKERS).filter(|n| PROCESS_OF[*n] == process) {
            self.workers[n].step = Step::Idle;
        }
    }

    fn step(&mut self, n: usize, broken: Broken) {
        match self.workers[n].step {
            Step::Idle => self.workers[n].step = Step::Seen(self.row),
            Step::Seen(row) => self.decide(n, row, broken),
            Step::Claiming { .. } => self.claim(n, broken),
            Step::Noting(claim) => {
                if Expect::Exactly(claim, Status::Running).admits(self.row) {
                    self.row = self.row.map(|row| Row { status: Status::InDoubt, ..row });
                }
                self.answered(n);
            }
            Step::Granted { claim, attempt, hook: true, .. } => {
                self.workers[n].step = Step::Hook { claim, attempt }
            }
            Step::Granted { claim, .. } => self.begin(n, claim),
            Step::Writing { claim, ending } => self.write(n, claim, ending, broken),
            Step::Hook { .. } | Step::Body { .. } => {}
        }
    }

    fn holder(&self, n: usize, row: Row, broken: Broken) -> Holder {
        let here =
            |m: &usize| self.owner(*m) == row.owner && self.workers[*m].step.holds() == Some(row.claim);
        if row.owner == self.owner(n) {
            return if (0..WORKERS).any(|m| here(&m)) { Holder::Local } else { Holder::Nobody };
        }
        let alive = self.owners.contains(&row.owner) && broken != Broken::TakesOverTheLiving;
        if alive { Holder::Alive } else { Holder::Dead }
    }

    fn decide(&mut self, n: usize, seen: Option<Row>, broken: Broken) {
        let new =
            Step::Claiming { expect: Expect::Free { over: None }, attempt: 1, hook: false, before: None };
        let Some(row) = seen else {
            self.workers[n].step = new;
            return;
        };
        let holder = self.holder(n, row, broken);
        if broken == Broken::DeadIsFree && (row.status, holder) == (Status::Running, Holder::Dead) {
            self.row = self.row.filter(|stands| *stands != row);
            self.workers[n].step = new;
            return;
        }
        let view = View {
            status: row.status,
            holder,
            expired: [Expired::No, Expired::Result, Expired::Record][usize::from(row.expired)],
            has_result: row.has_result,
            // An attempt that returned counts here: fewer states.
            unreturned: row.attempt.into(),
            differs: false,
            reentrant: false,
            waited: self.workers[n].waited,
            answered: false,
        };
        let again = |attempt, hook| Step::Claiming {
            expect: Expect::Exactly(row.claim, row.status),
            attempt,
            hook,
            before: Some(Row { status: Status::InDoubt, has_result: false, ..row }),
        };
        match decide(view, MODES[usize::from(self.workers[n].mode)]) {
            Decision::Claim => {
                let expect = Expect::Free { over: Some(row.claim) };
                self.workers[n].step = Step::Claiming { expect, attempt: 1, hook: false, before: None };
            }
            Decision::Rerun => self.workers[n].step = again(row.attempt + 1, false),
            Decision::Recover => self.workers[n].step = again(row.attempt, true),
            Decision::Wait => (self.workers[n].step, self.workers[n].waited) = (Step::Idle, true),
            Decision::RefuseInDoubt | Decision::RefuseExhausted if row.status == Status::Running => {
                self.workers[n].step = Step::Noting(row.claim);
            }
            _ => self.answered(n),
        }
    }

    fn answered(&mut self, n: usize) {
        let Worker { calls, step, waited, .. } = &mut self.workers[n];
        (*step, *waited, *calls) = (Step::Idle, false, *calls - 1);
    }

    /// The one compare-and-swap a claim is.
    fn claim(&mut self, n: usize, broken: Broken) {
        let Step::Claiming { expect, attempt, hook, before } = self.workers[n].step else { return };
        if !expect.admits(self.row) && broken != Broken::ClaimWithoutExpectation {
            self.workers[n].step = Step::Idle;
            return;
        }
        self.issue(n, attempt, hook, before, broken);
    }

    fn issue(&mut self, n: usize, attempt: u8, hook: bool, before: Option<Row>, broken: Broken) {
        let claim = match broken {
            Broken::NumberFromTheRow => self.row.map_or(1, |row| row.claim + 1),
            _ => self.issued + 1,
        };
        self.issued = self.issued.max(claim);
        self.note(Flaw::NumberTwice, self.given[usize::from(claim)]);
        self.given[usize::from(claim)] = true;
        let owner = self.owner(n);
        self.row =
            Some(Row { claim, owner, status: Status::Running, attempt, has_result: false, expired: 0 });
        self.workers[n].step = Step::Granted { claim, attempt, hook, before };
    }

    fn begin(&mut self, n: usize, claim: u8) {
        let beside =
            |worker: &Worker| matches!(worker.step, Step::Body { claim } if !self.stolen[usize::from(claim)]);
        let side_by_side = self.workers.iter().any(beside);
        let refuses = MODES[usize::from(self.workers[n].mode)] == Mode::Interrupt(OnInterrupt::Refuse);
        // What was stolen answers to the operator alone: it may begin after it was settled.
        let is_stolen = self.stolen[usize::from(claim)];
        self.note(Flaw::SideBySide, side_by_side && !is_stolen);
        self.note(Flaw::RanAfterDone, self.done && !is_stolen);
        self.note(Flaw::Repeated, self.begun && refuses && !is_stolen);
        self.begun |=
            !is_stolen || self.row.is_some_and(|row| row.claim == claim && !row.status.is_finished());
        self.workers[n].step = Step::Body { claim };
    }

    /// The hook says that the effect did not happen: the next claim takes the place of this one.
    fn next_attempt(&mut self, n: usize) {
        let Step::Hook { claim, attempt } = self.workers[n].step else { return };
        if Expect::Exactly(claim, Status::Running).admits(self.row) {
            self.begun = false;
            self.issue(n, attempt + 1, false, None, Broken::Nothing);
        } else {
            self.answered(n);
        }
    }

    /// The body never began: what was before stands again, under this claim's number.
    fn give_back(&mut self, n: usize) {
        let Step::Granted { claim, before, .. } = self.workers[n].step else { return };
        if (Expect::Unfinished { claim, owner: self.owner(n) }).admits(self.row) {
            self.row = before.map(|before| Row { claim, owner: before.owner, ..before });
        }
        self.answered(n);
    }

    /// The end of a body: accepted while the record is running, or in doubt from this very claim.
    fn write(&mut self, n: usize, claim: u8, ending: Ending, broken: Broken) {
        let owner = self.owner(n);
        let numberless = self.row.map_or(claim, |row| row.claim);
        let expected = if broken == Broken::OutcomeWithoutNumber { numberless } else { claim };
        let accepts = Expect::Unfinished { claim: expected, owner }.admits(self.row);
        self.answered(n);
        let Some(row) = self.row.filter(|_| accepts) else {
            self.fenced = true;
            return;
        };
        self.note(Flaw::FencedWrote, row.claim != claim);
        self.late |= row.status == Status::InDoubt;
        self.begun &= ending == Ending::InDoubt;
        self.done = ending == Ending::Done;
        self.row = match ending {
            Ending::Done => Some(Row { status: Status::Done, has_result: true, ..row }),
            Ending::InDoubt => Some(Row { status: Status::InDoubt, ..row }),
            Ending::Released => None,
        };
    }
}
