//! Messages on standard error, and a progress bar if it is a terminal.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use crate::stream::Stream;
use crate::tally::Tally;

const BAR_CELLS: usize = 30;
const REDRAW: Duration = Duration::from_millis(50);
/// Clears the line and moves the cursor to its start.
const CLEAR: &str = "\r\x1b[2K";

/// The writer of messages. In a file or a pipe there is no progress bar.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal() }
    }

    /// Writes one message on its own line. The bar is drawn again below it.
    pub(crate) fn say(&self, message: &str) {
        let clear = if self.terminal { CLEAR } else { "" };
        eprintln!("{clear}{message}");
    }

    /// Draws the bar until the work is finished. Does nothing without a terminal.
    pub(crate) fn watch(&self, stream: &Stream, tally: &Tally, finished: impl Fn() -> bool) {
        if !self.terminal {
            return;
        }
        while !finished() {
            eprint!("{CLEAR}{}", bar(stream.percent(), tally.totals().deliveries));
            thread::park_timeout(REDRAW);
        }
        eprint!("{CLEAR}");
    }
}

fn bar(percent: u64, deliveries: u64) -> String {
    let filled = usize::try_from(percent).unwrap_or(100).min(100) * BAR_CELLS / 100;
    format!("[{:<BAR_CELLS$}] {percent:>3} %  {deliveries} deliveries", "#".repeat(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_keeps_its_width() {
        for (percent, text) in
            [(0, "[          "), (50, "[###############   "), (100, "[##############################]")]
        {
            let bar = bar(percent, 7);
            assert!(bar.starts_with(text), "{bar}");
            assert!(bar.ends_with(" %  7 deliveries"), "{bar}");
            assert_eq!(bar.find(']'), Some(BAR_CELLS + 1));
        }
    }
}
