//! Several instances of one program on one store: one runs the call, the others get its result.
//!
//! If a second instance starts while a call runs, it waits, although `send` may run again. If the first instance dies,
//! the second one runs the call at once: each instance holds a kernel lock for life.
//!
//! ```text
//! cargo run --example two_instances
//! ```

#![expect(clippy::print_stdout, reason = "the example prints its steps")]

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

/// The time between the start of the call and its effect.
const WORK: Duration = Duration::from_secs(1);

/// The folder that the instances share, and the name of this instance.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    instance: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    by: String,
}

/// Writes a line to the outbox after `WORK`.
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
        _ => Err("expected no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two_instances: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one instance: opens the store, makes the call, and prints the origin of the result.
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

/// Runs the demonstration. All instances are child processes of this program.
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

/// A running instance. Its output is printed at once.
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
                // The receiver can be gone; the line is printed anyway.
                let _ = sender.send(line);
            }
        });
        Ok(Instance { process, lines })
    }

    /// Waits for a line that contains `word`.
    fn hear(&mut self, word: &str) -> Result<(), Failure> {
        if self.lines.iter().any(|line| line.contains(word)) {
            return Ok(());
        }
        Err(format!("an instance ended before it printed `{word}`").into())
    }

    /// Waits for the end of the process.
    fn end(&mut self) -> Result<(), Failure> {
        self.lines.iter().for_each(drop);
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("an instance ended with {status}").into()) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // If the process has ended, both calls fail, which is harmless.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "simulated work takes time and waits for nothing")]
fn rest(time: Duration) {
    thread::sleep(time);
}
