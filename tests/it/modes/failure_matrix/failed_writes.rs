//! Writes that fail: a commit that the disk refuses, and a full disk.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Ran, Status, Store};
use idem_tests::deadline;
use idem_tests::form::Form;
use idem_tests::shared::call;
use rusqlite::Connection;

use super::{MODES, Next, assert_interrupted, next};
use crate::support::ledger::{self, Books, booking, not_run, ours, post, postings, refused, status};
use crate::support::role::{self, skip};
use crate::support::worker::{self, FORMS, NAME};

const PART: &str = "modes::failure_matrix::failed_writes::the_program_whose_files_may_not_grow";
const SHORT: Duration = Duration::from_millis(100);
/// Far more calls than fit.
const CALLS_MAX: usize = 5_000;

/// Makes calls until their commits fail, prints their answers, and dies.
#[test]
fn the_program_whose_files_may_not_grow() {
    let Some(words) = role::words() else { return };
    let [path, form] = words.try_into().unwrap();
    match form.as_str() {
        "Tx" => post_until_commits_fail(path.as_ref()),
        form => pay_until_commits_fail(
            path.as_ref(),
            FORMS.into_iter().find(|f| format!("{f:?}") == form).unwrap(),
        ),
    }
}

fn pay_until_commits_fail(path: &Path, form: Form) {
    let store = Store::builder().record_within(SHORT).settle_window(Duration::ZERO).open(path).unwrap();
    form.cut_off(call(NAME).store(&store).key("cut"));
    let mut failures = 0;
    for n in 0..CALLS_MAX {
        let key = format!("k{n}");
        let mut ran = false;
        let paid: Result<String, Error> = form.make(call(NAME).store(&store).key(&key), || {
            ran = true;
            Ok("v".repeat(2_000))
        });
        match paid {
            Ok(_) => role::say(&format!("ok {key}")),
            Err(error) => {
                assert!(error.to_string().contains("disk reported an error") || ran, "{error}");
                role::say(&format!("failed {key} {:?} {:?} {ran}", error.kind(), error.ran()));
                failures += 1;
            }
        }
        if failures == 5 {
            break;
        }
    }
    for mode in MODES {
        let Next { asked, ran, answer } = next(form, &store, "cut", mode, SHORT);
        role::say(&format!("cut {mode:?}: {:?} {asked} {ran}", answer.unwrap_err().kind()));
    }
    // An orderly end would try for half a minute to write what cannot be written.
    std::process::abort();
}

fn post_until_commits_fail(path: &Path) {
    let conn = ledger::open(path);
    for n in 0..CALLS_MAX {
        let key = format!("k{n}");
        let posted = booking(&key).tx(&conn).run(|| post(&conn, &key));
        if posted.is_ok() {
            role::say(&format!("ok {key}"));
            continue;
        }
        let error = ours(posted);
        assert!(error.to_string().contains("the commit failed"), "{error}");
        assert!(conn.is_autocommit(), "a transaction is left open");
        return role::say(&format!("failed {key} {:?} {:?}", error.kind(), error.ran()));
    }
}

/// Runs the part with a limit on the size of every file it writes: beyond it a write fails, as on a failing disk.
fn run_with_a_limit(path: &Path, form: &str) -> Vec<String> {
    let part = role::command(PART, &[path.to_str().unwrap(), form]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -c 0; ulimit -f 1024; exec \"$0\" \"$@\""]);
    limited.arg(part.get_program()).args(part.get_args());
    limited.envs(part.get_envs().map(|(name, value)| (name, value.unwrap())));
    deadline::start();
    let output = limited.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix(">> ").map(str::to_owned)).collect();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(said.iter().any(|line| line.starts_with("failed ")), "nothing failed: {text}{complaint}");
    said
}

/// The keys of lines with that prefix, and the rest of each line.
fn keys<'a>(said: &'a [String], start: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    said.iter().filter_map(move |line| {
        let line = line.strip_prefix(start)?;
        Some(line.split_once(' ').unwrap_or((line, "")))
    })
}

// Rule 7, 8.
#[test]
fn when_a_commit_fails_no_body_runs_no_hook_is_asked_and_nothing_acknowledged_is_lost() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        let said = run_with_a_limit(&path, &format!("{form:?}"));
        let cut: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("cut ")).collect();
        let refused = ["Refuse: InDoubt false false", "Rerun: Store false false"];
        assert_eq!((&cut[..2], cut.len()), (&refused[..], 3), "{said:?}");
        assert!(cut[2].starts_with("Recover") && cut[2].ends_with(": Store false false"), "{cut:?}");

        let store = Store::open(&path).unwrap();
        assert!(store.verify().unwrap().is_empty());
        for (key, _) in keys(&said, "ok ") {
            assert_eq!(worker::status(&store, key), Status::Done, "{key} was lost");
        }
        for (key, told) in keys(&said, "failed ") {
            let found = store.get(NAME, key).unwrap().map(|record| record.status());
            match told {
                // A call that is not known to be undone is in doubt, never done.
                "Store No false" => assert_ne!(found, Some(Status::Done), "{key}"),
                "NotRecorded Yes true" => assert_ne!(found, None, "{key} is free though its body ran"),
                told => panic!("{key}: {told}"),
            }
        }
        let cut = store.get(NAME, "cut").unwrap().unwrap();
        assert_eq!((cut.status(), cut.attempt()), (Status::InDoubt, 1));
    }
}

// Field 3.
#[test]
fn when_the_commit_of_a_transaction_fails_rows_and_records_agree() {
    let books = Books::new();
    let said = run_with_a_limit(&books.path(), "Tx");
    assert!(keys(&said, "failed ").all(|(_, told)| told == "Store Unknown"), "{said:?}");
    let conn = books.open();
    let rows = postings(&conn);
    for (key, _) in keys(&said, "ok ").chain(keys(&said, "failed ")) {
        let is_done = status(&conn, key) == Some(ledger::DONE);
        assert_eq!(rows.contains(&key.to_owned()), is_done, "{key}");
    }
    for (key, _) in keys(&said, "ok ") {
        assert!(booking(key).tx(&conn).run(not_run).is_ok(), "{key} was lost");
    }
    let (key, _) = keys(&said, "failed ").next().unwrap();
    assert!(booking(key).tx(&conn).run(|| post(&conn, key)).is_ok(), "a retry finds out");
    assert_eq!(postings(&conn).iter().filter(|row| *row == key).count(), 1);
}

/// A disk of a few megabytes; `None` where it cannot be mounted.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Disk(folder));
        }
        skip("mounting a small disk needs root");
        None
    }

    fn fill(&self) {
        let path = self.0.path().join("balloon");
        let mut balloon = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        for size in [65_536, 4_096, 1] {
            while balloon.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.path().join("balloon")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what failed may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

// Rule 8.
#[test]
fn on_a_full_disk_interrupted_calls_stay_as_they_are_in_every_mode() {
    deadline::start();
    for form in FORMS {
        let Some(disk) = Disk::mount() else { return };
        let store =
            Store::builder().settle_window(Duration::ZERO).open(disk.0.path().join("idem.db")).unwrap();
        for mode in MODES {
            form.cut_off(call(NAME).store(&store).key(&format!("{mode:?}")));
        }
        // The WAL must grow with the next write.
        (0..30).for_each(|n| drop(next(form, &store, &n.to_string(), MODES[0], SHORT).answer.unwrap()));
        disk.fill();
        for mode in MODES {
            let Next { asked, ran, answer } = next(form, &store, &format!("{mode:?}"), mode, SHORT);
            let kind = if mode == MODES[0] { ErrorKind::InDoubt } else { ErrorKind::DiskFull };
            assert_eq!((answer.unwrap_err().kind(), asked, ran), (kind, false, false), "{mode:?}");
        }
        disk.free();
        for mode in MODES {
            assert_interrupted(form, &store, &format!("{mode:?}"), mode);
        }
    }
}

// Field 3.
#[test]
fn on_a_full_disk_a_transaction_takes_row_and_record_along_and_can_be_retried() {
    deadline::start();
    let Some(disk) = Disk::mount() else { return };
    let conn: Connection = ledger::open(&disk.0.path().join("books.db"));
    ledger::set(&conn, "journal_mode", "WAL");
    ledger::lay_out(&conn);
    idem_runtime::install(&conn).unwrap();
    for n in 0..30 {
        let key = n.to_string();
        assert!(booking(&key).tx(&conn).run(|| post(&conn, &key)).is_ok());
    }
    let error = refused(
        booking("a").tx(&conn).run(|| {
            disk.fill();
            post(&conn, "a")
        }),
        ErrorKind::Store,
    );
    assert!(
        error.ran() == Ran::Yes && error.to_string().contains("rolled back the rows and the record"),
        "{error}"
    );
    assert_eq!((postings(&conn).len(), status(&conn, "a")), (30, None));
    assert!(booking("0").tx(&conn).run(not_run).is_ok(), "replays go on");
    disk.free();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 31);
}
