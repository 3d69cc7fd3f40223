//! The output of another program, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use idem_tests::halt::LONG;

#[derive(Debug)]
pub(crate) struct Lines {
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Lines {
    /// The lines with the prefix `mark`, without it.
    pub(crate) fn of(output: impl Read + Send + 'static, mark: &'static str) -> Lines {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let mut marked = lines.filter_map(|line| line.strip_prefix(mark).map(str::to_owned));
            marked.try_for_each(|line| sender.send(line))
        });
        Lines { lines, heard: Vec::new() }
    }

    /// The rest of the next line with that prefix. Other lines are kept.
    pub(crate) fn hear(&mut self, start: &str) -> String {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with(start)) {
                return self.heard.remove(at).split_off(start.len()).trim_start().to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("`{start}` was not heard, but {:?}", self.heard)
                }
            }
        }
    }

    /// Whether a line with that prefix has come.
    pub(crate) fn has_come(&mut self, start: &str) -> bool {
        self.heard.extend(self.lines.try_iter());
        self.heard.iter().any(|line| line.starts_with(start))
    }
}
