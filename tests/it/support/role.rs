//! Programs for tests with several processes: this test binary, started again to play a part.
//!
//! A part is a test that does nothing in an ordinary run, because it gets no words.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use idem_tests::deadline;

use crate::support::lines::Lines;

const WORDS: &str = "IDEM_TEST_PART";
/// Marks the lines that are meant for the test, among those of the harness.
const MARK: &str = ">> ";

/// For a part: its arguments; `None` in an ordinary run.
pub(crate) fn words() -> Option<Vec<String>> {
    std::env::var(WORDS).ok().map(|words| words.split('\n').map(str::to_owned).collect())
}

/// For a part: prints a line for the test.
pub(crate) fn say(line: &str) {
    // The harness may have started a line. One write keeps the lines of several threads apart.
    std::io::stdout().write_all(format!("\n{MARK}{line}\n").as_bytes()).unwrap();
}

/// For a part: the next line from the test; `None` at the end.
pub(crate) fn listen() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// For a part: waits for ever.
pub(crate) fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}

/// The command that plays the part of a test, given by its full name.
pub(crate) fn command(part: &str, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--nocapture", "--test-threads=1"]).env(WORDS, words.join("\n"));
    command
}

/// A running part.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
}

impl Program {
    pub(crate) fn start(part: &str, words: &[&str]) -> Program {
        Program::start_command(command(part, words))
    }

    /// Starts a part through another command, such as `unshare`.
    pub(crate) fn start_command(mut command: Command) -> Program {
        deadline::start();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap(), MARK);
        Program { input: child.stdin.take(), child, lines }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_ref().unwrap(), "{line}").unwrap();
    }

    /// See [`Lines::hear`].
    pub(crate) fn hear(&mut self, start: &str) -> String {
        deadline::start();
        self.lines.hear(start)
    }

    /// See [`Lines::has_come`].
    pub(crate) fn has_said(&mut self, start: &str) -> bool {
        self.lines.has_come(start)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes its input: the part hears nothing more.
    pub(crate) fn end_input(&mut self) {
        drop(self.input.take());
    }

    /// Closes its input and waits for its end.
    pub(crate) fn leave(mut self) -> ExitStatus {
        self.end_input();
        deadline::start();
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says on the terminal what could not be tested here, past the capture of the test harness.
pub(crate) fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

#[test]
fn the_program_that_hangs() {
    let Some(_) = words() else { return };
    deadline::start_with(Duration::from_millis(200));
    stand_still();
}

#[test]
fn a_test_that_hangs_is_ended_and_named() {
    deadline::start();
    let output = command("support::role::the_program_that_hangs", &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("this test hangs: "), "{said}");
}
