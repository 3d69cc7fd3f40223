//! Short forms of the proof campaign, one test for each part. The long forms are
//! `cargo run --release -p idem-torture -- --all`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use idem_tests::deadline;

/// Runs a part; it says what it tried, what it skipped and what was wrong.
fn part(name: &str) {
    deadline::start_with(Duration::from_secs(3_600));
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
// Rule 1, 3, 4, 7, 8.
#[cfg(unix)]
#[test]
fn killed_or_failing_at_a_syscall_nothing_is_lost_and_nothing_happens_twice() {
    part("syscalls");
}

// Rule 8: what was acknowledged has been forced to disk.
#[cfg(unix)]
#[test]
fn after_a_power_cut_everything_acknowledged_is_there() {
    part("power");
}

// Rule 1, 3.
#[cfg(unix)]
#[test]
fn processes_that_race_die_and_stop_run_each_call_once() {
    part("races");
}

// Rule 7, 8.
#[cfg(unix)]
#[test]
fn on_a_full_or_failing_disk_claims_fail_closed_and_outcomes_are_written_later() {
    part("disk");
}
