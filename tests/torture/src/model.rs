//! Part 4: random calls, crashes, clock steps, purges, steals and reopens against an oracle in memory.
//!
//! It ends only when every operation and every transition of the contract has occurred. A failing sequence is made as
//! short as it goes by proptest.

mod driver;
mod oracle;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::frame::{Options, Report};
use crate::tally::Tally;
use driver::Driver;
use oracle::{TRANSITIONS, Trust};

/// How many keys a sequence has: few, so that they are met again.
const KEYS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Refuse,
    Rerun,
    RerunTwice,
    RecoverDone,
    RecoverNotDone,
    RecoverUnknown,
}

/// The action of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Ok,
    Release,
    Remember,
    InDoubt,
    Panic,
    /// Async: the future is dropped before its first poll, or while it waits.
    DropBefore,
    DropDuring,
    /// An operator steals the call while it runs, and may settle it; then it returns `Ok` all the same.
    Stolen,
    StolenSettledDone,
    StolenSettledNotDone,
    StolenRunElsewhere,
    StolenCutOffElsewhere,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(crate) key: u8,
    pub(crate) arg: u8,
    pub(crate) mode: Mode,
    pub(crate) body: Body,
    pub(crate) ttl_min: Option<u16>,
    pub(crate) keep_min: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Make(Make),
    /// A child process dies in the body.
    Crash {
        key: u8,
    },
    Pass {
        minutes: u16,
    },
    SetWall {
        days: i16,
    },
    Reopen,
    Purge,
    Steal {
        key: u8,
    },
    Forget {
        key: u8,
    },
    SettleDone {
        key: u8,
    },
    SettleWithoutResult {
        key: u8,
    },
    SettleNotDone {
        key: u8,
    },
    RecordDone {
        key: u8,
    },
}

type Seen = Mutex<BTreeMap<&'static str, usize>>;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let wanted = options.points(60, 20_000);
    let mut report =
        Report::new("model: random sequences against an oracle, until every transition has occurred");
    let seen = Seen::default();
    let mut round = 0;
    loop {
        let failure = sequences(wanted, options.seed + round, Trust::Contract, &seen);
        report.points_tried(wanted);
        round += 1;
        if let Some(failure) = failure {
            report.violation(failure);
            break;
        }
        let missing = missing(&seen);
        if missing.is_empty() {
            break;
        }
        if round == 20 {
            report.violation(format!("never occurred: {missing:?}"));
            break;
        }
    }
    let seen = seen.into_inner().unwrap_or_default();
    let rarest = seen.iter().min_by_key(|(_, times)| **times);
    let operations: usize =
        seen.iter().filter(|(what, _)| what.starts_with("op ")).map(|(_, times)| times).sum();
    report.note(format!(
        "{operations} operations, {} kinds of transition, the rarest {rarest:?}",
        TRANSITIONS.len()
    ));
    let blind = Trust::DEFECTS.map(|trust| sequences(400, options.seed, trust, &Seen::default()));
    report.control(format!("{} oracles that trust too much", blind.len()), blind.iter().flatten().count());
    vec![report]
}

fn missing(seen: &Seen) -> Vec<&'static str> {
    let seen = seen.lock().expect("not poisoned");
    TRANSITIONS.iter().copied().filter(|what| !seen.contains_key(what)).collect()
}

/// Runs sequences; gives the shortest that fails.
fn sequences(cases: usize, seed: u64, trust: Trust, occurred: &Seen) -> Option<String> {
    let config = Config {
        cases: u32::try_from(cases).unwrap_or(u32::MAX),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tried = runner.run(&proptest::collection::vec(op(), 1..30), |ops| {
        let driver = Driver::new(trust);
        driver.run(&ops, occurred).map_err(TestCaseError::fail)
    });
    match tried {
        Ok(()) => None,
        Err(TestError::Fail(why, ops)) => Some(format!("{why} after {ops:?}")),
        Err(TestError::Abort(why)) => Some(format!("aborted: {why}")),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS;
    prop_oneof![
        24 => make().prop_map(Op::Make),
        1 => key.clone().prop_map(|key| Op::Crash { key }),
        3 => prop::sample::select(vec![20_u16, 60, 180]).prop_map(|minutes| Op::Pass { minutes }),
        1 => (-400_i16..400).prop_map(|days| Op::SetWall { days }),
        1 => Just(Op::Reopen),
        2 => Just(Op::Purge),
        1 => key.clone().prop_map(|key| Op::Steal { key }),
        1 => key.clone().prop_map(|key| Op::Forget { key }),
        1 => key.clone().prop_map(|key| Op::SettleDone { key }),
        1 => key.clone().prop_map(|key| Op::SettleWithoutResult { key }),
        1 => key.clone().prop_map(|key| Op::SettleNotDone { key }),
        1 => key.prop_map(|key| Op::RecordDone { key }),
    ]
}

fn make() -> impl Strategy<Value = Make> {
    let modes = [
        Mode::Refuse,
        Mode::Rerun,
        Mode::RerunTwice,
        Mode::RecoverDone,
        Mode::RecoverNotDone,
        Mode::RecoverUnknown,
    ];
    let bodies = [
        Body::Ok,
        Body::Ok,
        Body::Release,
        Body::Remember,
        Body::InDoubt,
        Body::Panic,
        Body::DropBefore,
        Body::DropDuring,
        Body::Stolen,
        Body::StolenSettledDone,
        Body::StolenSettledNotDone,
        Body::StolenRunElsewhere,
        Body::StolenCutOffElsewhere,
    ];
    let lifetimes = prop_oneof![3 => Just((None, None)), 2 => Just((Some(120), Some(60))), 1 => Just((Some(60), Some(60))), 1 => Just((None, Some(0)))];
    let arg = prop_oneof![9 => Just(0_u8), 1 => Just(1_u8)];
    (0..KEYS, arg, prop::sample::select(modes.to_vec()), prop::sample::select(bodies.to_vec()), lifetimes)
        .prop_map(|(key, arg, mode, body, (ttl_min, keep_min))| Make {
            key,
            arg,
            mode,
            body,
            ttl_min,
            keep_min,
        })
}

/// The child process: dies in the body of a call.
pub(crate) fn child(args: &[&str]) {
    let [path, key, wall_ms, boot_ms] = args else { panic!("a path, a key and two clocks") };
    driver::die_in_a_body(Path::new(path), key, wall_ms, boot_ms);
}
