//! A database that goes back in time while the store is open: refused from the next write on.

use std::fs;
use std::path::Path;

use idem_runtime::{Error, ErrorKind, Ran, Store};
use idem_tests::form::Form;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::store::corruption::rerun;
use crate::support::place::Place;
use crate::support::worker::{FORMS, Worker, once, run};

/// Copies a database through the backup interface of SQLite.
fn copy(from: &Path, to: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let source = Connection::open_with_flags(from, flags).unwrap();
    let mut target = Connection::open_with_flags(to, flags).unwrap();
    let backup = Backup::new(&source, &mut target).unwrap();
    backup.run_to_completion(1_000, std::time::Duration::ZERO, None).unwrap();
}

/// How an operator takes a database back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    BackupInterface,
    /// `cp` onto a database whose WAL is checkpointed and truncated.
    CopyOverTruncatedWal,
    /// `cp` onto a database whose WAL is checkpointed and still has its frames.
    CopyOverCheckpointedWal,
}

const WAYS: [Way; 3] = [Way::BackupInterface, Way::CopyOverTruncatedWal, Way::CopyOverCheckpointedWal];

fn go_back(place: &Place, way: Way) {
    let backup = place.folder().join("backup.db");
    let checkpoint = |mode: &str| {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let is_busy: bool = place.connect().query_row(&sql, [], |row| row.get(0)).unwrap();
        assert!(!is_busy);
    };
    match way {
        Way::BackupInterface => return copy(&backup, &place.database()),
        Way::CopyOverTruncatedWal => checkpoint("TRUNCATE"),
        Way::CopyOverCheckpointedWal => checkpoint("PASSIVE"),
    }
    // `cp` writes into the same file.
    let bytes = fs::read(&backup).unwrap();
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(place.database()).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

/// A store with ten finished calls, whose backup has five of them.
fn ten_calls(form: Form) -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    (0..5).for_each(|n| drop(run(form, &store, &format!("k{n}")).unwrap()));
    copy(&place.database(), &place.folder().join("backup.db"));
    (5..10).for_each(|n| drop(run(form, &store, &format!("k{n}")).unwrap()));
    (place, store)
}

fn is_replaced(error: &Error) {
    assert_eq!((error.kind(), error.ran()), (ErrorKind::Replaced, Ran::No), "{error:?}");
    assert!(error.to_string().contains("went back in time while the store was open"), "{error}");
}

#[test]
fn a_store_that_went_back_in_time_runs_no_body_and_its_next_open_is_refused() {
    for (form, way) in FORMS.into_iter().flat_map(|form| WAYS.map(|way| (form, way))) {
        eprintln!("{form:?} {way:?}");
        let (place, store) = ten_calls(form);
        go_back(&place, way);
        for key in ["k7", "k7", "new"] {
            is_replaced(&rerun(form, &store, key).unwrap_err());
        }
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Replaced);
        drop(store);
        assert_eq!(Store::open(place.database()).unwrap_err().kind(), ErrorKind::LostRecords, "{way:?}");
    }
}

#[test]
fn a_store_that_went_back_in_time_says_so_at_close() {
    for way in WAYS {
        let (place, store) = ten_calls(Form::Sync);
        go_back(&place, way);
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Replaced, "{way:?}");
        drop(store);
        assert_eq!(Store::open(place.database()).unwrap_err().kind(), ErrorKind::LostRecords, "{way:?}");
    }
}

/// The process itself made none of the calls that the backup lacks.
#[test]
fn a_process_notices_that_the_calls_of_another_process_are_lost() {
    for way in WAYS {
        let place = Place::new();
        let store = place.open();
        run(Form::Sync, &store, "k0").unwrap();
        copy(&place.database(), &place.folder().join("backup.db"));
        let mut worker = Worker::start(&place);
        for n in 1..4 {
            let key = format!("k{n}");
            worker.call(&key, Form::Sync, "refuse", &key, "quick");
            worker.hear(&format!("{key} ok"));
        }
        worker.kill();
        go_back(&place, way);
        is_replaced(&rerun(Form::Sync, &store, "k2").unwrap_err());
    }
}

#[test]
fn a_call_whose_record_went_while_its_body_ran_is_not_acknowledged() {
    for way in WAYS {
        let (place, store) = ten_calls(Form::Sync);
        let body = || {
            go_back(&place, way);
            Ok("done".to_owned())
        };
        let error = once(Form::Sync, &store, "k", body).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::NotRecorded, Ran::Yes), "{way:?}: {error}");
        is_replaced(&rerun(Form::Sync, &store, "k7").unwrap_err());
    }
}

/// A checkpoint also writes to the database, and a process that checkpoints often must not be taken for a restore.
#[test]
fn checkpoints_of_other_programs_are_no_restore() {
    let place = Place::new();
    let store = place.open();
    for n in 0..20 {
        run(Form::Sync, &store, &format!("k{n}")).unwrap();
        let mode = ["PASSIVE", "TRUNCATE", "RESTART", "FULL"][n % 4];
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        place.connect().query_row(&sql, [], |_| Ok(())).unwrap();
    }
    assert_eq!(rerun(Form::Sync, &store, "k3").unwrap(), "value of k3");
    store.close().unwrap();
    place.open().close().unwrap();
}
