//! The codec ids of rows.

use super::Codec;

/// The codec of a row, and what a value read from it must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowFormat {
    pub(super) codec: Codec,
    pub(super) check: Check,
}

/// What a value that was read must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Its type alone: the call chose JSON.
    Serde,
    /// The recorded digest.
    Digest,
    /// The recorded digest, or the one at the end of the row, which ignores the order of [`super::CHANCE_MAX`] elements.
    Sequences,
    /// The recorded digest, or the one at the end of the row, which ignores the order of all sequences.
    Sets,
}

/// An id is never used again.
const BINCODE_ID: u8 = 1;
const JSON_ID: u8 = 2;
const BINCODE_SEQUENCES_ID: u8 = 3;
const BINCODE_SETS_ID: u8 = 4;
const JSON_CHECKED_ID: u8 = 5;
const JSON_SEQUENCES_ID: u8 = 6;
const JSON_SETS_ID: u8 = 7;

impl RowFormat {
    pub(super) fn id(self) -> u8 {
        match (self.codec, self.check) {
            #[cfg(feature = "bincode")]
            (Codec::Bincode, Check::Serde | Check::Digest) => BINCODE_ID,
            #[cfg(feature = "bincode")]
            (Codec::Bincode, Check::Sequences) => BINCODE_SEQUENCES_ID,
            #[cfg(feature = "bincode")]
            (Codec::Bincode, Check::Sets) => BINCODE_SETS_ID,
            (Codec::Json, Check::Serde) => JSON_ID,
            (Codec::Json, Check::Digest) => JSON_CHECKED_ID,
            (Codec::Json, Check::Sequences) => JSON_SEQUENCES_ID,
            (Codec::Json, Check::Sets) => JSON_SETS_ID,
        }
    }

    pub(super) fn of_row(id: u8) -> Result<Self, String> {
        let (codec, check) = match id {
            #[cfg(feature = "bincode")]
            BINCODE_ID => (Codec::Bincode, Check::Digest),
            #[cfg(feature = "bincode")]
            BINCODE_SEQUENCES_ID => (Codec::Bincode, Check::Sequences),
            #[cfg(feature = "bincode")]
            BINCODE_SETS_ID => (Codec::Bincode, Check::Sets),
            #[cfg(not(feature = "bincode"))]
            BINCODE_ID | BINCODE_SEQUENCES_ID | BINCODE_SETS_ID => {
                return Err("the feature `bincode` is off".into());
            }
            JSON_ID => (Codec::Json, Check::Serde),
            JSON_CHECKED_ID => (Codec::Json, Check::Digest),
            JSON_SEQUENCES_ID => (Codec::Json, Check::Sequences),
            JSON_SETS_ID => (Codec::Json, Check::Sets),
            _ => return Err(format!("this version does not know codec `{id}`")),
        };
        Ok(Self { codec, check })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_as_what_was_written() {
        let ids = (0..=u8::MAX).filter_map(|id| Some((id, RowFormat::of_row(id).ok()?)));
        let known: Vec<u8> =
            ids.inspect(|(id, format)| assert_eq!(format.id(), *id)).map(|(id, _)| id).collect();
        let expected: &[u8] = if cfg!(feature = "bincode") { &[1, 2, 3, 4, 5, 6, 7] } else { &[2, 5, 6, 7] };
        assert_eq!(known, expected);
    }
}
