//! Part 7: a clock that is turned while real stores live by it.
//!
//! Random walks of time passing, wall clocks set forwards and backwards (1970, a year to either side), sleep, and starts
//! of the machine with a right, a dead or a slow clock. True time is known to the walk. Nothing may expire before its
//! lifetime has truly passed; it may live longer by the sum of the clock's errors at most, once the clock is right again;
//! what is in doubt is never purged.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use idem_runtime::{Clock, Error, Lifetime, Status, Store};

use crate::frame::{Dice, Options, Report, fast_folder};
use crate::shared::call;
use crate::tally::Tally;

const NOW_MS: i64 = 1_780_272_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
const NAME: &str = "clocks.effect";

/// What a turned clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Pass(i64),
    /// The wall clock is off by so much from now on.
    Set(i64),
    /// The battery is empty: 1970.
    Epoch,
    /// The store is closed and opened; the machine stays up.
    Reopen,
    /// The machine restarts: the wall clock is off by so much.
    Reboot(i64),
    RebootAt1970,
    Purge,
}

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let walks = options.points(60, 4_000);
    let mut report = Report::new("clocks: random changes of the clock over a real store, restarts included");
    let mut dice = Dice::new(options.seed);
    let mut naive = 0;
    let mut expired = 0;
    for n in 0..walks {
        let turns = walk(&mut dice);
        let outcome = Walk::new().run(&turns);
        naive += usize::from(naive_expires_early(&turns));
        expired += outcome.expired;
        let tell = |what: String| format!("walk {n} {turns:?}: {what}");
        report.point(outcome.violations.into_iter().map(tell).collect());
    }
    if expired == 0 {
        report.violation("nothing ever expired: the walks prove nothing");
    }
    report.note(format!("{expired} records expired, each after its time"));
    report.control("age by the wall clock alone: series that expire early", naive);
    vec![report]
}

/// A walk in which the first believable clock of each boot is right. What no rule can see, as `timeline` says, is left
/// out: a clock that is ahead when it is first believed, and one that is believed and behind for a whole boot.
fn walk(dice: &mut Dice) -> Vec<Turn> {
    let errors = [0, YEAR_MS, -YEAR_MS, DAY_MS, -DAY_MS, HOUR_MS, -HOUR_MS];
    let (mut placed, mut was_ahead) = (true, false);
    let mut turn = |dice: &mut Dice| match dice.below(9) {
        0 | 1 => Turn::Pass(HOUR_MS * 7),
        // A laptop that sleeps for a fortnight: both clocks go on.
        2 => Turn::Pass(14 * DAY_MS),
        3 => {
            let error_ms = if placed { errors[dice.below(errors.len())] } else { 0 };
            was_ahead |= error_ms > 0;
            placed |= !was_ahead;
            Turn::Set(error_ms)
        }
        4 => Turn::Epoch,
        5 => Turn::Reopen,
        6 if dice.below(2) == 0 => {
            placed = !was_ahead;
            Turn::Reboot(0)
        }
        6 => {
            placed = false;
            Turn::Reboot(-YEAR_MS)
        }
        7 => {
            placed = false;
            Turn::RebootAt1970
        }
        _ => Turn::Purge,
    };
    (0..5 + dice.below(8)).map(|_| turn(dice)).collect()
}

#[derive(Clone, Debug)]
struct Turned(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    true_ms: AtomicI64,
    error_ms: AtomicI64,
    booted_ms: AtomicI64,
    boot: AtomicI64,
}

impl Turned {
    fn true_ms(&self) -> i64 {
        self.0.true_ms.load(Ordering::SeqCst)
    }

    fn error_ms(&self) -> i64 {
        self.0.error_ms.load(Ordering::SeqCst)
    }

    fn set_error(&self, error_ms: i64) {
        self.0.error_ms.store(error_ms, Ordering::SeqCst);
    }

    fn reboot(&self) {
        // A restart takes a minute without a reading.
        self.0.true_ms.fetch_add(60_000, Ordering::SeqCst);
        self.0.booted_ms.store(self.true_ms() - 5_000, Ordering::SeqCst);
        self.0.boot.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn wall_ms(&self) -> i64 {
        self.true_ms() + self.error_ms()
    }

    fn boot_ms(&self) -> i64 {
        self.true_ms() - self.0.booted_ms.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.0.boot.load(Ordering::SeqCst))
    }
}

/// A finished record as the walk knows it.
struct Known {
    key: String,
    done_ms: i64,
    ttl_ms: i64,
}

struct Walk {
    folder: tempfile::TempDir,
    clock: Turned,
    store: Store,
    known: Vec<Known>,
    made: u32,
    outcome: Outcome,
}

#[derive(Default)]
struct Outcome {
    violations: Vec<String>,
    expired: usize,
}

impl Walk {
    fn new() -> Walk {
        let folder = fast_folder();
        let hands = Hands {
            true_ms: AtomicI64::new(NOW_MS),
            error_ms: AtomicI64::new(0),
            booted_ms: AtomicI64::new(NOW_MS - HOUR_MS),
            boot: AtomicI64::new(1),
        };
        let clock = Turned(Arc::new(hands));
        let store = open(folder.path(), &clock);
        let cut = catch_unwind(AssertUnwindSafe(|| {
            effect(&store, "doubt", HOUR_MS, || resume_unwind(Box::new("cut off")))
        }));
        assert!(cut.is_err());
        Walk { folder, clock, store, known: Vec::new(), made: 0, outcome: Outcome::default() }
    }

    fn run(mut self, turns: &[Turn]) -> Outcome {
        for turn in turns {
            self.make();
            self.turn(*turn);
            self.check();
        }
        self.check_bound();
        // A store that cannot close says so in the part that is about that.
        let _ = self.store.close();
        self.outcome
    }

    /// A call whose record lives for a day or two.
    fn make(&mut self) {
        self.made += 1;
        let (key, ttl_ms) = (format!("k{}", self.made), DAY_MS * (1 + i64::from(self.made % 2)));
        match effect(&self.store, &key, ttl_ms, || Ok(1)) {
            Ok(1) => self.known.push(Known { key, done_ms: self.clock.true_ms(), ttl_ms }),
            other => self.outcome.violations.push(format!("a new call gave {other:?}")),
        }
    }

    fn turn(&mut self, turn: Turn) {
        let clock = self.clock.clone();
        match turn {
            Turn::Pass(ms) => drop(clock.0.true_ms.fetch_add(ms, Ordering::SeqCst)),
            Turn::Set(error_ms) => clock.set_error(error_ms),
            Turn::Epoch => clock.set_error(-clock.true_ms()),
            Turn::Reopen => self.reopen(|_| {}),
            Turn::Reboot(error_ms) => self.reopen(|clock| {
                clock.reboot();
                clock.set_error(error_ms);
            }),
            Turn::RebootAt1970 => self.reopen(|clock| {
                clock.reboot();
                clock.set_error(5_000 - clock.true_ms());
            }),
            Turn::Purge => {
                if let Err(error) = self.store.purge_expired(1_000) {
                    self.outcome.violations.push(format!("the purge failed: {error}"));
                }
            }
        }
    }

    fn reopen(&mut self, between: impl FnOnce(&Turned)) {
        self.store.close().expect("closed");
        between(&self.clock);
        self.store = open(self.folder.path(), &self.clock);
    }

    /// Nothing is gone before its time, and what is in doubt stays.
    fn check(&mut self) {
        let now_ms = self.clock.true_ms();
        let mut known = std::mem::take(&mut self.known);
        known.retain(|record| {
            let found = self.store.get(NAME, &record.key).expect("readable");
            let is_over = found.is_none_or(|found| found.is_expired());
            if is_over && now_ms - record.done_ms < record.ttl_ms {
                self.outcome.violations.push(format!(
                    "`{}` expired {} ms early",
                    record.key,
                    record.ttl_ms - (now_ms - record.done_ms)
                ));
            }
            self.outcome.expired += usize::from(is_over);
            !is_over
        });
        self.known = known;
        let doubt = self.store.get(NAME, "doubt").expect("readable");
        if doubt.map(|found| found.status()) != Some(Status::InDoubt) {
            self.outcome.violations.push("the call in doubt is gone".into());
        }
    }

    /// With the clock right again, in a new boot, everything ends: the largest error ever shown is what it may add.
    fn check_bound(&mut self) {
        self.reopen(|clock| {
            clock.reboot();
            clock.set_error(0);
            clock.0.true_ms.fetch_add(2 * DAY_MS + 2 * YEAR_MS + DAY_MS, Ordering::SeqCst);
        });
        self.make();
        // What was made in a boot without a believable clock counts from here.
        self.clock.0.true_ms.fetch_add(3 * DAY_MS, Ordering::SeqCst);
        self.make();
        for record in &self.known[..self.known.len().saturating_sub(2)] {
            let found = self.store.get(NAME, &record.key).expect("readable");
            if found.is_some_and(|found| !found.is_expired()) {
                self.outcome
                    .violations
                    .push(format!("`{}` lives on, longer than the clock was ever off", record.key));
            }
        }
    }
}

fn open(folder: &Path, clock: &Turned) -> Store {
    Store::builder().clock(clock.clone()).open(folder.join("idem.db")).expect("a store")
}

fn effect(
    store: &Store,
    key: &str,
    ttl_ms: i64,
    body: impl FnOnce() -> Result<u32, Error>,
) -> Result<u32, Error> {
    let ttl: Lifetime = Duration::from_millis(ttl_ms.unsigned_abs()).into();
    call(NAME).store(store).key(key).ttl(ttl).keep_result(ttl).wait(Duration::ZERO).run(body)
}

/// The control: what `now - stored at` would have done on the same walk.
fn naive_expires_early(turns: &[Turn]) -> bool {
    let (mut true_ms, mut error_ms) = (NOW_MS, 0);
    let mut made = Vec::new();
    for turn in turns {
        made.push((true_ms, true_ms + error_ms));
        match turn {
            Turn::Pass(ms) => true_ms += ms,
            Turn::Set(ms) | Turn::Reboot(ms) => error_ms = *ms,
            Turn::Epoch | Turn::RebootAt1970 => error_ms = -true_ms,
            Turn::Reopen | Turn::Purge => {}
        }
        let early = |(at, wall): &(i64, i64)| true_ms + error_ms - wall >= DAY_MS && true_ms - at < DAY_MS;
        if made.iter().any(early) {
            return true;
        }
    }
    false
}
