//! The high-water mark: the highest claim number of a store, in a file beside the database.
//!
//! `SQLite` accepts a database that lost its WAL, and an old copy in its place. Only a number outside of the database
//! shows that records are missing. The mark is written without an fsync: after a power failure it may be old or
//! unreadable, which is no error. The mark must never be too high, so it is raised after the commit.

use std::fs::File;
use std::io;

use crate::host::platform;
use crate::host::sidecar::Sidecar;

/// The open file of the mark.
#[derive(Debug)]
pub(crate) struct HighWater {
    file: File,
    /// The mark at its last read or write.
    known: Option<u64>,
}

impl HighWater {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// An I/O error if the file cannot be opened.
    pub(crate) fn open(sidecar: &Sidecar) -> io::Result<Self> {
        let mut options = platform::private_file();
        let file =
            options.read(true).write(true).create(true).truncate(false).open(sidecar.file("claims"))?;
        sidecar.give_to_owner_of_database(&file);
        Ok(Self { file, known: None })
    }

    /// The mark; `None` if the file is empty or its check bytes do not match.
    pub(crate) fn read(&mut self) -> Option<u64> {
        self.known = self.read_file();
        self.known
    }

    fn read_file(&mut self) -> Option<u64> {
        let mut bytes = [0; 16];
        platform::read_start(&mut self.file, &mut bytes).ok()?;
        let (number, check) = bytes.split_at(8);
        let number = u64::from_le_bytes(number.try_into().ok()?);
        (check == (!number).to_le_bytes()).then_some(number)
    }

    /// Raises the mark after a commit. A higher mark stays if the last [`read`](HighWater::read) found it.
    ///
    /// The caller holds the fair lock from the read to the raise. Without the lock, a higher mark of another process may be
    /// lost until that process raises the mark again.
    ///
    /// # Errors
    /// An I/O error if the mark cannot be written. The caller may go on: the mark is an additional check.
    pub(crate) fn raise(&mut self, number: u64) -> io::Result<()> {
        match self.known {
            Some(known) if known >= number => Ok(()),
            _ => self.reset(number),
        }
    }

    /// Sets the mark of a newly created store.
    ///
    /// # Errors
    /// An I/O error if the mark cannot be written.
    pub(crate) fn reset(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        let (low, check) = bytes.split_at_mut(8);
        low.copy_from_slice(&number.to_le_bytes());
        check.copy_from_slice(&(!number).to_le_bytes());
        platform::write_start(&mut self.file, &bytes)?;
        self.known = Some(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_mark_rises_and_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::create(folder.path().join("idem.db-idem")).unwrap();
        let mut mark = HighWater::open(&sidecar).unwrap();
        let mut other = HighWater::open(&sidecar).unwrap();
        assert_eq!(mark.read(), None);
        mark.raise(7).unwrap();
        assert_eq!(other.read(), Some(7));
        other.raise(5).unwrap();
        assert_eq!(mark.read(), Some(7));
        assert_eq!(other.read(), Some(7));
        other.raise(u64::MAX).unwrap();
        assert_eq!(mark.read(), Some(u64::MAX));
        mark.reset(0).unwrap();
        assert_eq!(other.read(), Some(0));
    }

    #[test]
    fn torn_or_foreign_bytes_are_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::create(folder.path().join("idem.db-idem")).unwrap();
        let mut mark = HighWater::open(&sidecar).unwrap();
        mark.raise(300).unwrap();
        let whole = fs::read(sidecar.file("claims")).unwrap();
        for length in 0..16 {
            fs::write(sidecar.file("claims"), &whole[..length]).unwrap();
            assert_eq!(mark.read(), None, "{length} bytes");
        }
        for bit in 0..128 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(sidecar.file("claims"), &flipped).unwrap();
            assert_eq!(mark.read(), None, "bit {bit}");
        }
        fs::write(sidecar.file("claims"), [0; 16]).unwrap();
        assert_eq!(mark.read(), None);
        mark.raise(2).unwrap();
        assert_eq!(mark.read(), Some(2));
    }
}
