//! A writer with a limit.

use std::io;

/// The initial capacity in bytes: most results fit, and codecs write in small pieces.
const CAPACITY: usize = 256;

/// Collects at most `bytes_max` bytes. A write beyond the limit fails and allocates no memory.
pub(super) struct BoundedWriter {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: bool,
}

impl BoundedWriter {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::with_capacity(CAPACITY), bytes_max, full: false }
    }

    /// Whether a write exceeded the limit.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.bytes_max.saturating_sub(self.bytes.len()) {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
