//! The flaws of a protocol, and protocols with a defect that have them.

/// A protocol with at most one defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// A claim number is one more than that of the row there is.
    NumberFromTheRow,
    /// An outcome is written over whatever claim of the same owner runs.
    OutcomeWithoutNumber,
    /// A live owner is taken for a dead one, as a lease does that is over.
    TakesOverTheLiving,
    /// The purge deletes what it saw a moment ago, whatever stands there now.
    PurgeWithoutNumber,
    /// Looking and taking are two steps: the claim replaces whatever stands there.
    ClaimWithoutExpectation,
    /// An interrupted call is forgotten when its owner is found dead.
    DeadIsFree,
}

impl Broken {
    /// Those that show after few steps first.
    pub(crate) const DEFECTS: [Broken; 6] = [
        Broken::NumberFromTheRow,
        Broken::DeadIsFree,
        Broken::TakesOverTheLiving,
        Broken::ClaimWithoutExpectation,
        Broken::OutcomeWithoutNumber,
        Broken::PurgeWithoutNumber,
    ];
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Flaw {
    NumberTwice,
    SideBySide,
    RanAfterDone,
    Repeated,
    FencedWrote,
    KeyLost,
}

impl Flaw {
    pub(crate) const ALL: [Flaw; 6] = [
        Flaw::NumberTwice,
        Flaw::SideBySide,
        Flaw::RanAfterDone,
        Flaw::Repeated,
        Flaw::FencedWrote,
        Flaw::KeyLost,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Flaw::NumberTwice => "a claim number was given twice",
            Flaw::SideBySide => "two bodies ran side by side",
            Flaw::RanAfterDone => "a body ran after the call was done",
            Flaw::Repeated => "a `refuse` caller repeated an unsettled call",
            Flaw::FencedWrote => "a fenced finisher changed something",
            Flaw::KeyLost => "a key was lost",
        }
    }
}
