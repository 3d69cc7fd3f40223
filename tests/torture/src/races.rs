//! Part 3: three processes of eight workers on the same keys, killed and stopped at random.

mod ledger;
mod waiters;
mod worker;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::{self, Dice, Options, Report, fast_folder};
use ledger::Ledger;

pub(crate) use worker::child;

const PROCESSES: usize = 3;
const KEYS: usize = 4;
/// Longer than any step, also on a slow machine.
const HUNG: Duration = Duration::from_secs(40);

pub(crate) fn run(options: &Options) -> Vec<Report> {
    if cfg!(not(target_os = "linux")) {
        return vec![Report::skipped("races of processes", "needs Linux's signals and /proc")];
    }
    vec![rounds(options), waiters::measure(options)]
}

/// What every body writes, and every answer.
#[derive(Debug)]
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: fast_folder() }
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }
}

fn rounds(options: &Options) -> Report {
    let mut report = Report::new("3 processes × 8 workers on the same keys, SIGKILL and SIGSTOP at random");
    let mut counts = Counts::default();
    let mut dice = Dice::new(options.seed);
    let rounds = options.points(24, 500);
    play(&mut dice, rounds, &["refuse", "rerun"], &mut counts, &mut |violations| report.point(violations));
    report.note(format!("{counts:?}"));
    let mut shown = 0;
    let control = options.points(12, 40).min(40);
    play(&mut dice, control, &["lease"], &mut Counts::default(), &mut |violations| shown += violations.len());
    report.control("ownership by a lease of 20 ms", shown);
    report
}

#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Counts {
    kills: usize,
    stops: usize,
    stopped_in_a_body: usize,
    bodies: usize,
    in_doubt: usize,
}

fn play(
    dice: &mut Dice,
    rounds: usize,
    modes: &[&str],
    counts: &mut Counts,
    point: &mut dyn FnMut(Vec<String>),
) {
    let place = Place::new();
    let mut crew = Crew::new(place.folder.path());
    let mut ledger = Ledger::new(place.ledger());
    for round in 0..rounds {
        let mode = modes[round % modes.len()];
        let line = format!("r{round} {mode} {KEYS} {}", 2_000 + dice.below(25_000));
        let killed = match crew.round(dice, &line, &mut ledger, counts) {
            Ok(killed) => killed,
            Err(violation) => return point(vec![format!("round {round}, {mode}: {violation}")]),
        };
        let violations = ledger.judge(mode, &killed, counts);
        point(
            violations.into_iter().map(|violation| format!("round {round}, {mode}: {violation}")).collect(),
        );
    }
}

/// The processes.
#[derive(Debug)]
struct Crew {
    folder: PathBuf,
    members: Vec<Member>,
    said: Receiver<Said>,
    /// What was said while something else was awaited.
    heard: Vec<Said>,
    say: Sender<Said>,
}

#[derive(Debug)]
struct Said {
    pid: u32,
    line: String,
    at: Instant,
}

#[derive(Debug)]
struct Member {
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Crew {
    fn new(folder: &Path) -> Crew {
        let (say, said) = channel();
        let mut crew = Crew { folder: folder.to_owned(), members: Vec::new(), said, heard: Vec::new(), say };
        crew.fill();
        crew
    }

    /// Starts the missing processes.
    fn fill(&mut self) {
        while self.members.len() < PROCESSES {
            let mut command = frame::child("races");
            command.arg(&self.folder).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().expect("a process");
            let (stdout, say, pid) = (child.stdout.take().expect("a pipe"), self.say.clone(), child.id());
            thread::spawn(move || {
                use std::io::BufRead;
                for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = say.send(Said { pid, line, at: Instant::now() });
                }
            });
            self.members.push(Member { child });
        }
    }

    fn tell(&mut self, member: usize, line: &str) {
        let stdin = self.members[member].child.stdin.as_mut().expect("a pipe");
        // A process that was just killed does not read its input.
        let _ = stdin.write_all(format!("{line}\n").as_bytes());
    }

    fn pid(&self, member: usize) -> u32 {
        self.members[member].child.id()
    }

    /// Waits until a process says the line.
    fn hear(&self, pid: u32, awaited: &str) -> Result<Instant, String> {
        let limit = Instant::now() + HUNG;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(said) if said.pid == pid && said.line == awaited => return Ok(said.at),
                Ok(_) => {}
                Err(_) => return Err(format!("process {pid} never said `{awaited}`: it hangs")),
            }
        }
    }

    /// A round with disturbances, and the same calls once more without. Gives the killed processes.
    fn round(
        &mut self,
        dice: &mut Dice,
        line: &str,
        ledger: &mut Ledger,
        counts: &mut Counts,
    ) -> Result<Vec<u32>, String> {
        self.fill();
        (0..PROCESSES).for_each(|member| self.tell(member, line));
        let mut killed = Vec::new();
        for _ in 0..dice.below(3) {
            let member = self.whom(dice);
            if dice.below(2) == 0 && self.members.len() > 1 {
                counts.kills += 1;
                killed.push(self.pid(member));
                drop(self.members.remove(member));
            } else {
                counts.stops += 1;
                self.stop_for_a_while(member, dice, ledger, counts);
            }
        }
        self.all_say(&format!("done {}", line.split(' ').next().unwrap_or_default()))?;
        self.fill();
        (0..PROCESSES).for_each(|member| self.tell(member, &format!("again-{line}")));
        self.all_say(&format!("done again-{}", line.split(' ').next().unwrap_or_default()))?;
        Ok(killed)
    }

    /// Any process at any time, or a process that has just started a body.
    fn whom(&mut self, dice: &mut Dice) -> usize {
        let delay = Duration::from_micros(dice.roll() % 20_000);
        let limit = Instant::now() + Duration::from_millis(100);
        while dice.below(4) > 0 {
            let Ok(said) = self.said.recv_timeout(limit.saturating_duration_since(Instant::now())) else {
                break;
            };
            let member = self.members.iter().position(|member| member.child.id() == said.pid);
            if let Some(member) = member.filter(|_| said.line.starts_with("began")) {
                thread::sleep(delay / 10);
                return member;
            }
            self.heard.push(said);
        }
        thread::sleep(delay);
        dice.below(self.members.len())
    }

    fn all_say(&mut self, awaited: &str) -> Result<(), String> {
        let mut missing: Vec<u32> = self.members.iter().map(|member| member.child.id()).collect();
        for said in self.heard.drain(..).filter(|said| said.line == awaited) {
            missing.retain(|pid| *pid != said.pid);
        }
        let limit = Instant::now() + HUNG;
        while !missing.is_empty() {
            let left = limit.saturating_duration_since(Instant::now());
            let said = self.said.recv_timeout(left);
            let said = said.map_err(|_| format!("{} processes hang: no `{awaited}`", missing.len()))?;
            if said.line == awaited {
                missing.retain(|pid| *pid != said.pid);
            }
        }
        Ok(())
    }

    /// Other processes must not start the bodies that it ran when it was stopped.
    fn stop_for_a_while(&self, member: usize, dice: &mut Dice, ledger: &mut Ledger, counts: &mut Counts) {
        let pid = self.pid(member);
        signal(pid, Signal::Stop);
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let limit = Instant::now() + HUNG;
        while !stat().contains(") T ") && Instant::now() < limit {
            thread::sleep(Duration::from_micros(200));
        }
        let held = ledger.held_by(pid);
        counts.stopped_in_a_body += usize::from(!held.is_empty());
        thread::sleep(Duration::from_millis(40 + dice.roll() % 80));
        let moved: Vec<String> = ledger.begun_by_others(&held, pid);
        signal(pid, Signal::Continue);
        ledger.remark(moved.into_iter().map(|key| format!("{key} was taken from a stopped owner")));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Stop,
    Continue,
}

#[cfg(target_os = "linux")]
fn signal(pid: u32, signal: Signal) {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    let signal = match signal {
        Signal::Stop => SIGSTOP,
        Signal::Continue => SIGCONT,
    };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).expect("a process of ours");
}

#[cfg(not(target_os = "linux"))]
fn signal(_: u32, _: Signal) {}
