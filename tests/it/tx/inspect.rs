//! `peek` and `settle` of a call with `tx` look at its connection.

use idem_runtime::{ErrorKind, Settled, Status, Store, Verdict, on_err, peek, settle, with_store};
use idem_tests::form::Form;
use rusqlite::Connection;

use crate::support::ledger::{
    Books, DONE, Failure, Posted, booking, not_run, post, postings, refused, status,
};

/// A call whose body ended its transaction: in doubt.
fn in_doubt(conn: &Connection, key: &str) {
    let ended = booking(key).tx(conn).run(|| {
        conn.execute_batch("COMMIT")?;
        Ok(1)
    });
    refused(ended, ErrorKind::InDoubt);
}

fn verdict(value: i64) -> Verdict<i64> {
    Verdict::Done(value)
}

#[test]
fn peek_and_settle_of_a_tx_call_look_at_its_connection() {
    let books = Books::new();
    let conn = books.open();
    // The store in scope is another one.
    let elsewhere = Store::temporary().unwrap();
    with_store(&elsewhere, || {
        let call = |key: &str| booking(key).tx(&conn).run(not_run);
        assert!(peek(|| call("a")).unwrap().is_none());
        assert_eq!(settle(verdict(1), || call("a")).unwrap(), Settled::NotInDoubt(None));
        booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap();
        let seen = peek(|| call("a")).unwrap().unwrap();
        assert_eq!((seen.status(), seen.result::<i64>().unwrap(), seen.owner()), (Status::Done, 1, None));
        assert!(seen.age().is_some() && !seen.is_expired());
        assert_eq!(settle(verdict(1), || call("a")).unwrap(), Settled::NotInDoubt(Some(Status::Done)));

        in_doubt(&conn, "b");
        let seen = peek(|| call("b")).unwrap().unwrap();
        assert_eq!(seen.status(), Status::InDoubt);
        assert!(seen.reason().unwrap().contains("ended the transaction"), "{:?}", seen.reason());
        assert_eq!(settle(verdict(42), || call("b")).unwrap(), Settled::Done);
        assert_eq!(call("b").unwrap(), 42);
        assert_eq!(status(&books.open(), "b"), Some(DONE), "the verdict is committed");

        in_doubt(&conn, "c");
        assert_eq!(settle(Verdict::<i64>::NotDone, || call("c")).unwrap(), Settled::NotDone);
        assert_eq!(booking("c").tx(&conn).run(|| post(&conn, "c")).unwrap(), 2);

        in_doubt(&conn, "d");
        assert_eq!(settle(Verdict::<i64>::DoneWithoutResult, || call("d")).unwrap(), Settled::Done);
        refused(call("d"), ErrorKind::ResultGone);
    });
    assert_eq!(elsewhere.stats().unwrap().records, 0);
    assert_eq!(books.shared().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn a_verdict_inside_a_transaction_of_the_caller_is_part_of_it() {
    let books = Books::new();
    let conn = books.open();
    let call = || booking("a").tx(&conn).run(not_run);
    in_doubt(&conn, "a");
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    post(&conn, "beside").unwrap();
    assert_eq!(settle(verdict(7), call).unwrap(), Settled::Done);
    assert_eq!(call().unwrap(), 7);
    conn.execute_batch("ROLLBACK").unwrap();
    assert_eq!(peek(call).unwrap().unwrap().status(), Status::InDoubt);
    assert_eq!(postings(&conn).len(), 0);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    settle(verdict(8), call).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(booking("a").tx(&books.open()).run(not_run).unwrap(), 8);
}

#[test]
fn a_verdict_of_another_type_or_for_other_arguments_is_refused_in_a_transaction_too() {
    let books = Books::new();
    let conn = books.open();
    let call = |cents: u32| booking("a").arg("cents", &cents).on_err(on_err::InDoubt).tx(&conn);
    let failed = call(13).run(|| -> Posted { Err(Failure::Own("timed out")) });
    assert!(matches!(failed, Err(Failure::Own(_))));
    let error = settle(verdict(1), || call(99).run(not_run)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(peek(|| call(99).run(not_run)).unwrap_err().kind(), ErrorKind::Mismatch);
    let text = Verdict::Done("one".to_owned());
    let error = settle(text, || call(13).run(not_run).map(|n| n.to_string())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArgument);
    assert_eq!(peek(|| call(13).run(not_run)).unwrap().unwrap().status(), Status::InDoubt);
    assert_eq!(settle(verdict(1), || call(13).run(not_run)).unwrap(), Settled::Done);
}

#[test]
fn the_doubt_of_a_tx_call_is_to_be_settled_and_not_rerun() {
    let books = Books::new();
    let conn = books.open();
    in_doubt(&conn, "a");
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::InDoubt);
    assert!(error.help().contains("`settle`"), "{error:?}");
    assert!(!error.help().contains("rerun"), "`tx` excludes `on_interrupt`: {error:?}");
}

#[test]
fn a_call_that_runs_outside_of_the_transaction_is_not_settled() {
    let books = Books::new();
    let store = books.shared();
    let conn = books.open();
    let ran = booking("a").store(&store).run(|| {
        let error = settle(verdict(1), || booking("a").tx(&conn).run(not_run)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Running);
        Ok::<i64, Failure>(7)
    });
    assert_eq!(ran.unwrap(), 7);
}

#[test]
fn an_operators_write_is_refused_inside_a_tx_body_that_holds_the_lock_of_the_store() {
    let books = Books::new();
    let store = books.shared();
    let conn = books.open();
    Form::Sync.cut_off(booking("b").store(&store));
    let outer = booking("a").tx(&conn).run(|| -> Posted {
        for refused in [
            settle(verdict(1), || booking("b").store(&store).run(not_run)).map(drop),
            store.forget("books.post", "b").map(drop),
            store.steal("books.post", "b").map(drop),
            store.record_done("books.post", "c", &1_i64).map(drop),
            store.purge_expired(1).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Reentrant);
        }
        Ok(1)
    });
    assert_eq!(outer.unwrap(), 1);
}
