//! `examples/saga.rs` is killed at every boundary of its steps and resumes.

use idem_tests::deadline;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

const SIGABRT: i32 = 6;
const STEPS: [&str; 3] = ["reserve", "charge", "ship"];
/// The moments in their order; at a moment with the name of a step, the step is done and not recorded.
const MOMENTS: [&str; 7] = ["begun", "reserve", "reserved", "charge", "charged", "ship", "shipped"];

fn saga(folder: &Path, crash_after: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command.arg("--folder").arg(folder);
    if let Some(moment) = crash_after {
        command.args(["--crash-after", moment]);
    }
    deadline::start();
    command.output().unwrap()
}

fn crash(folder: &Path, moment: &str) -> BTreeMap<String, Told> {
    let output = saga(folder, Some(moment));
    assert_eq!(
        output.status.signal(),
        Some(SIGABRT),
        "the example did not crash after `{moment}`: {output:?}"
    );
    told(&output)
}

fn finish(folder: &Path) -> BTreeMap<String, Told> {
    let output = saga(folder, None);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).contains("placed   A-17 with 3 receipts"), "{output:?}");
    told(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The token and the answer of a step.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    token: String,
    answer: String,
}

fn told(output: &Output) -> BTreeMap<String, Told> {
    let text = text(output);
    let lines = text.lines().filter_map(|line| line.split_once(" token "));
    lines
        .map(|(step, rest)| {
            let (token, answer) = rest.split_once(": ").unwrap();
            (step.trim_end().to_owned(), Told { token: token.to_owned(), answer: answer.to_owned() })
        })
        .collect()
}

/// The answer of a step in the run after a crash. A step that is recorded does not run again.
fn answer_after(moment: usize, step: usize) -> &'static str {
    let (done, recorded) = (2 * step + 1, 2 * step + 2);
    match moment {
        _ if moment >= recorded => "replayed from its record",
        _ if moment == done => "the service had done it already",
        _ => "done",
    }
}

/// The effects of the services, as step and token.
fn effects(folder: &Path) -> Vec<(String, String)> {
    let book = std::fs::read_to_string(folder.join("services.tsv")).unwrap_or_default();
    let fields = book.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    fields.map(|fields| (fields[0].to_owned(), fields[1].to_owned())).collect()
}

fn expect_each_effect_once(folder: &Path, told: &BTreeMap<String, Told>) {
    let expected: Vec<_> = STEPS.iter().map(|step| ((*step).to_owned(), told[*step].token.clone())).collect();
    assert_eq!(effects(folder), expected);
}

#[test]
fn a_saga_killed_at_any_boundary_resumes_and_has_each_effect_once() {
    for (at, moment) in MOMENTS.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let first = crash(folder.path(), moment);
        assert_eq!(effects(folder.path()).len(), at.div_ceil(2), "at `{moment}`");
        let second = finish(folder.path());
        assert_eq!(second.len(), STEPS.len(), "{second:?}");
        for (step, told) in first {
            assert_eq!(second[&step].token, told.token, "`{step}` had another token after `{moment}`");
        }
        for (number, step) in STEPS.iter().enumerate() {
            assert_eq!(second[*step].answer, answer_after(at, number), "`{step}` after `{moment}`");
        }
        expect_each_effect_once(folder.path(), &second);
    }
}

#[test]
fn a_saga_killed_at_one_boundary_after_the_other_has_each_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    for moment in MOMENTS {
        crash(folder.path(), moment);
    }
    let last = finish(folder.path());
    expect_each_effect_once(folder.path(), &last);
}

#[test]
fn a_completed_saga_is_replayed_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let first = finish(folder.path());
    assert_eq!(finish(folder.path()), BTreeMap::new(), "a step was called");
    expect_each_effect_once(folder.path(), &first);
}
