//! Files of an open store that are replaced, deleted or mounted over: no call is acknowledged, and no file is overwritten.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use idem_runtime::{ErrorKind, Ran};
use idem_tests::form::Form;
use idem_tests::halt::pause_for;

use crate::store::corruption::rerun;
use crate::support::place::Place;
use crate::support::role::skip;
use crate::support::worker::{FORMS, once, run};

/// Unlinks a file, or puts a copy of it in its place.
fn take_away(file: &Path, how: &str) {
    let copy = file.with_extension("copy");
    if how == "replaced" {
        fs::copy(file, &copy).unwrap();
        fs::rename(&copy, file).unwrap();
    } else {
        fs::remove_file(file).unwrap();
    }
}

const FILES: [&str; 3] = ["", "-wal", "-shm"];

#[test]
fn after_a_file_of_the_store_was_replaced_or_deleted_no_body_runs() {
    for form in FORMS {
        for (file, how) in FILES.iter().flat_map(|file| [(file, "replaced"), (file, "deleted")]) {
            let place = Place::new();
            let store = place.open();
            run(form, &store, "before").unwrap();
            take_away(&place.beside(file), how);
            for _ in 0..2 {
                let error = rerun(form, &store, "after").unwrap_err();
                assert_eq!(
                    (error.kind(), error.ran()),
                    (ErrorKind::Replaced, Ran::No),
                    "{file} {how}: {error}"
                );
                assert!(error.help().contains("restore the files"), "{error:?}");
            }
        }
    }
}

/// After some idle seconds a look at the folder is enough.
#[test]
fn files_that_are_replaced_or_deleted_after_some_idle_seconds_are_noticed() {
    std::thread::scope(|scope| {
        for (file, how) in FILES.iter().flat_map(|file| [(file, "replaced"), (file, "deleted")]) {
            scope.spawn(move || {
                let place = Place::new();
                let store = place.open();
                for (key, pause) in [("first", 0), ("second", 3_200), ("third", 10)] {
                    pause_for(Duration::from_millis(pause));
                    run(Form::Sync, &store, key).unwrap();
                }
                take_away(&place.beside(file), how);
                let error = rerun(Form::Sync, &store, "after").unwrap_err();
                assert_eq!(
                    (error.kind(), error.ran()),
                    (ErrorKind::Replaced, Ran::No),
                    "{file} {how}: {error}"
                );
            });
        }
    });
}

/// `SQLite` would checkpoint its old WAL into the new file.
#[test]
fn files_that_replaced_the_files_of_the_store_are_not_overwritten() {
    let place = Place::new();
    let store = place.open();
    let pages = || store.stats().unwrap().wal_bytes / 4_120;
    // Up to the last claim before a checkpoint: with long results, and then by a page at a time.
    for key in (0..1_000).map(|n| format!("k{n}")).take_while(|_| pages() < 1_988) {
        once(Form::Sync, &store, &key, || Ok("x".repeat(100_000))).unwrap();
    }
    let filling = place.connect();
    filling.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    for _ in (0..100).take_while(|_| pages() < 2_045) {
        filling.execute("UPDATE idem_count SET claims = claims + 1", []).unwrap();
    }
    drop(filling);
    assert!((2_044..2_048).contains(&pages()), "{}", pages());
    take_away(&place.beside("-wal"), "deleted");
    take_away(&place.beside("-shm"), "deleted");
    let others = b"another program's".repeat(1_000);
    fs::OpenOptions::new().write(true).open(place.database()).unwrap().write_all(&others).unwrap();
    rerun(Form::Sync, &store, "after").unwrap_err();
    assert!(fs::read(place.database()).unwrap().starts_with(&others));
}

/// The folder of a file does not show that another file was mounted over it.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_mounted_over_is_noticed_within_a_second() {
    let place = Place::new();
    let store = place.open();
    let copy = place.beside("-copy");
    fs::copy(place.database(), &copy).unwrap();
    run(Form::Sync, &store, "before").unwrap();
    pause_for(Duration::from_millis(3_200));
    run(Form::Sync, &store, "later").unwrap();
    let bind = |command: &str, arguments: &[&Path]| {
        std::process::Command::new(command).args(arguments).status().is_ok_and(|status| status.success())
    };
    if !bind("mount", &[Path::new("--bind"), &copy, &place.database()]) {
        skip("a mount over a file needs root");
        return;
    }
    pause_for(Duration::from_millis(1_100));
    let after = rerun(Form::Sync, &store, "after");
    assert!(bind("umount", &[&place.database()]));
    assert_eq!(after.unwrap_err().kind(), ErrorKind::Replaced);
}

#[test]
fn no_outcome_is_acknowledged_if_a_file_of_the_store_disappeared_during_the_body() {
    for form in FORMS {
        for (file, how) in FILES.iter().flat_map(|file| [(file, "replaced"), (file, "deleted")]) {
            let place = Place::new();
            let store = place.open();
            let body = || {
                take_away(&place.beside(file), how);
                Ok("done".to_owned())
            };
            let error = once(form, &store, "k", body).unwrap_err();
            assert_eq!(
                (error.kind(), error.ran()),
                (ErrorKind::NotRecorded, Ran::Yes),
                "{file} {how}: {error}"
            );
        }
    }
}

/// The lock of another program holds the commit after the first check of the files.
#[test]
fn files_that_are_replaced_during_a_commit_are_noticed_before_the_caller_is_told() {
    let noticed = |file: &str| {
        let place = Place::new();
        let store = place.open();
        // A lone caller writes on its own thread, so its claim is checked right before it waits for the lock.
        (0..20).for_each(|n| drop(run(Form::Sync, &store, &format!("k{n}")).unwrap()));
        let blocking = place.connect();
        blocking.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| rerun(Form::Sync, &store, "during"));
            pause_for(Duration::from_millis(150));
            take_away(&place.beside(file), "replaced");
            blocking.execute_batch("COMMIT").unwrap();
            call.join().unwrap().unwrap_err().kind() == ErrorKind::Replaced
        })
    };
    for file in ["", "-wal"] {
        assert!((0..4).all(|_| noticed(file)), "{file}");
    }
}
