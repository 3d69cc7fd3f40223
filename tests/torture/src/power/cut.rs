//! What a disk may hold after a power cut: everything synced, and anything of the rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::frame::Dice;
use crate::vfs::Event;

const SECTOR: usize = 512;

/// What became of writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Dropped,
    Kept,
    /// Each by chance: later ones may be there and earlier ones not.
    Reordered,
    /// Each sector of each write by chance.
    Torn,
    /// As torn, and some sectors hold neither the old nor the new.
    Trashed,
}

const FATES: [Fate; 5] = [Fate::Dropped, Fate::Kept, Fate::Reordered, Fate::Torn, Fate::Trashed];

/// Writes the files as they may be if the power fails after the first `at` events.
pub(super) fn write_image(log: &[Event], at: usize, folder: &Path, dice: &mut Dice) -> Fate {
    let fate = FATES[dice.below(FATES.len())];
    write(&log[..at], fate, folder, dice);
    fate
}

/// Writes the files as a killed process leaves them: with all that it has written.
pub(super) fn write_whole(log: &[Event], folder: &Path) {
    write(log, Fate::Kept, folder, &mut Dice::new(0));
}

fn write(log: &[Event], fate: Fate, folder: &Path, dice: &mut Dice) {
    for (name, bytes) in files(log, fate, dice) {
        std::fs::write(folder.join(name), bytes).expect("a file of the image");
    }
    let beside = log.iter().rev().find_map(|event| match event {
        Event::Beside(files) => Some(files),
        _ => None,
    });
    if let Some(files) = beside.filter(|files| !files.is_empty()) {
        let beside = folder.join("idem.db-idem");
        std::fs::create_dir(&beside).expect("a folder");
        for (name, bytes) in files {
            std::fs::write(beside.join(name), bytes).expect("a file of the image");
        }
    }
}

fn files(log: &[Event], fate: Fate, dice: &mut Dice) -> BTreeMap<String, Vec<u8>> {
    let synced = synced(log);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (number, event) in log.iter().enumerate() {
        let is_synced = |file: &str| {
            synced.get(file).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&number)))
        };
        match event {
            Event::Write { file, at, bytes } => {
                let whole = is_synced(file);
                let content = files.entry(file.clone()).or_default();
                apply(content, *at, bytes, if whole { Fate::Kept } else { fate }, dice);
            }
            Event::Truncate { file, size } if is_synced(file) || survives(fate, dice) => {
                files.entry(file.clone()).or_default().resize(*size, 0);
            }
            // Names are journaled in order; a file that is created again has its name again.
            Event::Delete { file } => drop(files.remove(file)),
            _ => {}
        }
    }
    files
}

/// Which events each file was synced with. A sync forces nothing that an earlier one has failed to: the kernel reports
/// what it could not write once, and then takes it for written.
fn synced(log: &[Event]) -> BTreeMap<&str, Vec<Range<usize>>> {
    let mut synced: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    let mut given_up: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, event) in log.iter().enumerate() {
        match event {
            Event::FailedSync { file } => drop(given_up.insert(file, number)),
            Event::Sync { file, upto } => {
                let from = given_up.get(&**file).copied().unwrap_or(0);
                synced.entry(file).or_default().push(from..*upto);
            }
            _ => {}
        }
    }
    synced
}

fn survives(fate: Fate, dice: &mut Dice) -> bool {
    match fate {
        Fate::Dropped => false,
        Fate::Kept => true,
        Fate::Reordered | Fate::Torn | Fate::Trashed => dice.below(2) == 0,
    }
}

fn apply(content: &mut Vec<u8>, at: usize, bytes: &[u8], fate: Fate, dice: &mut Dice) {
    if let Fate::Kept | Fate::Reordered | Fate::Dropped = fate {
        if survives(fate, dice) {
            put(content, at, bytes);
        }
        return;
    }
    let mut from = 0;
    while from < bytes.len() {
        let sector_end = (((at + from) / SECTOR + 1) * SECTOR - at).min(bytes.len());
        match (fate, dice.below(4)) {
            (Fate::Trashed, 0) => put(content, at + from, &vec![0xa5; sector_end - from]),
            (_, 0 | 1) => put(content, at + from, &bytes[from..sector_end]),
            _ => {}
        }
        from = sector_end;
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}
