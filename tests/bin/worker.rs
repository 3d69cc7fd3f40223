//! A program with a store that does what it is told, line by line, so that tests can watch several processes and end
//! them at any moment. `tests/it/support/worker.rs` is the other end.
//!
//! ```text
//! worker STORE LEDGER           says `ready`, or `refused …` if the store cannot be opened
//! TAG call FORM MODE WAIT_MS KEY PLAN
//! TAG end ok|err|panic          ends the body of TAG, if its plan is `hold`
//! TAG storm FORM THREADS KEYS   every thread makes every call once
//! TAG steal KEY | TAG settle KEY | TAG close
//! ```
//! Answers are `TAG started ATTEMPT`, `TAG ok VALUE` and `TAG err KIND MESSAGE`. Each body appends `KEY VALUE` to the
//! ledger. A plan that begins with `die-` ends the program at that moment. At the end of its input the program closes
//! the store.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it ends at the first surprise"
)]

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use idem_runtime::{Error, OnInterrupt, Store, Verdict, idempotent, settle};
use idem_tests::plain::block_on;
use idem_tests::subscriber::OnEvent;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::field::{Field, Visit};

fn main() {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (store, ledger) = (args.next().unwrap(), args.next().unwrap());
    tracing::subscriber::set_global_default(OnEvent(tracing::Level::TRACE, die_at_event)).unwrap();
    let store = match Store::open(store) {
        Ok(store) => store,
        Err(error) => return say(&format!("refused {error}")),
    };
    let desk = Arc::new(Desk { store: store.clone(), ledger, held: Mutex::default() });
    say("ready");
    for line in std::io::stdin().lock().lines() {
        desk.take(&line.unwrap());
    }
    store.close().unwrap();
}

fn say(line: &str) {
    // One write keeps the lines of several threads apart.
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The state that all calls of the program share.
struct Desk {
    store: Store,
    ledger: PathBuf,
    /// How to end the bodies that hold.
    held: Mutex<HashMap<String, Sender<String>>>,
}

impl Desk {
    fn take(self: &Arc<Self>, line: &str) {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let tag = words.remove(0);
        if words[0] == "end" {
            let held = self.held.lock().unwrap().remove(&tag).unwrap();
            return held.send(words[1].clone()).unwrap();
        }
        let ending = (words[0] == "call").then(|| {
            let (sender, ending) = channel();
            self.held.lock().unwrap().insert(tag.clone(), sender);
            ending
        });
        let desk = Arc::clone(self);
        thread::spawn(move || {
            let answer = desk.answer(&tag, &words, ending);
            say(&match answer {
                Ok(value) => format!("{tag} ok {value}"),
                Err(Failure::Ours(error)) => format!("{tag} err {:?} {error}", error.kind()),
                Err(Failure::Own) => format!("{tag} err Own"),
            });
        });
    }

    fn answer(
        &self,
        tag: &str,
        words: &[String],
        ending: Option<Receiver<String>>,
    ) -> Result<String, Failure> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words {
            ["call", form, mode, wait_ms, key, plan] => {
                let on_interrupt =
                    if mode == "rerun" { OnInterrupt::rerun_unlimited() } else { OnInterrupt::Refuse };
                let wait = Duration::from_millis(wait_ms.parse().unwrap());
                let script = Script {
                    on_interrupt,
                    wait,
                    ending: ending.map(Mutex::new),
                    ..self.script(tag, key, plan)
                };
                call(form, &script)
            }
            ["storm", form, threads, keys] => {
                Ok(self.storm(form, threads.parse().unwrap(), keys.parse().unwrap()))
            }
            ["steal", key] => Ok(self.store.steal("tests.effect", key)?.to_string()),
            ["settle", key] => {
                let script = self.script(tag, key, "quick");
                Ok(format!("{:?}", settle(Verdict::NotDone, || effect(&script))?))
            }
            ["close"] => Ok(format!("{:?}", self.store.close()?)),
            _ => panic!("{words:?} makes no sense"),
        }
    }

    fn script(&self, tag: &str, key: &str, plan: &str) -> Script {
        Script {
            tag: tag.to_owned(),
            store: self.store.clone(),
            ledger: self.ledger.clone(),
            on_interrupt: OnInterrupt::Refuse,
            wait: Duration::from_secs(60),
            key: key.to_owned(),
            plan: plan.to_owned(),
            ending: None,
        }
    }

    /// Gives `key=value` for every key; all threads must have got the same.
    fn storm(&self, form: &str, threads: usize, keys: usize) -> String {
        let all: Vec<Vec<String>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut got: Vec<String> = (0..keys)
                            .map(|n| {
                                let key = format!("k{}", (n + thread * 7) % keys);
                                let value = call(form, &self.script("storm", &key, "quick"));
                                format!("{key}={}", value.unwrap_or_else(|error| panic!("{key}: {error:?}")))
                            })
                            .collect();
                        got.sort();
                        got
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            all.iter().all(|got| *got == all[0]),
            "the threads of one process got different values: {all:?}"
        );
        all[0].join(",")
    }
}

/// The instructions for a body.
struct Script {
    tag: String,
    store: Store,
    ledger: PathBuf,
    on_interrupt: OnInterrupt,
    wait: Duration,
    key: String,
    plan: String,
    ending: Option<Mutex<Receiver<String>>>,
}

#[derive(Debug)]
enum Failure {
    Ours(Error),
    Own,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

fn call(form: &str, script: &Script) -> Result<String, Failure> {
    DYING_AT.with(|at| at.borrow_mut().clone_from(&script.plan));
    let value = match form {
        "sync" => effect(script),
        "async" => block_on(effect_async(script)),
        _ => panic!("`{form}` is no form"),
    };
    value.map(|value| value.0)
}

#[idempotent(
    name = "tests.effect",
    key = script.key(),
    same_for_types,
    fingerprint = none,
    store = script.store,
    wait = script.wait,
    on_interrupt = script.on_interrupt
)]
fn effect(script: &Script) -> Result<Value, Failure> {
    script.play()
}

/// The async form. Both functions say that they share their name.
async fn effect_async(script: &Script) -> Result<Value, Failure> {
    let call = idem_runtime::call("tests.effect")
        .same_for_types()
        .key(script.key())
        .store(&script.store)
        .wait(script.wait);
    call.on_interrupt(script.on_interrupt).run_async(async || script.play()).await
}

impl Script {
    fn key(&self) -> &str {
        self.die_at("die-before-the-claim");
        &self.key
    }

    fn play(&self) -> Result<Value, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.die_at("die-before-the-effect");
        let value = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut ledger = OpenOptions::new().append(true).create(true).open(&self.ledger).unwrap();
        ledger.write_all(format!("{} {value}\n", self.key).as_bytes()).unwrap();
        self.die_at("die-after-the-effect");
        if self.plan != "hold" {
            return Ok(Value(value));
        }
        say(&format!("{} started", self.tag));
        match self.ending.as_ref().unwrap().lock().unwrap().recv().unwrap().as_str() {
            "ok" => Ok(Value(value)),
            "err" => Err(Failure::Own),
            // A panic that prints nothing.
            _ => std::panic::resume_unwind(Box::new("as asked")),
        }
    }

    fn die_at(&self, moment: &str) {
        if self.plan == moment {
            std::process::abort();
        }
    }
}

thread_local! {
    static DYING_AT: std::cell::RefCell<String> = std::cell::RefCell::default();
}

fn die_at(moment: &str) {
    if DYING_AT.with(|at| *at.borrow() == moment) {
        std::process::abort();
    }
}

/// A result that can end the program between its body and its record.
struct Value(String);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        die_at("die-before-the-record");
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        String::deserialize(deserializer).map(Value)
    }
}

/// Ends the program at an event of the store: the moments between claim and body, and between record and return.
fn die_at_event(event: &tracing::Event<'_>) {
    event.record(&mut Message);
}

struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            die_at(&format!("die-when-{value:?}"));
        }
    }
}
