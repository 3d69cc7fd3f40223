//! `kill -9` of the example at any moment, and of a call at every stage.
//!
//! `IDEM_TESTS_KILLS=500 cargo test -p idem-tests crash` kills 500 times each instead of 10 times. `IDEM_TESTS_SEED` repeats
//! a run.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use idem_runtime::{ErrorKind, OnInterrupt, Status};

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect};
use idem_tests::deadline;
use idem_tests::halt::{LONG, pause_for};

const WORKERS: usize = 8;
/// Longer than it takes from the start of the example to its first charges, shorter than the whole stream takes.
const KILL_AFTER_MS_MAX: u64 = 400;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Numbers that differ from run to run, unless a seed is given.
struct Dice {
    seed: u64,
}

impl Dice {
    fn new() -> Dice {
        let seed = number_from("IDEM_TESTS_SEED", RandomState::new().hash_one(0));
        eprintln!("IDEM_TESTS_SEED={seed}");
        Dice { seed }
    }

    /// Below `limit`.
    fn roll(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % limit
    }
}

/// The example, built as `cargo run --example deliveries` builds it.
fn deliveries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/debug/deps/it-…
        let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args([
            "build",
            "--quiet",
            "--example",
            "deliveries",
        ]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the example could not be built");
        profile.join("examples/deliveries")
    })
}

/// The example on one store and one ledger, for any number of runs.
struct Consumer {
    place: Place,
    on_interrupt: &'static str,
}

impl Consumer {
    fn new(on_interrupt: &'static str) -> Consumer {
        Consumer { place: Place::new(), on_interrupt }
    }

    fn command(&self, work_ms: &str) -> Command {
        let mut command = Command::new(deliveries());
        command.arg("--store").arg(self.place.database()).arg("--ledger").arg(self.ledger());
        command.args(["--json", "--work-ms", work_ms, "--on-interrupt", self.on_interrupt]);
        command.args(["--workers", &WORKERS.to_string()]);
        command
    }

    fn ledger(&self) -> PathBuf {
        self.place.folder().join("ledger.tsv")
    }

    /// Starts the example and kills it after so many milliseconds.
    fn begin_and_kill(&self, after_ms: u64) {
        let mut child = self.command("5").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause_for(Duration::from_millis(after_ms));
        child.kill().unwrap();
        deadline::start();
        child.wait().unwrap();
    }

    /// Runs to the end; gives the counts and the exit status.
    fn finish(&self) -> (BTreeMap<String, u64>, i32) {
        deadline::start();
        let Output { status, stdout, stderr } = self.command("0").output().unwrap();
        let stdout = String::from_utf8(stdout).unwrap();
        let counts = stdout.lines().last().map_or_else(
            || unreachable!("no counts: {status}, {}", String::from_utf8_lossy(&stderr)),
            serde_json::from_str,
        );
        (counts.unwrap(), status.code().unwrap())
    }

    /// How often each event was charged.
    fn charges(&self) -> BTreeMap<String, usize> {
        let mut charges = BTreeMap::new();
        for line in std::fs::read_to_string(self.ledger()).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 3, "a torn line in the ledger: {line:?}");
            *charges.entry(fields[0].to_owned()).or_insert(0) += 1;
        }
        charges
    }
}

/// The ids of all events, as the ledger writes them.
fn events() -> BTreeSet<String> {
    let stream = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/deliveries.jsonl");
    let stream = std::fs::read_to_string(stream).unwrap();
    let ids = stream.lines().filter_map(|line| {
        let delivery: serde_json::Value = serde_json::from_str(line).unwrap();
        delivery["event_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned)
    });
    ids.collect()
}

#[test]
fn the_example_charges_each_event_once_and_replays_all_of_them_the_second_time() {
    let consumer = Consumer::new("refuse");
    for (charged, replayed) in [(1_500, 1_653), (0, 3_153)] {
        let (counts, status) = consumer.finish();
        assert_eq!((counts["charged"], counts["replayed"], status), (charged, replayed, 0), "{counts:?}");
        assert_eq!((counts["deliveries"], counts["conflicts"], counts["missing_key"]), (3_192, 28, 11));
        assert_eq!((counts["in_doubt"], counts["errors"]), (0, 0));
    }
    assert_eq!(consumer.charges().into_keys().collect::<BTreeSet<_>>(), events());
    assert!(consumer.charges().values().all(|times| *times == 1));
}

// Field 1, 2.
#[test]
fn killed_at_any_moment_and_run_again_with_rerun_no_event_is_missing_and_only_those_in_flight_are_repeated() {
    let (mut dice, kills) = (Dice::new(), number_from("IDEM_TESTS_KILLS", 10));
    let mut left = kills;
    while left > 0 {
        let consumer = Consumer::new("rerun");
        let mut killed = 0;
        let mut before = 0;
        for _ in 0..left.min(5) {
            consumer.begin_and_kill(dice.roll(KILL_AFTER_MS_MAX));
            (killed, left) = (killed + 1, left - 1);
            let repeats: usize = consumer.charges().values().map(|times| times - 1).sum();
            assert!(repeats <= before + WORKERS, "one kill repeated {} charges", repeats - before);
            before = repeats;
        }
        let (counts, status) = consumer.finish();
        assert_eq!((counts["errors"], counts["in_doubt"], status), (0, 0, 0), "{counts:?}");
        let charges = consumer.charges();
        assert_eq!(charges.keys().cloned().collect::<BTreeSet<_>>(), events(), "no event is missing");
        let repeats: usize = charges.values().map(|times| times - 1).sum();
        assert!(repeats <= killed * WORKERS, "{repeats} repeats after {killed} kills");
        eprintln!("{killed} kills: {repeats} of {} charges repeated", charges.len());
    }
}

// Field 1, 2.
#[test]
fn killed_at_any_moment_and_run_again_with_refuse_nothing_is_repeated_and_those_in_flight_are_in_doubt() {
    let (mut dice, kills) = (Dice::new(), number_from("IDEM_TESTS_KILLS", 10));
    let mut left = kills;
    while left > 0 {
        let consumer = Consumer::new("refuse");
        let mut killed = 0;
        for _ in 0..left.min(5) {
            consumer.begin_and_kill(dice.roll(KILL_AFTER_MS_MAX));
            (killed, left) = (killed + 1, left - 1);
        }
        let (counts, status) = consumer.finish();
        let charges = consumer.charges();
        assert!(charges.values().all(|times| *times == 1), "repeated: {charges:?}");
        let store = consumer.place.open();
        let doubtful = store.list(&idem_runtime::Filter::new().status(Status::InDoubt)).unwrap();
        let doubtful: BTreeSet<String> = doubtful.iter().map(|record| record.key().to_owned()).collect();
        assert!(doubtful.len() <= killed * WORKERS, "{doubtful:?}");
        let missing: BTreeSet<String> = events().into_iter().filter(|id| !charges.contains_key(id)).collect();
        assert!(missing.is_subset(&doubtful), "lost without a trace: {:?}", missing.difference(&doubtful));
        // Each of them is reported, by every delivery of it that has the same amount.
        assert_eq!((counts["errors"], status), (0, if doubtful.is_empty() { 0 } else { 2 }), "{counts:?}");
        assert!(counts["in_doubt"] >= doubtful.len() as u64, "{counts:?}");
        eprintln!(
            "{killed} kills: {} events in doubt, {} of them not charged",
            doubtful.len(),
            missing.len()
        );
    }
}

/// The stages at which a call can be cut off, and the traces of each.
struct Stage {
    plan: &'static str,
    effects: usize,
    status: Option<Status>,
}

const STAGES: [Stage; 6] = [
    Stage { plan: "die-before-the-claim", effects: 0, status: None },
    Stage { plan: "die-when-claimed", effects: 0, status: Some(Status::InDoubt) },
    Stage { plan: "die-before-the-effect", effects: 0, status: Some(Status::InDoubt) },
    Stage { plan: "die-after-the-effect", effects: 1, status: Some(Status::InDoubt) },
    Stage { plan: "die-before-the-record", effects: 1, status: Some(Status::InDoubt) },
    Stage { plan: "die-when-executed", effects: 1, status: Some(Status::Done) },
];

// Rule 3, 4, 8. Field 1, 2.
#[test]
fn a_call_that_is_cut_off_at_any_stage_is_in_doubt_exactly_if_its_effect_may_have_happened() {
    for form in FORMS {
        for Stage { plan, effects, status } in STAGES {
            let place = Place::new();
            let mut worker = Worker::start(&place);
            worker.call("first", form, "refuse", "k", plan);
            assert!(worker.has_aborted(), "{plan}");
            assert_eq!(place.effects("k").len(), effects, "{plan}");

            let store = place.open();
            let stands = store.get(NAME, "k").unwrap();
            assert_eq!(stands.map(|record| record.status()), status, "{plan}");
            let mut ran = false;
            let mut again = |mode| {
                effect(form, &store, "k", mode, LONG, || {
                    ran = true;
                    Ok("again".to_owned())
                })
            };
            let refused = again(OnInterrupt::Refuse);
            match status {
                None => assert_eq!(refused.unwrap(), "again", "{plan}"),
                Some(Status::Done) => assert_eq!(vec![refused.unwrap()], place.effects("k"), "{plan}"),
                _ => {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InDoubt, "{plan}");
                    assert_eq!(again(OnInterrupt::rerun()).unwrap(), "again", "{plan}");
                    assert_eq!(store.get(NAME, "k").unwrap().unwrap().attempt(), 2, "{plan}");
                }
            }
            assert_eq!(ran, status != Some(Status::Done), "{plan}");
        }
    }
}

// Field 2: a poison message ends the program at every attempt, and the attempts are limited.
#[test]
fn a_call_that_ends_its_process_at_every_attempt_is_given_up_after_as_many_as_were_allowed() {
    for form in FORMS {
        let place = Place::new();
        for _ in 0..3 {
            let mut worker = Worker::start(&place);
            worker.call("again", form, "rerun", "k", "die-after-the-effect");
            assert!(worker.has_aborted());
        }
        let store = place.open();
        let body = || unreachable!("a fourth attempt");
        let error = effect(form, &store, "k", OnInterrupt::rerun_at_most(3), LONG, body).unwrap_err();
        assert!(error.kind() == ErrorKind::InDoubt && error.to_string().contains("attempt 3"), "{error}");
        assert_eq!(place.effects("k").len(), 3);
    }
}
