//! A connection, its tables or its transaction that is unfit for `tx` is refused, and no body runs.

use std::time::Duration;

use idem_runtime::{ErrorKind, Ran, install};

use crate::support::ledger::{
    Books, Posted, booking, lay_out, not_run, open, post, postings, refused, set, status,
};

#[test]
fn without_tables_the_error_names_install() {
    let books = Books::bare();
    let conn = books.open();
    lay_out(&conn);
    for begin in ["", "BEGIN IMMEDIATE"] {
        conn.execute_batch(begin).unwrap();
        let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
        assert_eq!(error.ran(), Ran::No);
        assert!(error.help().contains("idem_runtime::install"), "{error:?}");
    }
    // In a transaction, `install` belongs to it.
    install(&conn).unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    conn.execute_batch("ROLLBACK").unwrap();
    refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    for _ in 0..2 {
        install(&conn).unwrap();
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    }
}

#[test]
fn tables_in_another_file_are_not_those_of_this_database() {
    let (records, books) = (Books::new(), Books::bare());
    let conn = books.open();
    lay_out(&conn);
    conn.execute("ATTACH ?1 AS records", [records.path().to_str().unwrap()]).unwrap();
    // Row and record would not be atomic across two files.
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert!(error.help().contains("idem_runtime::install"), "{error:?}");
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let books = Books::new();
    let conn = books.open();
    conn.execute("UPDATE idem_meta SET value = 99 WHERE name = 'schema'", []).unwrap();
    for error in [refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store), install(&conn).unwrap_err()]
    {
        assert_eq!(error.ran(), Ran::No);
        assert!(error.to_string().contains("version 99") && error.help().contains("Update"), "{error:?}");
    }
}

#[test]
fn a_damaged_record_is_an_error_and_not_a_second_run() {
    let books = Books::new();
    let conn = books.open();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    conn.execute("UPDATE idem_record SET owner = 2", []).unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Damaged);
    assert_eq!(error.ran(), Ran::No);
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_connection_that_does_not_fsync_its_commits_is_refused_in_autocommit() {
    for (synchronous, is_fit) in [("OFF", false), ("NORMAL", false), ("FULL", true), ("EXTRA", true)] {
        let books = Books::new();
        let conn = books.open();
        set(&conn, "synchronous", synchronous);
        let posted = booking("a").tx(&conn).run(|| post(&conn, "a"));
        if is_fit {
            assert_eq!(posted.unwrap(), 1, "{synchronous}");
            continue;
        }
        let error = refused(posted, ErrorKind::Store);
        assert!(error.help().contains("`synchronous = FULL`"), "{error:?}");
        assert!(error.ran() == Ran::No && postings(&conn).is_empty());
        // In a transaction of the caller's, the caller answers for it.
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
        conn.execute_batch("COMMIT").unwrap();
    }
}

#[test]
fn a_connection_without_a_journal_is_refused() {
    for (journal, begin) in [("OFF", ""), ("OFF", "BEGIN IMMEDIATE"), ("MEMORY", "")] {
        let books = Books::in_mode("DELETE");
        let conn = books.open();
        set(&conn, "journal_mode", journal);
        conn.execute_batch(begin).unwrap();
        let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
        assert!(error.ran() == Ran::No && error.to_string().contains("journal"), "{error}");
    }
}

#[test]
fn a_stale_snapshot_is_told_to_begin_immediate() {
    let books = Books::new();
    let (conn, other) = (books.open(), books.open());
    conn.execute_batch("BEGIN").unwrap();
    assert!(postings(&conn).is_empty());
    post(&other, "meanwhile").unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert!(error.ran() == Ran::No && error.help().contains("BEGIN IMMEDIATE"), "{error:?}");
    // The transaction is still the caller's, and the caller can begin again.
    assert!(postings(&conn).is_empty() && !conn.is_autocommit());
    conn.execute_batch("ROLLBACK; BEGIN IMMEDIATE").unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 2);
    conn.execute_batch("COMMIT").unwrap();
    // A record that such a transaction can see answers in it.
    conn.execute_batch("BEGIN").unwrap();
    assert_eq!(postings(&conn).len(), 2);
    post(&other, "later").unwrap();
    assert_eq!(booking("a").tx(&conn).run(not_run).unwrap(), 2);
    conn.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_commit_that_fails_takes_row_and_record_along_and_can_be_retried() {
    let books = Books::new();
    let conn = books.open();
    conn.execute_batch(
        "PRAGMA foreign_keys = ON;
         CREATE TABLE account (id INTEGER PRIMARY KEY);
         CREATE TABLE entry (account INTEGER REFERENCES account DEFERRABLE INITIALLY DEFERRED);",
    )
    .unwrap();
    let enter = || -> Posted {
        conn.execute("INSERT INTO entry VALUES (7)", [])?;
        post(&conn, "a")
    };
    let error = refused(booking("a").tx(&conn).run(enter), ErrorKind::Store);
    assert!(conn.is_autocommit(), "a transaction is left open");
    assert_eq!((error.ran(), postings(&conn).len(), status(&conn, "a")), (Ran::Yes, 0, None), "{error}");
    assert!(error.to_string().contains("rolled back the rows and the record"), "{error}");
    conn.execute("INSERT INTO account VALUES (7)", []).unwrap();
    assert_eq!(booking("a").tx(&conn).run(enter).unwrap(), 1);
}

#[test]
fn another_programs_write_lock_is_reported_as_such() {
    let books = Books::new();
    let (conn, other) = (books.open(), books.open());
    conn.busy_timeout(Duration::from_millis(20)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert!(error.ran() == Ran::No && error.to_string().contains("write lock"), "{error}");
    if cfg!(target_os = "linux") {
        assert!(error.to_string().contains("another connection of this process holds"), "{error}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    // A replay needs no lock.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(booking("a").tx(&conn).run(not_run).unwrap(), 1);
}

#[test]
fn tables_come_and_go_with_the_file_and_not_with_a_store() {
    let books = Books::bare();
    let conn = open(&books.path());
    lay_out(&conn);
    set(&conn, "user_version", "17");
    set(&conn, "application_id", "18");
    install(&conn).unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    for (pragma, value) in [("user_version", 17), ("application_id", 18)] {
        let found: i64 = conn.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        assert_eq!(found, value, "{pragma} was changed");
    }
}
