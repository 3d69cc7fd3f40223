//! The stream of deliveries: one JSON object per line, each read by one worker.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A file of deliveries that several workers share.
#[derive(Debug)]
pub(crate) struct Stream {
    reader: Mutex<Reader>,
    bytes_read: AtomicU64,
    bytes_total: u64,
}

/// One delivery, not yet parsed.
#[derive(Debug)]
pub(crate) struct Line {
    /// The line number from 1, with blank lines.
    pub(crate) number: u64,
    pub(crate) text: Vec<u8>,
}

#[derive(Debug)]
struct Reader {
    file: BufReader<File>,
    lines: u64,
    ended: bool,
}

impl Stream {
    /// Opens the file at its first line.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let named = |error: io::Error| format!("the input `{}`: {error}", path.display());
        let file = File::open(path).map_err(named)?;
        let bytes_total = file.metadata().map_err(named)?.len();
        let reader = Reader { file: BufReader::new(file), lines: 0, ended: false };
        Ok(Self { reader: Mutex::new(reader), bytes_read: AtomicU64::new(0), bytes_total })
    }

    /// Returns the next line that is not blank. An error ends the stream.
    pub(crate) fn next(&self) -> Option<io::Result<Line>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        while !reader.ended {
            match reader.line() {
                Ok(line) => {
                    self.bytes_read.fetch_add(line.text.len() as u64, Ordering::Relaxed);
                    if !line.text.trim_ascii().is_empty() {
                        return Some(Ok(line));
                    }
                }
                Err(error) => {
                    reader.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Returns the part of the stream that is read, in percent.
    pub(crate) fn percent(&self) -> u64 {
        let read = self.bytes_read.load(Ordering::Relaxed);
        (read * 100).checked_div(self.bytes_total).unwrap_or(100).min(100)
    }
}

impl Reader {
    /// Reads the next line, empty at the end of the file.
    fn line(&mut self) -> io::Result<Line> {
        let mut text = Vec::new();
        self.ended = self.file.read_until(b'\n', &mut text)? == 0;
        self.lines += 1;
        Ok(Line { number: self.lines, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_skipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        std::fs::write(&path, "one\n\n  \ntwo").unwrap();
        let stream = Stream::open(&path).unwrap();
        let lines: Vec<_> = std::iter::from_fn(|| stream.next())
            .map(Result::unwrap)
            .map(|line| (line.number, line.text))
            .collect();
        assert_eq!(lines, [(1, b"one\n".to_vec()), (4, b"two".to_vec())]);
        assert_eq!(stream.percent(), 100);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Stream::open(Path::new("no/such/file")).unwrap_err();
        assert!(error.starts_with("the input `no/such/file`: "), "{error}");
    }
}
