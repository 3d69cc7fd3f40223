//! Programs under `strace`.

use std::process::{Command, Output};

use idem_tests::deadline;

use crate::support::role::skip;

/// Runs a program under `strace` to its end. `None` where that is not possible, which is said on the terminal.
pub(crate) fn strace(options: &[&str], program: &Command) -> Option<Output> {
    deadline::start();
    let mut strace = Command::new("strace");
    strace.arg("-f").args(options).arg(program.get_program()).args(program.get_args());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = strace.output() else {
        skip("there is no strace");
        return None;
    };
    if String::from_utf8_lossy(&output.stderr).contains("ptrace") {
        skip("strace may not trace here");
        return None;
    }
    Some(output)
}
