//! The compare-and-swap that makes every change of a record.

use crate::encoding::digest::Slot;
use crate::protocol::record::{Record, Status};

/// The condition on a slot under which a change is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The slot has no record, or the expired record of claim `over`. The slots `nor_in` of earlier names have no record,
    /// apart from the expired records of the claims in `expired`.
    Free { over: Option<u64>, nor_in: Vec<Slot>, expired: Vec<u64> },
    /// The slot has the record of this claim and owner, running or in doubt from that claim.
    Unfinished { claim: u64, owner: i64 },
    /// The slot has the record of this claim in this status.
    Exactly(u64, Status),
    /// No condition, for the deletion of a record that may be damaged.
    Any,
}

/// A compare-and-swap on one record. `new: None` deletes the record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) slot: Slot,
    pub(crate) expect: Expect,
    pub(crate) new: Option<Record>,
}

impl Expect {
    /// The claim that a change under this condition ends or takes over.
    pub(crate) fn claim(&self) -> Option<u64> {
        match *self {
            Expect::Unfinished { claim, .. } | Expect::Exactly(claim, _) => Some(claim),
            Expect::Free { .. } | Expect::Any => None,
        }
    }
}

/// The condition of a change on the row in its slot, as the statements of a backend check it.
///
/// No claim and no row of an owner has the number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Precondition {
    /// The claim number of the row. 0 for any claim, which only a deletion may have.
    pub(crate) claim: u64,
    /// The statuses that the row may have: a set, one bit each.
    pub(crate) statuses: i64,
    /// The owner of the row. 0 for any owner.
    pub(crate) owner: i64,
}

impl Precondition {
    pub(crate) fn of(expect: &Expect) -> Precondition {
        const FINISHED: i64 = Precondition::bit(Status::Done) | Precondition::bit(Status::Failed);
        const UNFINISHED: i64 = Precondition::bit(Status::Running) | Precondition::bit(Status::InDoubt);
        let (claim, statuses, owner) = match *expect {
            Expect::Free { over: Some(claim), .. } => (claim, FINISHED, 0),
            Expect::Free { over: None, .. } => (0, 0, 0),
            Expect::Unfinished { claim, owner } => (claim, UNFINISHED, owner),
            Expect::Exactly(claim, status) => (claim, Precondition::bit(status), 0),
            Expect::Any => (0, -1, 0),
        };
        Precondition { claim, statuses, owner }
    }

    pub(crate) const fn bit(status: Status) -> i64 {
        1 << status as i64
    }
}

/// The outcome of a change.
#[derive(Debug)]
pub(crate) enum Applied {
    Yes,
    /// The condition does not hold. The slot has this record.
    No(Option<Box<Record>>),
    /// The row in the slot, or the row to write, fails its check.
    Damaged(&'static str),
}
