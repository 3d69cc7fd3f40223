//! Bodies that end the transaction they were given. Each is detected, its call is in doubt, and the error says what SQLite
//! has committed. Beside them are bodies that only seem to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store, on_err};
use rusqlite::Connection;

use crate::support::ledger::{
    Books, Failure, IN_DOUBT, Posted, booking, not_run, ours, post, postings, refused, status,
};

/// The statements of a body between the rows `before` and `after`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Evil {
    Commit,
    CommitAndBegin,
    CommitAndBeginAndCommit,
    Rollback,
    RollbackAndBegin,
    OrRollback,
    RaiseRollback,
    /// A statement fails for want of space, and its error is swallowed.
    Full,
}

const ALL: [Evil; 8] = [
    Evil::Commit,
    Evil::CommitAndBegin,
    Evil::CommitAndBeginAndCommit,
    Evil::Rollback,
    Evil::RollbackAndBegin,
    Evil::OrRollback,
    Evil::RaiseRollback,
    Evil::Full,
];

impl Evil {
    fn do_it(self, conn: &Connection) {
        let sql = match self {
            Evil::Commit => "COMMIT",
            Evil::CommitAndBegin => "COMMIT; BEGIN",
            Evil::CommitAndBeginAndCommit => {
                "COMMIT; BEGIN; INSERT INTO posting VALUES ('between'); COMMIT; BEGIN"
            }
            Evil::Rollback => "ROLLBACK",
            Evil::RollbackAndBegin => "ROLLBACK; BEGIN",
            Evil::OrRollback => "INSERT OR ROLLBACK INTO once VALUES (1)",
            Evil::RaiseRollback => "INSERT INTO forbidden VALUES (1)",
            Evil::Full => "INSERT INTO posting VALUES (hex(zeroblob(5000000)))",
        };
        let done = conn.execute_batch(sql);
        let is_an_error = matches!(self, Evil::OrRollback | Evil::RaiseRollback | Evil::Full);
        assert_eq!(done.is_err(), is_an_error, "{self:?}: {done:?}");
    }

    /// Whether the earlier rows of the body are committed.
    fn commits(self) -> bool {
        matches!(self, Evil::Commit | Evil::CommitAndBegin | Evil::CommitAndBeginAndCommit)
    }
}

/// How the body ends after it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Ok,
    Err,
    Remembered,
    Panic,
}

const ENDS: [End; 4] = [End::Ok, End::Err, End::Remembered, End::Panic];

struct Scene {
    books: Books,
    conn: Connection,
}

impl Scene {
    fn new() -> Scene {
        let books = Books::new();
        let conn = books.open();
        conn.execute_batch(
            "CREATE TABLE once (n INTEGER PRIMARY KEY);
             INSERT INTO once VALUES (1);
             CREATE TABLE forbidden (n INTEGER);
             CREATE TRIGGER never BEFORE INSERT ON forbidden BEGIN SELECT RAISE(ROLLBACK, 'never'); END;",
        )
        .unwrap();
        let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        conn.pragma_update_and_check(None, "max_page_count", pages + 40, |_| Ok(())).unwrap();
        Scene { books, conn }
    }

    /// Makes the call with a body that does evil. `None` if it panicked.
    fn make(&self, evil: Evil, end: End) -> Option<Result<i64, String>> {
        let conn = &self.conn;
        let body = || -> Result<i64, String> {
            post(conn, "before").unwrap();
            evil.do_it(conn);
            post(conn, "after").unwrap();
            match end {
                End::Ok => Ok(1),
                End::Err | End::Remembered => Err("its own".to_owned()),
                End::Panic => std::panic::resume_unwind(Box::new("as asked")),
            }
        };
        catch_unwind(AssertUnwindSafe(|| match end {
            End::Remembered => booking("a").on_err(on_err::Remember).tx(conn).run(body),
            _ => booking("a").tx(conn).run(body),
        }))
        .ok()
    }

    /// The call is in doubt for every connection and does not run again.
    fn assert_in_doubt(&self, what: &str) {
        for conn in [&self.conn, &self.books.open()] {
            let error = refused(booking("a").tx(conn).run(not_run), ErrorKind::InDoubt);
            assert!(error.to_string().contains("ended the transaction it was given"), "{what}: {error}");
        }
        let rerun = booking("a").on_interrupt(OnInterrupt::rerun()).tx(&self.conn);
        assert!(rerun.run(|| -> Posted { Ok(7) }).is_ok(), "{what}: an operator's way out");
    }

    /// So it is for a store.
    fn assert_in_doubt_for_a_store(&self, what: &str) {
        let store = self.books.shared();
        let seen = store.get("books.post", "a").unwrap().unwrap();
        assert_eq!(seen.status(), Status::InDoubt, "{what}");
        assert!(seen.reason().unwrap().contains("ended the transaction"), "{what}: {:?}", seen.reason());
        let again =
            booking("a").store(&store).run(|| -> Result<i64, Error> { unreachable!("the body ran again") });
        assert_eq!(again.unwrap_err().kind(), ErrorKind::InDoubt);
        store.close().unwrap();
    }
}

#[test]
fn a_body_that_ends_its_own_transaction_is_detected() {
    for evil in ALL {
        for end in ENDS {
            let scene = Scene::new();
            let what = format!("{evil:?} and {end:?}");
            let made = scene.make(evil, end);
            assert!(scene.conn.is_autocommit(), "{what}: a transaction is left open");
            match made {
                None => assert_eq!(end, End::Panic, "{what}"),
                Some(made) => {
                    let text = made.expect_err(&what);
                    assert!(text.contains("the body ended the transaction it was given"), "{what}: {text}");
                    assert!(text.contains("and the call is in doubt"), "{what}: {text}");
                    let says_committed = text.contains("rows written before are committed");
                    let says_undone = text.contains("rows written before are rolled back");
                    assert_eq!(
                        (says_committed, says_undone),
                        (evil.commits(), !evil.commits()),
                        "{what}: {text}"
                    );
                }
            }
            let there = postings(&scene.books.open());
            assert_eq!(there.contains(&"before".to_owned()), evil.commits(), "{what}: {there:?}");
            if end == End::Ok {
                scene.assert_in_doubt_for_a_store(&what);
            }
            scene.assert_in_doubt(&what);
        }
    }
}

#[test]
fn a_body_that_ends_the_callers_transaction_is_detected() {
    for evil in ALL {
        for end in ENDS {
            for begin in ["BEGIN IMMEDIATE", "SAVEPOINT mine"] {
                let scene = Scene::new();
                let what = format!("{evil:?} and {end:?} in {begin}");
                scene.conn.execute_batch(begin).unwrap();
                post(&scene.conn, "the caller's").unwrap();
                match scene.make(evil, end) {
                    None => assert_eq!(end, End::Panic, "{what}"),
                    Some(made) => {
                        let text = made.expect_err(&what);
                        assert!(
                            text.contains("the body ended the transaction it was given"),
                            "{what}: {text}"
                        );
                    }
                }
                // The caller does not notice and ends the transaction that it takes for its own.
                let _ = scene.conn.execute_batch("COMMIT");
                let there = postings(&scene.books.open());
                assert_eq!(there.contains(&"before".to_owned()), evil.commits(), "{what}: {there:?}");
                scene.assert_in_doubt(&what);
            }
        }
    }
}

#[test]
fn the_error_says_that_the_body_ran_and_how_to_go_on() {
    let books = Books::new();
    let conn = books.open();
    let error = ours(booking("a").tx(&conn).run(|| {
        conn.execute_batch("COMMIT")?;
        Ok(1)
    }));
    assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Yes));
    assert_eq!((error.name(), error.key()), (Some("books.post"), Some("a")));
    assert!(error.help().contains("out of a `tx` body") && error.help().contains("`settle`"), "{error:?}");
}

#[test]
fn a_caller_that_rolls_back_after_a_commit_in_the_body_does_not_free_the_call() {
    for evil in [Evil::CommitAndBegin, Evil::CommitAndBeginAndCommit] {
        let scene = Scene::new();
        scene.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(scene.make(evil, End::Ok).unwrap().is_err());
        scene.conn.execute_batch("ROLLBACK").unwrap();
        assert!(postings(&scene.conn).contains(&"before".to_owned()));
        scene.assert_in_doubt_for_a_store(&format!("{evil:?}"));
        scene.assert_in_doubt(&format!("{evil:?}"));
    }
}

#[test]
fn a_body_that_releases_or_rolls_back_a_savepoint_of_its_caller_is_detected() {
    let cases = [
        ("SAVEPOINT mine", "RELEASE mine", true),
        ("BEGIN; SAVEPOINT mine", "RELEASE mine", true),
        ("SAVEPOINT mine", "ROLLBACK TO mine", false),
        ("BEGIN; SAVEPOINT mine", "ROLLBACK TO mine", false),
        ("BEGIN; SAVEPOINT mine", "ROLLBACK TO mine; RELEASE mine", false),
    ];
    for (begin, evil, keeps) in cases {
        for is_ok in [true, false] {
            let scene = Scene::new();
            let conn = &scene.conn;
            conn.execute_batch(begin).unwrap();
            let error = ours(booking("a").tx(conn).run(|| {
                post(conn, "before")?;
                conn.execute_batch(evil)?;
                post(conn, "after")?;
                if is_ok { Ok(1) } else { Err(Failure::Own("")) }
            }));
            assert_eq!(
                (error.kind(), error.ran()),
                (ErrorKind::InDoubt, Ran::Yes),
                "{evil} in {begin}: {error}"
            );
            let says_committed = error.to_string().contains("rows written before are committed");
            assert_eq!(says_committed, keeps && conn.is_autocommit(), "{evil} in {begin}: {error}");
            // An innermost savepoint may be all that is left open, or nothing.
            let _ = conn.execute_batch("RELEASE mine");
            let _ = conn.execute_batch("COMMIT");
            assert!(conn.is_autocommit());
            assert_eq!(postings(conn).contains(&"before".to_owned()), keeps, "{evil} in {begin}");
            scene.assert_in_doubt(&format!("{evil} in {begin}"));
        }
    }
}

#[test]
fn a_call_in_doubt_that_is_run_again_and_ends_the_transaction_is_in_doubt_again() {
    for evil in ALL {
        let scene = Scene::new();
        let doubt = booking("a").on_err(on_err::InDoubt).tx(&scene.conn);
        assert!(doubt.run(|| -> Posted { Err(Failure::Own("timed out")) }).is_err());
        let again = booking("a").on_interrupt(OnInterrupt::rerun()).tx(&scene.conn);
        let error = ours(again.run(|| {
            post(&scene.conn, "before")?;
            evil.do_it(&scene.conn);
            Ok(1)
        }));
        assert_eq!(error.kind(), ErrorKind::InDoubt, "{evil:?}: {error}");
        let error = refused(booking("a").tx(&scene.conn).run(not_run), ErrorKind::InDoubt);
        assert!(error.to_string().contains("attempt 2"), "{evil:?}: {error}");
    }
}

#[test]
fn an_inner_body_that_ends_the_transaction_is_detected_by_every_call_around_it() {
    for evil in ALL {
        let scene = Scene::new();
        let conn = &scene.conn;
        let mut inner = None;
        let outer = booking("outer").tx(conn).run(|| {
            inner = scene.make(evil, End::Ok);
            Ok(1)
        });
        assert!(inner.unwrap().is_err(), "{evil:?}");
        assert_eq!(ours(outer).kind(), ErrorKind::InDoubt, "{evil:?}");
        assert!(conn.is_autocommit(), "{evil:?}");
        assert_eq!(status(conn, "outer"), Some(IN_DOUBT), "{evil:?}");
        if evil == Evil::RollbackAndBegin {
            // Nothing is left of the inner call, and so nothing is in doubt.
            assert_eq!((postings(conn).len(), status(conn, "a")), (0, None));
        } else {
            scene.assert_in_doubt(&format!("{evil:?}"));
        }
    }
}

#[test]
fn a_body_that_removes_its_record_is_detected() {
    let books = Books::new();
    let conn = books.open();
    let error = ours(booking("a").tx(&conn).run(|| {
        post(&conn, "before")?;
        conn.execute_batch("DELETE FROM idem_record")?;
        Ok(1)
    }));
    assert_eq!((error.kind(), error.ran()), (ErrorKind::InDoubt, Ran::Yes), "{error}");
    assert!(postings(&books.open()).is_empty());
    refused(booking("a").tx(&conn).run(not_run), ErrorKind::InDoubt);
}

/// Else a kill between two commits would leave a store that is refused, and give a claim number twice.
#[test]
fn a_doubt_that_is_noted_outside_of_a_transaction_is_counted_in_the_same_commit() {
    let books = Books::new();
    let mut conn = books.open();
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    // After the body, the first commit happens and the second does not.
    conn.commit_hook(Some(move || counted.fetch_add(1, Ordering::SeqCst) == 1)).unwrap();
    let error = ours(booking("one").tx(&conn).run(|| {
        conn.execute_batch("ROLLBACK")?;
        commits.store(0, Ordering::SeqCst);
        Ok(1)
    }));
    assert_eq!(error.kind(), ErrorKind::InDoubt);
    conn.commit_hook(None::<fn() -> bool>).unwrap();
    assert_eq!(status(&conn, "one"), Some(IN_DOUBT));
    booking("two").tx(&conn).run(|| post(&conn, "two")).unwrap();
    let numbers = "SELECT count(*), count(DISTINCT claim), (SELECT records FROM idem_count) FROM idem_record";
    let numbers = conn.query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    assert_eq!(numbers.unwrap(), (2, 2, 2));
    Store::builder().shared().open(books.path()).unwrap();
}

#[test]
fn savepoints_of_its_own_and_statements_that_fail_are_the_bodys_own_business() {
    let books = Books::new();
    let conn = books.open();
    conn.execute_batch("CREATE TABLE once (n INTEGER PRIMARY KEY); INSERT INTO once VALUES (1)").unwrap();
    let posted = booking("a").tx(&conn).run(|| {
        conn.execute_batch("SAVEPOINT mine")?;
        post(&conn, "undone")?;
        conn.execute_batch("ROLLBACK TO mine; RELEASE mine")?;
        assert!(conn.execute_batch("INSERT INTO once VALUES (1)").is_err());
        assert!(conn.execute_batch("INSERT OR FAIL INTO once VALUES (1)").is_err());
        assert!(conn.execute_batch("INSERT OR ABORT INTO once VALUES (1)").is_err());
        assert!(conn.execute_batch("BEGIN").is_err());
        conn.execute_batch("INSERT OR IGNORE INTO once VALUES (1)")?;
        post(&conn, "a")
    });
    assert_eq!(posted.unwrap(), 1);
    assert_eq!(postings(&books.open()), ["a"]);
}
