//! The calls of a specimen, and its answers when they are made again.

use std::ops::AddAssign;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_runtime::{Codec, Error, ErrorKind, Filter, Store, on_err};

use crate::shared::call;

use super::damage::Files;
use super::specimen::{End, Kind};

const NAME: &str = "bytes.effect";

/// A body that runs again may meet a table that cannot be written; its caller gets the error soon.
const RECORD_WITHIN: Duration = Duration::from_millis(200);

/// Stores that were not closed. They keep their memory.
pub(super) static LEFT: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Done(usize),
    InDoubt(usize),
    Failed(usize),
    /// It runs while the store is killed.
    Running,
}

/// All calls but the one that runs, in the order in which they are made. Enough of them that table and index have
/// inner pages of 512 bytes.
pub(super) const CALLS: [Known; 32] = {
    let mut calls = [Known::Done(0); 32];
    let mut n = 0;
    while n < calls.len() {
        calls[n] = match n % 8 {
            3 => Known::InDoubt(n),
            7 => Known::Failed(n),
            _ => Known::Done(n),
        };
        n += 1;
    }
    calls
};

/// How many of them an older copy knows.
pub(super) const EARLY: usize = 26;

/// How often a damaged store answered what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    pub(super) points: usize,
    pub(super) right: usize,
    pub(super) refused: usize,
    pub(super) ran: usize,
    /// Of those that ran: in stores in which `verify` had found nothing wrong.
    pub(super) unverified: usize,
    pub(super) wrong: usize,
    pub(super) panics: usize,
}

impl Answers {
    /// All counts, in an order of their own; see [`from_counts`](Answers::from_counts).
    pub(super) fn counts(&self) -> [usize; 7] {
        [self.points, self.right, self.refused, self.ran, self.unverified, self.wrong, self.panics]
    }

    pub(super) fn from_counts(counts: [usize; 7]) -> Answers {
        let [points, right, refused, ran, unverified, wrong, panics] = counts;
        Answers { points, right, refused, ran, unverified, wrong, panics }
    }

    pub(super) fn text(&self) -> String {
        let [points, right, refused, ran, unverified, wrong, panics] = self.counts();
        let seen = if ran > 0 { format!(" ({unverified} unseen by `verify`)") } else { String::new() };
        format!(
            "{points} points, {right} right, {refused} errors, {ran} false absents{seen}, {wrong} wrong values, {panics} \
             panics"
        )
    }
}

impl AddAssign for Answers {
    fn add_assign(&mut self, other: Answers) {
        let (mine, others) = (self.counts(), other.counts());
        *self = Answers::from_counts(std::array::from_fn(|n| mine[n] + others[n]));
    }
}

impl Known {
    fn key(self) -> String {
        match self {
            Known::Done(n) => format!("done-{n}"),
            Known::InDoubt(n) => format!("doubt-{n}"),
            Known::Failed(n) => format!("failed-{n}"),
            Known::Running => "running".into(),
        }
    }

    fn make(self, store: &Store, body: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
        // Half of them as JSON, where nothing but the row's own checksum stands between a flipped bit and its caller.
        let json = matches!(self, Known::Done(n) if n % 2 == 0);
        let codec = if json { Codec::Json } else { Codec::Bincode };
        call(NAME)
            .store(store)
            .key(&self.key())
            .codec(codec)
            .on_err(on_err::Remember)
            .wait(Duration::ZERO)
            .run(body)
    }

    /// Makes the call again and judges the answer. An error is always right, unless the body has run before it.
    fn ask(self, store: &Store) -> Answers {
        let mut answers = Answers::default();
        let mut ran = false;
        let body = || {
            ran = true;
            Ok(String::new())
        };
        let answer = self.make(store, body);
        let count = match (self, answer) {
            _ if ran => &mut answers.ran,
            (Known::Done(n), Ok(value)) if value == value_of(n) => &mut answers.right,
            (Known::Failed(n), Err(Failure::Own(text))) if text == value_of(n) => &mut answers.right,
            (Known::InDoubt(_) | Known::Running, Err(Failure::Ours(ErrorKind::InDoubt))) => {
                &mut answers.right
            }
            (_, Ok(_) | Err(Failure::Own(_))) => &mut answers.wrong,
            (_, Err(Failure::Ours(_))) => &mut answers.refused,
        };
        *count += 1;
        answers
    }
}

pub(super) fn value_of(n: usize) -> String {
    format!("the result of call {n}, which is a little longer")
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Failure {
    Own(String),
    #[serde(skip)]
    Ours(ErrorKind),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error.kind())
    }
}

/// Makes calls for the first time.
pub(super) fn make(store: &Store, calls: &[Known]) {
    for &known in calls {
        let body = || match known {
            Known::Done(n) => Ok(value_of(n)),
            Known::Failed(n) => Err(Failure::Own(value_of(n))),
            Known::InDoubt(_) | Known::Running => std::panic::resume_unwind(Box::new("cut off")),
        };
        let made = std::panic::catch_unwind(|| known.make(store, body));
        assert!(!matches!(made, Ok(Err(Failure::Ours(_)))), "{known:?}: {made:?}");
    }
    while store.stats().expect("stats").running_here > 0 {
        std::thread::yield_now();
    }
}

/// What the store's files hold while a call is running.
pub(super) fn during_one(store: &Store, read: impl FnOnce() -> Files) -> Files {
    let mut files = Files::new();
    let body = || {
        files = read();
        Ok(String::new())
    };
    Known::Running.make(store, body).expect("done");
    files
}

/// Opens a damaged store, has it verified, makes every call again and looks at everything an operator looks at.
pub(super) fn ask(kind: Kind, path: &Path) -> Answers {
    let running = (kind.end != End::Closed).then_some(Known::Running);
    let calls = CALLS.into_iter().chain(running);
    let mut answers = Answers { points: 1, ..Answers::default() };
    let Ok(store) = kind.builder().record_within(RECORD_WITHIN).open(path) else {
        return Answers { refused: calls.count(), ..answers };
    };
    let seems_whole = store.verify().is_ok_and(|flaws| flaws.is_empty());
    calls.for_each(|known| answers += known.ask(&store));
    if seems_whole {
        answers.unverified = answers.ran;
    }
    // Nothing is expected of these but that they end.
    let _ = (store.list(&Filter::new()), store.get(NAME, "done-0"), store.stats(), store.purge_expired(10));
    leave(store);
    answers
}

/// Closes a damaged store. One that cannot write what ended would try for 30 s: it is left to itself, and gives up when
/// its files go.
fn leave(store: Store) {
    if store.stats().is_ok_and(|stats| stats.running_here == 0) {
        // A damaged store may be unable to close.
        let _ = store.close();
    } else {
        LEFT.fetch_add(1, Ordering::Relaxed);
        std::mem::forget(store);
    }
}
