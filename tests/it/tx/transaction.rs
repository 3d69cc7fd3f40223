//! `tx`: one transaction commits the record and the rows of the body.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use idem_runtime::{ErrorKind, Lifetime, OnInterrupt, Ran, idempotent, observe, on_err};
use idem_tests::shared::call;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::support::ledger::{
    Books, DONE, FAILED, Failure, IN_DOUBT, Posted, booking, not_run, post, postings, refused, status,
};

#[idempotent(name = "tx.by_connection", key = text, tx = conn)]
fn by_connection(conn: &Connection, text: &str) -> Posted {
    post(conn, text)
}

#[idempotent(name = "tx.by_transaction", key = text, tx = transaction)]
fn by_transaction(transaction: &Transaction<'_>, text: &str) -> Posted {
    post(transaction, text)
}

#[idempotent(name = "tx.by_guard", key = text, tx = guard)]
fn by_guard(guard: MutexGuard<'_, Connection>, text: &str) -> Posted {
    post(&guard, text)
}

struct Desk {
    conn: Connection,
}

impl Desk {
    #[idempotent(name = "tx.by_field", key = text, skip(self), tx = self.conn)]
    fn by_field(&mut self, text: &str) -> Posted {
        post(&self.conn, text)
    }
}

#[test]
fn the_attribute_takes_whatever_derefs_to_a_connection() {
    let books = Books::new();
    let mut conn = books.open();
    for _ in 0..2 {
        assert_eq!(by_connection(&conn, "a").unwrap(), 1);
    }
    for _ in 0..2 {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        assert_eq!(by_transaction(&transaction, "b").unwrap(), 2);
        transaction.commit().unwrap();
    }
    let locked = Mutex::new(conn);
    for _ in 0..2 {
        assert_eq!(by_guard(locked.lock().unwrap(), "c").unwrap(), 3);
    }
    let mut desk = Desk { conn: locked.into_inner().unwrap() };
    for _ in 0..2 {
        assert_eq!(desk.by_field("d").unwrap(), 4);
    }
    // Another connection sees it: it is committed.
    assert_eq!(postings(&books.open()), ["a", "b", "c", "d"]);
}

/// The transactions around a call with `tx`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Autocommit,
    Deferred,
    Immediate,
    /// A savepoint that is the transaction.
    Outermost,
    /// A savepoint in a transaction.
    Inner,
}

const PLACES: [Place; 5] =
    [Place::Autocommit, Place::Deferred, Place::Immediate, Place::Outermost, Place::Inner];

impl Place {
    fn begin(self, conn: &Connection) {
        conn.execute_batch(match self {
            Place::Autocommit => "",
            Place::Deferred => "BEGIN",
            Place::Immediate => "BEGIN IMMEDIATE",
            Place::Outermost => "SAVEPOINT mine",
            Place::Inner => "BEGIN IMMEDIATE; SAVEPOINT mine",
        })
        .unwrap();
    }

    fn commit(self, conn: &Connection) {
        conn.execute_batch(match self {
            Place::Autocommit => "",
            Place::Outermost => "RELEASE mine",
            Place::Inner => "RELEASE mine; COMMIT",
            _ => "COMMIT",
        })
        .unwrap();
        assert!(conn.is_autocommit(), "something is left open in {self:?}");
    }
}

// Field 3.
#[test]
fn row_and_record_are_committed_together() {
    for place in PLACES {
        let books = Books::new();
        let conn = books.open();
        for round in 0..3 {
            place.begin(&conn);
            let (posted, seen) = observe(|| booking("a").tx(&conn).run(|| post(&conn, "a")));
            assert_eq!(posted.unwrap(), 1, "{place:?}");
            assert_eq!(seen.unwrap().replayed.is_some(), round > 0, "{place:?}");
            place.commit(&conn);
            let other = books.open();
            assert_eq!((postings(&other).len(), status(&other, "a")), (1, Some(DONE)), "{place:?}");
        }
    }
}

// Field 3.
#[test]
fn a_rollback_of_the_callers_takes_both_along() {
    for place in [Place::Deferred, Place::Immediate, Place::Outermost, Place::Inner] {
        let books = Books::new();
        let conn = books.open();
        place.begin(&conn);
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
        // In its own transaction the call is done already.
        assert_eq!(booking("a").tx(&conn).run(not_run).unwrap(), 1);
        if matches!(place, Place::Outermost | Place::Inner) {
            conn.execute_batch("ROLLBACK TO mine").unwrap();
            place.commit(&conn);
        } else {
            conn.execute_batch("ROLLBACK").unwrap();
        }
        assert_eq!((postings(&conn).len(), status(&conn, "a")), (0, None), "{place:?}");
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "again")).unwrap(), 1);
    }
}

#[test]
fn an_err_rolls_back_what_the_body_wrote_and_nothing_else() {
    for place in PLACES {
        let books = Books::new();
        let conn = books.open();
        place.begin(&conn);
        post(&conn, "before").unwrap();
        let failed = booking("a").tx(&conn).run(|| -> Posted {
            post(&conn, "undone")?;
            Err(Failure::Own("no funds"))
        });
        assert!(matches!(failed, Err(Failure::Own("no funds"))), "{place:?}: {failed:?}");
        post(&conn, "after").unwrap();
        assert_eq!(status(&conn, "a"), None, "the call is released");
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "second try")).unwrap(), 3);
        place.commit(&conn);
        assert_eq!(postings(&books.open()), ["before", "after", "second try"], "{place:?}");
    }
}

#[test]
fn a_remembered_err_is_replayed_and_its_rows_are_rolled_back_all_the_same() {
    for place in PLACES {
        let books = Books::new();
        let conn = books.open();
        let declined = || -> Result<i64, String> {
            post(&conn, "undone").unwrap();
            Err("declined".to_owned())
        };
        place.begin(&conn);
        for _ in 0..3 {
            let answer = booking("a").on_err(on_err::Remember).tx(&conn).run(declined);
            assert_eq!(answer, Err("declined".to_owned()));
        }
        place.commit(&conn);
        let other = books.open();
        assert_eq!((postings(&other).len(), status(&other, "a")), (0, Some(FAILED)), "{place:?}");
        let replayed =
            booking("a").on_err(on_err::Remember).tx(&other).run(|| -> Result<i64, String> { Ok(1) });
        assert_eq!(replayed, Err("declined".to_owned()));
    }
}

#[test]
fn an_err_in_doubt_is_in_doubt_and_can_be_run_again() {
    for place in PLACES {
        let books = Books::new();
        let conn = books.open();
        place.begin(&conn);
        let failed = booking("a").on_err(on_err::InDoubt).tx(&conn).run(|| -> Posted {
            post(&conn, "undone")?;
            Err(Failure::Own("timed out at the bank"))
        });
        assert!(matches!(failed, Err(Failure::Own(_))));
        assert_eq!((postings(&conn).len(), status(&conn, "a")), (0, Some(IN_DOUBT)), "{place:?}");
        let error = refused(booking("a").on_err(on_err::InDoubt).tx(&conn).run(not_run), ErrorKind::InDoubt);
        assert_eq!(error.ran(), Ran::Unknown);
        let again = || booking("a").on_err(on_err::InDoubt).on_interrupt(OnInterrupt::rerun_at_most(2));
        let (posted, seen) = observe(|| again().tx(&conn).run(|| post(&conn, "a")));
        assert_eq!((posted.unwrap(), seen.unwrap().attempt), (1, 2));
        place.commit(&conn);
        assert_eq!((postings(&conn).len(), status(&conn, "a")), (1, Some(DONE)), "{place:?}");
    }
}

#[test]
fn attempts_that_returned_do_not_use_up_the_limit_of_rerun() {
    let books = Books::new();
    let conn = books.open();
    let run = || {
        let call = booking("a").on_err(on_err::InDoubt).on_interrupt(OnInterrupt::rerun_at_most(3));
        call.tx(&conn).run(|| -> Posted { Err(Failure::Own("again")) })
    };
    for _ in 0..5 {
        assert!(matches!(run(), Err(Failure::Own(_))));
    }
    assert_eq!(postings(&conn), Vec::<String>::new());
}

#[test]
fn a_panic_rolls_back_what_the_body_wrote_and_nothing_else() {
    for place in PLACES {
        let books = Books::new();
        let conn = books.open();
        place.begin(&conn);
        post(&conn, "before").unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            booking("a").tx(&conn).run(|| -> Posted {
                post(&conn, "undone")?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((postings(&conn), status(&conn, "a")), (vec!["before".to_owned()], None), "{place:?}");
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 2);
        place.commit(&conn);
        assert_eq!(postings(&books.open()), ["before", "a"], "{place:?}");
    }
}

// Rule 5. Field 11.
#[test]
fn other_arguments_under_one_key_are_refused() {
    let books = Books::new();
    let conn = books.open();
    let pay =
        |conn: &Connection, cents: u32| booking("a").arg("cents", &cents).tx(conn).run(|| post(conn, "a"));
    assert_eq!(pay(&conn, 500).unwrap(), 1);
    for place in PLACES {
        place.begin(&conn);
        let error = refused(pay(&conn, 501), ErrorKind::Mismatch);
        assert_eq!(error.ran(), Ran::No);
        assert!(error.to_string().contains("`cents` differs"), "{error}");
        assert_eq!(pay(&conn, 500).unwrap(), 1);
        place.commit(&conn);
    }
    // From another connection, also for a call in doubt.
    let other = books.open();
    refused(pay(&other, 501), ErrorKind::Mismatch);
    let doubt = |cents: u32| booking("b").arg("cents", &cents).on_err(on_err::InDoubt).tx(&other);
    assert!(matches!(doubt(1).run(|| -> Posted { Err(Failure::Own("")) }), Err(Failure::Own(_))));
    refused(doubt(2).run(not_run), ErrorKind::Mismatch);
    assert_eq!(postings(&conn), ["a"]);
}

// Rule 1. Field 18.
#[test]
fn callers_with_connections_of_their_own_have_one_effect() {
    let books = Books::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let conn = books.open();
                scope.spawn(move || {
                    let post_all = (0..10).map(|n| {
                        let key = format!("k{}", (n + thread) % 10);
                        let call = booking(&key).wait(Duration::from_secs(60)).tx(&conn);
                        (key.clone(), call.run(|| post(&conn, &key)).unwrap())
                    });
                    let mut posted: Vec<_> = post_all.collect();
                    posted.sort();
                    posted
                })
            })
            .collect();
        let mut all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        all.dedup();
        assert_eq!(all.len(), 1, "callers got different results");
    });
    assert_eq!(postings(&books.open()).len(), 10);
}

#[test]
fn a_record_that_has_expired_is_run_again_and_one_without_a_result_is_not() {
    let books = Books::new();
    let conn = books.open();
    let short = || booking("short").ttl(Duration::from_millis(1)).tx(&conn);
    assert_eq!(short().run(|| post(&conn, "first")).unwrap(), 1);
    std::thread::park_timeout(Duration::from_millis(60));
    assert_eq!(short().run(|| post(&conn, "second")).unwrap(), 2);

    let unkept = || booking("unkept").keep_result(Lifetime::ZERO).tx(&conn);
    assert_eq!(unkept().run(|| post(&conn, "third")).unwrap(), 3);
    let error = refused(unkept().run(not_run), ErrorKind::ResultGone);
    assert!(error.to_string().contains("`keep_result` is zero"), "{error}");
}

// Rule 7. Field 13.
#[test]
fn a_result_that_is_too_large_is_gone_and_the_effect_stays() {
    let books = Books::new();
    let conn = books.open();
    let large = || -> Result<String, Failure> { post(&conn, "a").map(|_| "x".repeat(3 << 20)) };
    assert_eq!(booking("a").tx(&conn).run(large).unwrap().len(), 3 << 20);
    let again =
        booking("a").tx(&conn).run(|| -> Result<String, Failure> { unreachable!("the body ran again") });
    assert!(matches!(again, Err(Failure::Ours(error)) if error.kind() == ErrorKind::ResultGone));
    assert_eq!(postings(&books.open()), ["a"]);
}

// Field 14.
#[test]
fn a_record_under_an_earlier_name_counts() {
    let books = Books::new();
    let conn = books.open();
    assert_eq!(call("tx.old").key("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    assert_eq!(call("tx.new").was(&["tx.old"]).key("a").tx(&conn).run(not_run).unwrap(), 1);
    assert_eq!(call("tx.other").key("a").tx(&conn).run(|| post(&conn, "b")).unwrap(), 2);
}
