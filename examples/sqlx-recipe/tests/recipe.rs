//! The program is killed before and after its insert, and runs again.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sqlx-recipe")).arg(folder).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn crash(folder: &Path, moment: &str) -> String {
    let output = run(folder, &["--crash-after", moment]);
    assert!(!output.status.success() && text(&output).contains("crash after"), "{output:?}");
    token(&output)
}

fn finish(folder: &Path) -> Output {
    let output = run(folder, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).contains("posted as row 1 of 1\n"), "{output:?}");
    output
}

fn token(output: &Output) -> String {
    let text = text(output);
    let (_, rest) = text.split_once("with token ").unwrap();
    rest.lines().next().unwrap().to_owned()
}

#[test]
fn a_posting_cut_off_at_any_moment_is_one_row() {
    for moments in [&["begun"][..], &["inserted"], &["inserted", "begun", "inserted"]] {
        let folder = tempfile::tempdir().unwrap();
        let tokens: Vec<String> = moments.iter().map(|moment| crash(folder.path(), moment)).collect();
        let last = token(&finish(folder.path()));
        assert!(tokens.iter().all(|token| *token == last), "{tokens:?} and {last}");
    }
}

#[test]
fn a_posting_that_is_done_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    finish(folder.path());
    let again = finish(folder.path());
    assert!(!text(&again).contains("attempt"), "{again:?}");
}
