//! The promise about three runs, the first of which was disturbed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::shop::shop;

pub(super) const KEYS: [&str; 3] = ["k1", "k2", "k3"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Refuse,
    Rerun,
    Recover,
    Tx,
    /// The control.
    Naive,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::Refuse, Mode::Rerun, Mode::Recover, Mode::Tx, Mode::Naive];

    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Refuse => "refuse",
            Mode::Rerun => "rerun",
            Mode::Recover => "recover",
            Mode::Tx => "tx",
            Mode::Naive => "naive",
        }
    }

    pub(super) fn of(name: &str) -> Mode {
        Mode::ALL.into_iter().find(|mode| mode.name() == name).expect("a mode")
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    pub(super) mode: Mode,
    pub(super) is_async: bool,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mode.name(), if self.is_async { "async" } else { "sync" })
    }
}

pub(super) const VARIANTS: [Variant; 7] = [
    Variant { mode: Mode::Refuse, is_async: false },
    Variant { mode: Mode::Refuse, is_async: true },
    Variant { mode: Mode::Rerun, is_async: false },
    Variant { mode: Mode::Rerun, is_async: true },
    Variant { mode: Mode::Recover, is_async: false },
    Variant { mode: Mode::Recover, is_async: true },
    Variant { mode: Mode::Tx, is_async: false },
];

/// The answer of a run for a key: `ok VALUE` or `err KIND RAN …`.
type Answers = BTreeMap<(usize, String), String>;

/// Compares the traces in `folder` with the promise.
pub(super) fn violations(folder: &Path, variant: Variant) -> Vec<String> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let effects = if variant.mode == Mode::Tx { rows(folder) } else { lines(&read("effects")) };
    let answers: Answers =
        lines(&read("answers")).into_iter().map(|(run, key, text)| ((run, key), text)).collect();
    let mut found = Vec::new();
    for line in read("flaws").lines() {
        found.push(format!("the store has a flaw: {line}"));
    }
    for line in read("refused").lines().filter(|line| !line.starts_with("0 ")) {
        found.push(format!("the store did not open again: {line}"));
    }
    for key in KEYS {
        let of_key: Vec<(usize, &str)> = effects
            .iter()
            .filter(|(_, other, _)| other == key)
            .map(|(run, _, value)| (*run, &**value))
            .collect();
        let answer = |run| answers.get(&(run, key.to_owned())).map(String::as_str);
        let mut wrong =
            Key { mode: variant.mode, effects: &of_key, answers: [0, 1, 2].map(answer) }.violations();
        for wrong in &mut wrong {
            *wrong = format!("{key}: {wrong}; effects {of_key:?}, answers {:?}", [0, 1, 2].map(answer));
        }
        found.extend(wrong);
    }
    found
}

struct Key<'a> {
    mode: Mode,
    /// By run.
    effects: &'a [(usize, &'a str)],
    answers: [Option<&'a str>; 3],
}

impl Key<'_> {
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let [disturbed, first, second] = self.answers;
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                found.push(what.to_owned());
            }
        };
        let (Some(first), Some(second)) = (first, second) else {
            return vec!["a later run gave no answer".to_owned()];
        };
        demand(first == second, "two undisturbed runs disagree");
        let acknowledged = disturbed.and_then(|answer| answer.strip_prefix("ok "));
        if let Some(value) = acknowledged {
            demand(first.strip_prefix("ok ") == Some(value), "an acknowledged result is not replayed");
        }
        if disturbed
            .is_some_and(|answer| answer.starts_with("err ") && answer.split(' ').nth(2) == Some("No"))
        {
            demand(
                !self.effects.iter().any(|(run, _)| *run == 0),
                "it ran though the error says that it did not",
            );
        }
        let done = first.strip_prefix("ok ");
        let is_last = self.effects.last().is_some_and(|(_, value)| done == Some(value));
        match self.mode {
            Mode::Refuse | Mode::Naive => {
                demand(self.effects.len() <= 1, "more than one effect");
                demand(done.is_none() || is_last, "the result is not that of the effect");
                let in_doubt = first.starts_with("err InDoubt");
                demand(done.is_some() || in_doubt, "neither a result nor in doubt");
            }
            Mode::Rerun => {
                demand(is_last, "it was not done, or the result is not that of the last effect");
                let most = if acknowledged.is_some() { 1 } else { 2 };
                demand(self.effects.len() <= most, "too many effects");
            }
            Mode::Recover | Mode::Tx => demand(is_last && self.effects.len() == 1, "not exactly once"),
        }
        found
    }
}

/// Lines of `RUN KEY TEXT`. A last line that is torn was never said.
fn lines(text: &str) -> Vec<(usize, String, String)> {
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let fields = whole.filter_map(|line| {
        let (run, rest) = line.split_once(' ')?;
        let (key, text) = rest.split_once(' ')?;
        Some((run.parse().ok()?, key.to_owned(), text.to_owned()))
    });
    fields.collect()
}

fn rows(folder: &Path) -> Vec<(usize, String, String)> {
    let conn = shop(folder).expect("the application's database");
    let mut select = conn.prepare("SELECT key, value FROM effect ORDER BY rowid").expect("a table");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).expect("rows");
    rows.map(|row| {
        let (key, value) = row.expect("a row");
        (value.split('.').next().and_then(|run| run.parse().ok()).expect("a run"), key, value)
    })
    .collect()
}
