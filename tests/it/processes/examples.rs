//! The example programs run, and their output is true.

use std::process::Command;

use idem_tests::deadline;

use crate::support::strace::strace;

fn run(program: &str) -> String {
    deadline::start();
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {text}{complaint}", output.status);
    text
}

fn expect_lines(text: &str, lines: &[&str]) {
    let mut rest = text.lines();
    for wanted in lines {
        assert!(rest.any(|line| line.contains(wanted)), "`{wanted}` is not said, or not then:\n{text}");
    }
}

#[test]
fn rows_and_records_are_committed_together_or_not_at_all() {
    let text = run(env!("CARGO_BIN_EXE_transaction"));
    let lines = [
        "afterwards                400 rows in the ledger,  400 records",
        "all delivered again       400 rows in the ledger,  400 records",
        "100 more, rolled back     400 rows in the ledger,  400 records",
        "the same 100, committed   500 rows in the ledger,  500 records",
    ];
    expect_lines(&text, &lines);
}

#[test]
fn the_batch_of_the_example_has_one_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let options = ["-e", "trace=fsync,fdatasync,write", "-o", trace.to_str().unwrap()];
    let example = Command::new(env!("CARGO_BIN_EXE_transaction"));
    let Some(output) = strace(&options, &example) else { return };
    assert!(output.status.success(), "{output:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let (_, rest) = trace.split_once("200 messages, a commit each").unwrap();
    let (batch, _) = rest.split_once("200 messages in one commit").unwrap();
    let waits = batch.lines().filter(|line| line.contains("fsync(") || line.contains("fdatasync(")).count();
    assert_eq!(waits, 1, "{batch}");
}

#[test]
fn a_recovered_payment_is_booked_once() {
    let text = run(env!("CARGO_BIN_EXE_recover"));
    let lines = [
        "A-1:",
        "answers `R-1`",
        "A-2:",
        "answers `not found`",
        "answered `NotDone`",
        "answers `R-2`",
        "A-3:",
        "answers `not found`",
        "answered `NotDone`",
        "answers `not found`",
        "paid: R-3 is a new attempt",
        "booked 3 payments",
    ];
    expect_lines(&text, &lines);
}

#[test]
fn a_second_instance_takes_nothing_from_one_that_lives() {
    let text = run(env!("CARGO_BIN_EXE_two_instances"));
    let lines = [
        "first    runs `send` for welcome (attempt 1)",
        "first    has sent it",
        "outbox   holds `welcome` 1 time(s)",
        "first    was killed",
        "second   runs `send` for invoice (attempt 2)",
        "outbox   holds `invoice` 1 time(s)",
    ];
    expect_lines(&text, &lines);
    for instance in ["second", "third"] {
        assert!(text.contains(&format!("{instance:<8} waited")), "{text}");
    }
}
