//! Several instances of one program on one store: the effect happens once, and whoever comes second gets the result.
//!
//! A second instance that starts while a call runs does not take the call for one that was cut off, although `send`
//! may run again. When the first instance dies, it does, at once: an instance holds a kernel lock as long as it lives.
//!
//! ```text
//! cargo run --example two_instances
//! ```

#![expect(clippy::print_stdout, reason = "the example tells what it does")]

use std::env;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Store, current, idempotent, observe};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn Error>;

/// How long the call runs before its effect.
const WORK: Duration = Duration::from_secs(1);

/// Where the instances meet.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    instance: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    by: String,
}

/// Takes a second, then writes a line to the outbox.
#[idempotent(name = "mail.send", key = mail, skip(place), on_interrupt = rerun)]
fn send(place: &Place, mail: &str) -> Result<Sent, Failure> {
    let attempt = current().map_or(1, |call| call.attempt());
    println!("{:<8} runs `send` for {mail} (attempt {attempt})", place.instance);
    rest(WORK);
    let mut outbox = OpenOptions::new().append(true).create(true).open(place.folder.join("outbox"))?;
    outbox.write_all(format!("{mail} by {}\n", place.instance).as_bytes())?;
    Ok(Sent { by: place.instance.clone() })
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.as_slice() {
        [] => run(),
        [flag, folder, name, mail] if flag == "--instance" => instance(folder.into(), name, mail),
        _ => Err("it takes no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two_instances: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One instance: opens the store, makes the call, and tells how it got its answer.
fn instance(folder: PathBuf, name: &str, mail: &str) -> Result<(), Failure> {
    let store = Store::open(folder.join("idem.db"))?;
    idem_runtime::init(store.clone())?;
    let place = Place { folder, instance: name.to_owned() };
    println!("{name:<8} started");
    let begun = Instant::now();
    let (sent, seen) = observe(|| send(&place, mail));
    let took = begun.elapsed().as_secs_f64();
    let by = sent?.by;
    match seen.and_then(|seen| seen.replayed) {
        Some(_) => println!("{name:<8} waited {took:.1} s and got the result of {by}"),
        None => println!("{name:<8} has sent it after {took:.1} s"),
    }
    store.close()?;
    Ok(())
}

/// The demonstration: all instances are this program, started again.
fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    println!("-- while a call runs, two more instances start and make the same call");
    let mut first = Instance::start(folder.path(), "first", "welcome")?;
    first.hear("runs")?;
    let mut second = Instance::start(folder.path(), "second", "welcome")?;
    let mut third = Instance::start(folder.path(), "third", "welcome")?;
    for instance in [&mut first, &mut second, &mut third] {
        instance.end()?;
    }
    expect_sent_once(folder.path(), "welcome")?;

    println!("-- while a call runs, its instance is killed");
    let mut first = Instance::start(folder.path(), "first", "invoice")?;
    first.hear("runs")?;
    let mut second = Instance::start(folder.path(), "second", "invoice")?;
    second.hear("started")?;
    first.process.kill()?;
    println!("{:<8} was killed", "first");
    second.end()?;
    expect_sent_once(folder.path(), "invoice")
}

fn expect_sent_once(folder: &Path, mail: &str) -> Result<(), Failure> {
    let outbox = fs::read_to_string(folder.join("outbox"))?;
    let sent = outbox.lines().filter(|line| line.starts_with(mail)).count();
    println!("outbox   holds `{mail}` {sent} time(s)");
    if sent == 1 { Ok(()) } else { Err(format!("`{mail}` was sent {sent} times").into()) }
}

/// A running instance, whose lines are shown as they come.
struct Instance {
    process: Child,
    lines: Receiver<String>,
}

impl Instance {
    fn start(folder: &Path, name: &str, mail: &str) -> Result<Instance, Failure> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--instance").arg(folder).args([name, mail]).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or("the instance has no output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("{line}");
                // Nobody may be listening any more; the line is shown all the same.
                let _ = sender.send(line);
            }
        });
        Ok(Instance { process, lines })
    }

    /// Waits for a line with this word.
    fn hear(&mut self, word: &str) -> Result<(), Failure> {
        if self.lines.iter().any(|line| line.contains(word)) {
            return Ok(());
        }
        Err(format!("an instance ended before it said `{word}`").into())
    }

    /// Waits for the end.
    fn end(&mut self) -> Result<(), Failure> {
        self.lines.iter().for_each(drop);
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("an instance ended with {status}").into()) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "simulated work takes time and waits for nothing")]
fn rest(time: Duration) {
    thread::sleep(time);
}
