//! The program that is killed: three calls one after the other, each with an effect outside.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use idem_runtime::{Error, OnInterrupt, Store, Verdict, install};
use rusqlite::OptionalExtension;

use crate::shared::call;
use crate::shop::shop;

use super::model::{KEYS, Mode};

#[path = "../../../src/plain.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests; a part of it is used here")]
mod plain;

/// What a call gives back where it fails.
#[derive(Debug)]
pub(super) enum Failure {
    Ours(Error),
    /// The body could not do its effect.
    Own,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

/// `MODE sync|async close|exit RUN FOLDER`; begins at the end of a line, or of the input.
pub(crate) fn child(args: &[&str]) {
    let [mode, form, ending, run, folder] = *args else { panic!("{args:?}") };
    let _ = std::io::stdin().read(&mut [0]);
    let place = Place { folder: folder.into(), run: run.to_owned(), is_async: form == "async" };
    match Mode::of(mode) {
        Mode::Naive => place.by_hand(),
        Mode::Tx => place.in_transactions(),
        mode => place.in_a_store(mode, ending),
    }
    // Without a close, as a program that is terminated.
    std::process::exit(0);
}

struct Place {
    folder: PathBuf,
    run: String,
    is_async: bool,
}

impl Place {
    fn value(&self, key: &str) -> String {
        format!("{}.{key}", self.run)
    }

    fn append(&self, file: &str, line: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(self.folder.join(file))?;
        file.write_all(format!("{} {line}\n", self.run).as_bytes())
    }

    fn effect(&self, key: &str) -> Result<String, Failure> {
        let value = self.value(key);
        self.append("effects", &format!("{key} {value}")).map_err(|_| Failure::Own)?;
        Ok(value)
    }

    fn answer(&self, key: &str, answer: Result<String, Failure>) {
        let answer = match answer {
            Ok(value) => format!("ok {value}"),
            Err(Failure::Ours(error)) => format!("err {:?} {:?} {error}", error.kind(), error.ran()),
            Err(Failure::Own) => "err Own Yes".to_owned(),
        };
        // Where this fails the caller knows nothing, as after a crash.
        let _ = self.append("answers", &format!("{key} {answer}"));
    }

    fn in_a_store(&self, mode: Mode, ending: &str) {
        let builder =
            Store::builder().settle_window(Duration::ZERO).record_within(Duration::from_millis(300));
        let store = match builder.open(self.folder.join("idem.db")) {
            Ok(store) => store,
            Err(error) => {
                let _ = self.append("refused", &error.to_string());
                return;
            }
        };
        for key in KEYS {
            self.answer(key, self.call(&store, mode, key));
        }
        if self.run == "2" {
            for flaw in store.verify().expect("a store that can be read") {
                let _ = self.append("flaws", &flaw);
            }
        }
        if ending == "close" {
            let _ = store.close();
        } else {
            std::mem::forget(store);
        }
    }

    fn call(&self, store: &Store, mode: Mode, key: &str) -> Result<String, Failure> {
        let call = call("torture.effect").store(store).key(key).wait(Duration::from_secs(2));
        let body = || self.effect(key);
        let looked_up = || self.look_up(key);
        match (mode, self.is_async) {
            (Mode::Recover, false) => call.recover(looked_up).run(body),
            (Mode::Recover, true) => plain::block_on(async {
                call.recover_async(async || looked_up()).await.run_async(async || body()).await
            }),
            (mode, is_async) => {
                let mode = if mode == Mode::Rerun { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
                let call = call.on_interrupt(mode);
                if is_async { plain::block_on(call.run_async(async || body())) } else { call.run(body) }
            }
        }
    }

    /// What the other side knows.
    fn look_up(&self, key: &str) -> Verdict<String> {
        let effects = std::fs::read_to_string(self.folder.join("effects")).unwrap_or_default();
        let found =
            effects.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix(key)?.strip_prefix(' '));
        found.map_or(Verdict::NotDone, |value| Verdict::Done(value.to_owned()))
    }

    fn in_transactions(&self) {
        let Ok(conn) = shop(&self.folder) else { return };
        if install(&conn).is_err() {
            return;
        }
        for key in KEYS {
            let body = || {
                let value = self.value(key);
                let inserted = conn.execute("INSERT INTO effect VALUES (?1, ?2)", [key, value.as_str()]);
                inserted.map(|_| value).map_err(|_| Failure::Own)
            };
            self.answer(key, call("torture.effect").key(key).tx(&conn).run(body));
        }
    }

    /// How it is done by hand, and what the check must find wrong.
    fn by_hand(&self) {
        let Ok(conn) = shop(&self.folder) else { return };
        for key in KEYS {
            let select = "SELECT value FROM effect WHERE key = ?1";
            let Ok(known) = conn.query_row(select, [key], |row| row.get(0)).optional() else { continue };
            let done = known.map_or_else(|| self.effect(key), Ok);
            if let Ok(value) = &done {
                let _ = conn.execute("INSERT INTO effect VALUES (?1, ?2)", [key, value]);
            }
            self.answer(key, done);
        }
    }
}
