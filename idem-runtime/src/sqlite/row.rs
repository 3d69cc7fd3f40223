//! The stored form of a record in its row.
//!
//! Values that statements search for have columns of their own. The others are packed into one column, `facts`. Every
//! further column costs some hundred instructions at each read and write, and at least a byte per row.
//!
//! # The packed form
//! ```text
//! checksum           8 bytes, little endian, of what follows and of all columns but `id` and `purge_ms`
//! present            1 byte: a bit for each optional part that follows, in this order
//! attempt, boot, at_ms
//! reason?
//! doubt boot and ms?
//! ttl_ms?
//! keep_ms?
//! codec and digest?  9 bytes, if `result` is not NULL
//! returned?          if it is not 0
//! fingerprint        to the end
//! ```
//! Numbers without a length are zigzag varints (seven bits per byte, the lowest first).
//!
//! Stores on disk have this form, so a change needs a new version of the tables.

use crate::encoding::codec::Stored;
use crate::encoding::digest::{Checksum, ResultDigest, Slot};
use crate::policy::Lifetime;
use crate::protocol::record::{Mark, Reason, RecordRef, Status};

const REASON: u8 = 1;
const DOUBT: u8 = 1 << 1;
const TTL: u8 = 1 << 2;
const KEEP: u8 = 1 << 3;
const RESULT: u8 = 1 << 4;
const RETURNED: u8 = 1 << 5;
/// Length of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

/// The columns of a row.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'r> {
    pub(crate) slot: &'r Slot,
    pub(crate) name: &'r [u8],
    pub(crate) key: &'r [u8],
    pub(crate) status: i64,
    pub(crate) claim: i64,
    pub(crate) owner: i64,
    pub(crate) facts: &'r [u8],
    pub(crate) result: Option<&'r [u8]>,
}

impl<'r> Columns<'r> {
    /// Borrows the record in these columns. Fails unless the checksum matches and the record is valid.
    pub(crate) fn record(self) -> Result<RecordRef<'r>, &'static str> {
        let (checksum, packed) = self.facts.split_first_chunk().ok_or(CUT_SHORT)?;
        if *checksum != self.checksum(packed) {
            return Err("its checksum does not match");
        }
        let mut rest = packed;
        let record = self.unpack(&mut rest).ok_or(CUT_SHORT)??;
        record.validate().map_or(Ok(record), Err)
    }

    /// Unpacks the facts. `None` if they end too early.
    fn unpack(self, rest: &mut &'r [u8]) -> Option<Result<RecordRef<'r>, &'static str>> {
        let [present] = take_bytes(rest)?;
        let attempt = take_varint(rest)?;
        let at = Mark { clock: take_varint(rest)?, at_ms: take_varint(rest)? };
        let reason = if present & REASON > 0 { Some(take_varint(rest)?) } else { None };
        let doubt_since = if present & DOUBT > 0 {
            Some(Mark { clock: take_varint(rest)?, at_ms: take_varint(rest)? })
        } else {
            None
        };
        let ttl = if present & TTL > 0 { Some(take_varint(rest)?) } else { None };
        let keep = if present & KEEP > 0 { Some(take_varint(rest)?) } else { None };
        let stored = if present & RESULT > 0 { Some((take_bytes(rest)?, take_bytes(rest)?)) } else { None };
        let returned = if present & RETURNED > 0 { take_varint(rest)? } else { 0 };
        let result = match (stored, self.result) {
            (Some(([codec_id], digest)), Some(bytes)) => {
                Some(Stored { codec_id, digest: ResultDigest::from_bytes(digest), bytes })
            }
            (None, None) => None,
            _ => return Some(Err("its result is missing")),
        };
        let known = (
            Status::from_code(self.status),
            reason.map(Reason::from_code),
            u64::try_from(self.claim),
            u32::try_from(attempt),
            u32::try_from(returned),
        );
        let (Some(status), None | Some(Some(_)), Ok(claim), Ok(attempt), Ok(returned)) = known else {
            return Some(Err("a column holds an unknown code"));
        };
        Some(Ok(RecordRef {
            slot: *self.slot,
            name: self.name,
            key: self.key,
            status,
            claim,
            owner: self.owner,
            attempt,
            returned,
            fingerprint: rest,
            at,
            reason: known.1.flatten(),
            doubt_since,
            ttl: Lifetime::from_ms(ttl),
            keep_result: Lifetime::from_ms(keep),
            result,
            purge_ms: None,
            row: None,
        }))
    }

    /// Computes the checksum of a row. SQLite has no checksums of pages.
    ///
    /// The checksum covers the slot: a damaged index may lead to the row of another record.
    fn checksum(self, packed: &[u8]) -> [u8; 8] {
        Checksum::new()
            .number(self.status)
            .number(self.claim)
            .number(self.owner)
            .bytes(self.slot)
            .bytes(self.name)
            .bytes(self.key)
            // `packed` tells whether there is a result.
            .bytes(packed)
            .bytes(self.result.unwrap_or_default())
            .finish()
    }
}

const CUT_SHORT: &str = "it is cut short";

/// Packs a record's facts into `facts`, which is cleared first.
pub(crate) fn pack(record: &RecordRef<'_>, facts: &mut Vec<u8>) {
    let result = record.result;
    let optional = [
        (REASON, record.reason.is_some()),
        (DOUBT, record.doubt_since.is_some()),
        (TTL, record.ttl.to_ms().is_some()),
        (KEEP, record.keep_result.to_ms().is_some()),
        (RESULT, result.is_some()),
        (RETURNED, record.returned > 0),
    ];
    let present = optional.iter().filter(|(_, is_present)| *is_present).fold(0, |set, (bit, _)| set | bit);
    facts.clear();
    facts.extend_from_slice(&[0; 8]);
    facts.push(present);
    let doubt = record.doubt_since;
    let numbers = [
        Some(record.attempt.into()),
        Some(record.at.clock),
        Some(record.at.at_ms),
        record.reason.map(|reason| reason as i64),
        doubt.map(|since| since.clock),
        doubt.map(|since| since.at_ms),
        record.ttl.to_ms(),
        record.keep_result.to_ms(),
    ];
    numbers.into_iter().flatten().for_each(|number| put_varint(facts, number));
    if let Some(result) = result {
        facts.push(result.codec_id);
        facts.extend_from_slice(&result.digest.to_bytes());
    }
    if record.returned > 0 {
        put_varint(facts, record.returned.into());
    }
    facts.extend_from_slice(record.fingerprint);
    write_checksum(record, facts);
}

/// Writes the checksum in front of the packed facts.
fn write_checksum(record: &RecordRef<'_>, facts: &mut [u8]) {
    let Some((checksum, packed)) = facts.split_first_chunk_mut() else { return };
    let columns = Columns {
        slot: &record.slot,
        name: record.name,
        key: record.key,
        status: record.status as i64,
        claim: record.claim.cast_signed(),
        owner: record.owner,
        facts: packed,
        result: record.result.map(|result| result.bytes),
    };
    *checksum = columns.checksum(packed);
}

/// Appends a number as a zigzag varint.
fn put_varint(facts: &mut Vec<u8>, number: i64) {
    let mut left = (number << 1 ^ number >> 63).cast_unsigned();
    while left > 0x7f {
        facts.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    facts.push(left.to_le_bytes()[0]);
}

/// Takes a zigzag varint from the front. `None` if it ends too early.
fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for (at, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = rest.get(at + 1..)?;
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

/// Takes `N` bytes from the front.
fn take_bytes<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests;
