//! Programs with a store that a test can watch, pause and kill: `tests/bin/worker.rs`.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use idem_runtime::{Error, OnInterrupt, Status, Store};
use idem_tests::deadline;
use idem_tests::form::Form;
use idem_tests::halt::{Halt, LONG, eventually};
use idem_tests::shared::call;

use crate::support::lines::Lines;
use crate::support::place::Place;

/// The name of the call that workers make.
pub(crate) const NAME: &str = "tests.effect";

/// The forms of a worker's calls. Workers make async calls on an executor of their own.
pub(crate) const FORMS: [Form; 2] = [Form::Sync, Form::Tokio];

/// The word of a worker for the form.
pub(crate) fn word(form: Form) -> &'static str {
    if form == Form::Sync { "sync" } else { "async" }
}

/// Makes the call that workers make, in this process.
pub(crate) fn effect(
    form: Form,
    store: &Store,
    key: &str,
    mode: OnInterrupt,
    wait: Duration,
    body: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    form.make(call(NAME).store(store).key(key).on_interrupt(mode).wait(wait), body)
}

/// Makes that call with the defaults: it waits, and refuses in doubt.
pub(crate) fn once(
    form: Form,
    store: &Store,
    key: &str,
    body: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    effect(form, store, key, OnInterrupt::Refuse, LONG, body)
}

/// Makes that call with a body that gives `value of KEY`.
pub(crate) fn run(form: Form, store: &Store, key: &str) -> Result<String, Error> {
    once(form, store, key, || Ok(format!("value of {key}")))
}

/// Makes that call with a body that must not run.
pub(crate) fn replay(form: Form, store: &Store, key: &str) -> Result<String, Error> {
    once(form, store, key, not_run)
}

/// A body that must not run.
pub(crate) fn not_run() -> Result<String, Error> {
    unreachable!("the body ran")
}

/// The status of that call's record.
pub(crate) fn status(store: &Store, key: &str) -> Status {
    store.get(NAME, key).unwrap().unwrap().status()
}

/// Makes that call with a body that stands at `halt` and then gives `value`.
pub(crate) fn halting(
    form: Form,
    store: &Store,
    halt: &Halt,
    key: &str,
    value: &str,
) -> Result<String, Error> {
    once(form, store, key, || {
        halt.stand();
        Ok(value.to_owned())
    })
}

/// A program with the store of a [`Place`] open.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
}

/// A program that has claimed `k` and stands in its body; `first end ok` ends it.
pub(crate) fn holding(form: Form) -> (Place, Worker) {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    worker.hold("first", form, "refuse", "k");
    (place, worker)
}

impl Worker {
    pub(crate) fn start(place: &Place) -> Worker {
        Worker::start_at(&place.database(), place)
    }

    /// Opens the store by a path of its own.
    pub(crate) fn start_at(database: &Path, place: &Place) -> Worker {
        let mut worker = Worker::start_unheard(database, place);
        worker.hear("ready");
        worker
    }

    /// Does not wait until it has opened the store.
    pub(crate) fn start_unheard(database: &Path, place: &Place) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg(database).arg(place.folder().join("ledger"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap(), "");
        Worker { input: child.stdin.take(), child, lines }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        deadline::start();
        writeln!(self.input.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Begins a call; its answers begin with `tag`.
    pub(crate) fn call(&mut self, tag: &str, form: Form, mode: &str, key: &str, plan: &str) {
        self.tell(&format!("{tag} call {} {mode} 60000 {key} {plan}", word(form)));
    }

    /// Begins a call and waits until its body holds.
    pub(crate) fn hold(&mut self, tag: &str, form: Form, mode: &str, key: &str) {
        self.call(tag, form, mode, key, "hold");
        self.hear(&format!("{tag} started"));
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        eventually("the process is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the program has ended by itself; true if it was aborted.
    pub(crate) fn has_aborted(&mut self) -> bool {
        self.end().signal() == Some(6)
    }

    /// Waits until the program has ended.
    fn end(&mut self) -> ExitStatus {
        deadline::start();
        self.child.wait().unwrap()
    }

    /// Lets the program close its store and end.
    pub(crate) fn leave(mut self) {
        drop(self.input.take());
        let ended = self.end();
        assert!(ended.success(), "the worker ended with {ended}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A program that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
