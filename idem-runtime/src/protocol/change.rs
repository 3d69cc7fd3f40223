//! The compare-and-swap by which every record is changed: what must stand, and what takes its place.

use crate::encoding::digest::Slot;
use crate::protocol::record::{Record, Status};

/// What must stand in the slot for a change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing, neither here nor under an earlier name; or the finished record of claim `over`, which has expired.
    /// Under an earlier name, the records of the claims in `expired` count as nothing too.
    Free { over: Option<u64>, nor_in: Vec<Slot>, expired: Vec<u64> },
    /// The record of this claim and owner, running or in doubt from it.
    Unfinished { claim: u64, owner: i64 },
    /// The record of this claim in this status.
    Exactly(u64, Status),
    /// Anything, even what cannot be read; to delete only.
    Any,
}

/// A compare-and-swap on one record. `new: None` deletes it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) slot: Slot,
    pub(crate) expect: Expect,
    pub(crate) new: Option<Record>,
}

impl Expect {
    /// The claim that a change with this expectation ends or takes over.
    pub(crate) fn claim(&self) -> Option<u64> {
        match *self {
            Expect::Unfinished { claim, .. } | Expect::Exactly(claim, _) => Some(claim),
            Expect::Free { .. } | Expect::Any => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Applied {
    Yes,
    /// The row that stands instead.
    No(Option<Box<Record>>),
    /// A row that is not to be believed stands there, or was to be written.
    Damaged(&'static str),
}
