//! Damages to the files of a store before it is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The database, its WAL and the high-water mark: every file with content.
pub(super) const DATABASE: &str = "idem.db";
pub(super) const LOG: &str = "idem.db-wal";
pub(super) const MARK: &str = "idem.db-idem/claims";

/// The bytes of a store's files, by their paths in its folder.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    Flip {
        file: &'static str,
        at: usize,
        bits: u8,
    },
    Truncate {
        file: &'static str,
        length: usize,
    },
    Delete {
        files: &'static [&'static str],
    },
    SwapPages(usize, usize),
    /// The files as they were when the store was younger.
    Older {
        files: &'static [&'static str],
    },
}

/// Every damage to a part: each byte in two ways, each length.
///
/// One bit, another one in each byte, is what rots: it stays closest to what was written, and so is the hardest to see.
/// All bits are the furthest from it: signs, counts and lengths turn huge, and every varint ends elsewhere.
pub(super) fn to_parts(files: &Files) -> Vec<Damage> {
    let mut damages = Vec::new();
    for file in [DATABASE, LOG, MARK] {
        let length = files.get(Path::new(file)).map_or(0, Vec::len);
        for at in 0..length {
            damages.extend([1 << (at % 8), 0xff].map(|bits| Damage::Flip { file, at, bits }));
        }
        damages.extend((0..length).map(|length| Damage::Truncate { file, length }));
    }
    damages
}

/// Every damage to whole files: one is gone or an old copy, or two of them are.
pub(super) fn to_files(files: &Files) -> Vec<Damage> {
    const SETS: [&[&str]; 6] =
        [&[DATABASE], &[LOG], &[MARK], &[DATABASE, LOG], &[DATABASE, MARK], &[LOG, MARK]];
    let is_there = |file: &str| files.get(Path::new(file)).is_some_and(|bytes| !bytes.is_empty());
    let sets = SETS.into_iter().filter(|set| set.iter().all(|file| is_there(file)));
    sets.flat_map(|files| [Damage::Delete { files }, Damage::Older { files }]).collect()
}

/// Every two pages in each other's place.
pub(super) fn to_pages(count: usize) -> Vec<Damage> {
    (0..count).flat_map(|a| (a + 1..count).map(move |b| Damage::SwapPages(a, b))).collect()
}

impl Damage {
    /// What becomes of a file; `None` if it is gone.
    pub(super) fn of(&self, name: &Path, files: &Files, older: &Files, page_bytes: usize) -> Option<Vec<u8>> {
        let is = |file: &str| name == Path::new(file);
        let mut bytes = files.get(name)?.clone();
        match *self {
            Damage::Flip { file, at, bits } if is(file) => bytes[at] ^= bits,
            Damage::Truncate { file, length } if is(file) => bytes.truncate(length),
            Damage::Delete { files } if files.iter().any(|file| is(file)) => return None,
            Damage::Older { files } if files.iter().any(|file| is(file)) => return older.get(name).cloned(),
            Damage::SwapPages(a, b) if is(DATABASE) => {
                let (low, high) = bytes.split_at_mut(b * page_bytes);
                low[a * page_bytes..][..page_bytes].swap_with_slice(&mut high[..page_bytes]);
            }
            _ => {}
        }
        Some(bytes)
    }
}
