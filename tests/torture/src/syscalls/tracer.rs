//! Stops a process before and after each of its syscalls, in all of its threads, and kills it at one of these stops.

use std::io::Write;
use std::process::Child;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Why it cannot be done here.
pub(super) fn missing() -> Option<String> {
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().ok()?;
    let attached = ptrace::seize(pid_of(&child), Options::empty());
    drop(child.stdin.take());
    let _ = child.kill();
    let _ = child.wait();
    attached.err().map(|error| format!("ptrace is not allowed ({error})"))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// How a traced process ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// How many stops there were.
    pub(super) stops: usize,
    /// By our signal, and not by itself before it.
    pub(super) was_killed: bool,
}

/// Lets the process begin, and kills it at the stop with this number.
pub(super) fn kill_at(child: Child, number: usize) -> End {
    trace(child, number, |_| {})
}

/// Starts the process and kills it at that stop; `watch` gets the number of every stop.
pub(super) fn trace(mut child: Child, number: usize, mut watch: impl FnMut(usize)) -> End {
    let process = pid_of(&child);
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(process, options).expect("a process that waits for its input");
    ptrace::interrupt(process).expect("a process that is traced");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"\n").expect("a process that reads");
    let mut stops = 0;
    // Only what this thread started: other streams trace processes of their own.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        let status = waitpid(None, Some(flags)).expect("a process to wait for");
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                stops += 1;
                watch(stops);
                if stops == number {
                    kill(process, Signal::SIGKILL).expect("a process that lives");
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::Exited(ended, _) if ended == process => return End { stops, was_killed: false },
            WaitStatus::Signaled(ended, signal, _) if ended == process => {
                return End { stops, was_killed: signal == Signal::SIGKILL && stops >= number };
            }
            _ => continue,
        };
        // A thread that was killed meanwhile is not there any more.
        let _ = ptrace::syscall(thread, signal);
    }
}
