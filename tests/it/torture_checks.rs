//! Short forms of the proof campaign: models, schedules, hostile bytes, clocks, load and upgrades. The long forms are
//! `cargo run --release -p idem-torture -- --all`.

use std::path::Path;
use std::process::Command;

/// Runs a part; it says what it tried, what it skipped and what was wrong.
pub(crate) fn part(name: &str) {
    let mut torture = Command::new(env!("CARGO_BIN_EXE_torture"));
    let output = torture.args([name, "--short"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    assert!(output.status.success(), "part `{name}`: {said}");
}

// Rules 2 to 7 and 9.
#[test]
fn random_calls_crashes_and_steals_answer_as_the_contract_says() {
    part("model");
}

// Rules 1 to 4.
#[test]
fn no_interleaving_of_the_protocol_breaks_a_promise() {
    part("states");
}

// Waiters: no wake-up is lost.
#[test]
fn no_schedule_of_callers_and_writer_loses_a_wake_up() {
    part("schedules");
}

// Rule 6.
#[test]
fn hostile_bytes_are_an_error_and_never_a_wrong_value() {
    part("bytes");
}

// Clocks.
#[test]
fn a_turned_clock_expires_nothing_early() {
    part("clocks");
}

#[test]
fn load_stays_bounded() {
    part("load");
}

#[test]
fn stores_of_earlier_versions_open_and_newer_ones_are_refused() {
    part("upgrade");
}

/// What a fuzzer has found once is tried in every run.
#[test]
fn the_corpus_of_the_fuzzer_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = |target: &str| {
        let entries = std::fs::read_dir(fuzz.join(target)).unwrap();
        entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    let (results, rows) = (files("result"), files("row"));
    assert!(!results.is_empty() && !rows.is_empty());
    for data in idem_torture::bytes::corpus().iter().chain(&results) {
        assert!(!idem_torture::bytes::hostile_result(data), "{data:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    for data in &rows {
        assert!(!idem_torture::bytes::hostile_row(folder.path(), data).unwrap_or(false), "{data:?}");
    }
}
