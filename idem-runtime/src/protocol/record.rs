//! The record of one call.

use crate::encoding::codec::Stored;
use crate::encoding::digest::Slot;
use crate::policy::Lifetime;

/// The owner of a claim inside the user's transaction. No other connection sees the record while the body runs.
pub(crate) const NO_OWNER: i64 = 0;

/// A time on a clock of the backend. Only that backend can compare two marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The number of the clock. In SQLite: the number of a boot.
    pub(crate) clock: i64,
    pub(crate) at_ms: i64,
}

/// The state of a record.
///
/// The store keeps the numbers of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// An owner holds the claim. The body or the recovery hook may be running.
    Running = 1,
    /// The call was cut off, or its `Err` left its effect unknown.
    InDoubt = 2,
    /// The body returned `Ok`, or a person, a program or a hook settled the call as done.
    Done = 3,
    /// The body returned an `Err`, and `on_err` remembers the error.
    Failed = 4,
}

impl Status {
    pub(crate) fn from_code(code: i64) -> Option<Status> {
        [Status::Running, Status::InDoubt, Status::Done, Status::Failed]
            .into_iter()
            .find(|status| *status as i64 == code)
    }

    pub(crate) fn is_finished(self) -> bool {
        matches!(self, Status::Done | Status::Failed)
    }
}

/// The reason why a call is in doubt, or why a finished call has no result. The store keeps the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Dropped = 1,
    Panicked = 2,
    OwnerDied = 3,
    Stolen = 4,
    ErrUnknown = 5,
    InnerFailed = 6,
    Unknown = 7,
    TransactionEnded = 8,
    RuntimeEnded = 9,
    NotKept = 21,
    Unstorable = 22,
    Expired = 23,
    Settled = 24,
}

impl Reason {
    const ALL: [Reason; 13] = [
        Reason::Dropped,
        Reason::Panicked,
        Reason::OwnerDied,
        Reason::Stolen,
        Reason::ErrUnknown,
        Reason::InnerFailed,
        Reason::Unknown,
        Reason::TransactionEnded,
        Reason::RuntimeEnded,
        Reason::NotKept,
        Reason::Unstorable,
        Reason::Expired,
        Reason::Settled,
    ];

    pub(crate) fn from_code(code: i64) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| *reason as i64 == code)
    }

    /// Whether the body returned, and its `Err` left the call in doubt.
    fn has_returned(self) -> bool {
        matches!(self, Reason::ErrUnknown | Reason::InnerFailed)
    }

    /// The reason as one clause.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Reason::Dropped => "the caller dropped the future",
            Reason::Panicked => "the body panicked",
            Reason::OwnerDied => "the process of the owner ended",
            Reason::Stolen => "an operator took the call from its owner",
            Reason::ErrUnknown => "the body returned an error that leaves its effect unknown",
            Reason::InnerFailed => "an idempotent call inside the body failed",
            Reason::Unknown => "the recovery hook could not find out whether the call is done",
            Reason::TransactionEnded => "the body ended the transaction it was given",
            Reason::RuntimeEnded => "the tokio runtime of the detached call shut down",
            Reason::NotKept => "`keep_result` is zero",
            Reason::Unstorable => "the result could not be stored",
            Reason::Expired => "`keep_result` is over",
            Reason::Settled => "the call was settled as done without a result",
        }
    }
}

/// The facts about one call. `T` holds texts, `B` bytes. [`validate`](RecordOf::validate) checks which facts a status
/// allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordOf<T, B: AsRef<[u8]>> {
    pub(crate) slot: Slot,
    pub(crate) name: T,
    pub(crate) key: T,
    pub(crate) status: Status,
    /// The number of the last claim. 0 until the writer issues one.
    pub(crate) claim: u64,
    /// The row number of the owner; 0 for a claim inside the user's own transaction.
    pub(crate) owner: i64,
    /// The number of times the body was started.
    pub(crate) attempt: u32,
    /// The number of attempts whose body returned an `Err` that left the call in doubt.
    pub(crate) returned: u32,
    pub(crate) fingerprint: B,
    /// The time of the claim, of the first detection of the doubt, or of the completion.
    pub(crate) at: Mark,
    pub(crate) reason: Option<Reason>,
    /// The first detection of the doubt. Kept during recovery, and until the body runs again.
    pub(crate) doubt_since: Option<Mark>,
    /// The lifetime of the record, from completion.
    pub(crate) ttl: Lifetime,
    /// The lifetime of the result, from completion.
    pub(crate) keep_result: Lifetime,
    pub(crate) result: Option<Stored<B>>,
    /// The estimated end of the next lifetime, in milliseconds of the wall clock, for the purge. The checksum does not
    /// cover the estimate, and a read does not return it.
    pub(crate) purge_ms: Option<i64>,
    /// The number of the row, if this process has just inserted it. The completion then needs no search of the index.
    pub(crate) row: Option<i64>,
}

/// A record that owns its texts and bytes.
pub(crate) type Record = RecordOf<String, Vec<u8>>;

/// A record read in place, without a copy. The texts are unchecked bytes: only text is written, and the checksum covers
/// the bytes.
pub(crate) type RecordRef<'r> = RecordOf<&'r [u8], &'r [u8]>;

impl<T, B: AsRef<[u8]>> RecordOf<T, B> {
    /// Converts the texts and the bytes of this record.
    fn converted<'a, T2, B2: AsRef<[u8]>>(
        &'a self,
        text: impl Fn(&'a T) -> T2,
        bytes: impl Fn(&'a B) -> B2,
    ) -> RecordOf<T2, B2> {
        let result = self.result.as_ref().map(|stored| Stored {
            codec_id: stored.codec_id,
            digest: stored.digest,
            bytes: bytes(&stored.bytes),
        });
        RecordOf {
            slot: self.slot,
            name: text(&self.name),
            key: text(&self.key),
            status: self.status,
            claim: self.claim,
            owner: self.owner,
            attempt: self.attempt,
            returned: self.returned,
            fingerprint: bytes(&self.fingerprint),
            at: self.at,
            reason: self.reason,
            doubt_since: self.doubt_since,
            ttl: self.ttl,
            keep_result: self.keep_result,
            result,
            purge_ms: self.purge_ms,
            row: self.row,
        }
    }

    /// The fact that makes this record impossible, or `None`. Checked before a write and after a read.
    pub(crate) fn validate(&self) -> Option<&'static str> {
        let finished = self.status.is_finished();
        if self.claim == 0 || i64::try_from(self.claim).is_err() {
            return Some("it has no claim number");
        }
        if self.attempt == 0 {
            return Some("it was never attempted");
        }
        if self.returned > self.attempt {
            return Some("it has more returned attempts than attempts");
        }
        if self.result.is_some() && !finished {
            return Some("it has a result and is not finished");
        }
        if finished && self.result.is_none() && self.reason.is_none() {
            return Some("its result is missing");
        }
        if self.status == Status::InDoubt && (self.reason.is_none() || self.doubt_since.is_none()) {
            return Some("it is in doubt without a reason");
        }
        None
    }
}

impl RecordRef<'_> {
    pub(crate) fn to_record(&self) -> Record {
        self.converted(|text| String::from_utf8_lossy(text).into_owned(), |bytes| bytes.to_vec())
    }
}

impl Record {
    pub(crate) fn borrowed(&self) -> RecordRef<'_> {
        self.converted(String::as_bytes, Vec::as_slice)
    }

    /// Whether `other` is this record, apart from the fields that a read does not return.
    pub(crate) fn same_as(&self, other: &Record) -> bool {
        let mut same = other.clone();
        (same.purge_ms, same.row) = (self.purge_ms, self.row);
        same == *self
    }

    /// The reason of the doubt, if the owner of this running record is gone.
    pub(crate) fn reason_if_cut_off(&self) -> Reason {
        if self.owner == NO_OWNER { Reason::TransactionEnded } else { Reason::OwnerDied }
    }

    /// Whether the recovery hook answered and left the call in doubt. A hook that was cut off gave no answer.
    pub(crate) fn is_left_in_doubt_by_hook(&self) -> bool {
        self.status == Status::InDoubt && self.reason == Some(Reason::Unknown)
    }

    /// Returns this record in doubt. The backend sets its marks at the write.
    pub(crate) fn in_doubt(&self, reason: Reason) -> Record {
        let returned = self.returned.saturating_add(reason.has_returned().into());
        Record { status: Status::InDoubt, returned, reason: Some(reason), result: None, ..self.clone() }
    }

    /// This record finished, with a result or the reason for its absence. The backend sets its marks at the write.
    ///
    /// A result without content is kept as long as the record.
    pub(crate) fn finished(&self, status: Status, result: Result<Stored, Reason>) -> Record {
        let (result, reason) = match result {
            Ok(result) => (Some(result), None),
            Err(reason) => (None, Some(reason)),
        };
        let has_content = result.as_ref().is_none_or(|result| !result.digest.is_without_content());
        let keep_result = if has_content { self.keep_result } else { Lifetime::FOREVER };
        Record { status, reason, doubt_since: None, keep_result, result, ..self.clone() }
    }

    /// Returns this finished record without its result, whose lifetime is over.
    pub(crate) fn without_result(&self) -> Record {
        Record { result: None, reason: Some(Reason::Expired), ..self.clone() }
    }

    /// The lifetime that ends first: of the result, or of the record.
    pub(crate) fn next_lifetime(&self) -> Lifetime {
        if !self.status.is_finished() {
            return Lifetime::FOREVER;
        }
        if self.result.is_some() { self.keep_result.min(self.ttl) } else { self.ttl }
    }
}
