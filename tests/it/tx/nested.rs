//! Other calls in the body of a call with `tx`, and the same call through a shared store.

use std::time::{Duration, Instant};

use idem_runtime::{
    Error, ErrorKind, Filter, Ran, Settled, Status, Verdict, current, on_err, peek, settle, with_store,
};
use idem_tests::form::in_every_form;
use idem_tests::shared::call;
use rusqlite::Connection;

use crate::support::ledger::{
    Books, DONE, Failure, IN_DOUBT, Posted, booking, not_run, ours, post, postings, refused, status,
};

/// Far less than a busy timeout or a `wait`.
const AT_ONCE: Duration = Duration::from_secs(4);

#[test]
fn a_nested_call_on_the_same_connection_shares_its_callers_fate() {
    let books = Books::new();
    let conn = books.open();
    let inner = |key: &str| booking(key).tx(&conn).run(|| post(&conn, "inner"));
    let undone = booking("outer").tx(&conn).run(|| -> Posted {
        assert_eq!(inner("a")?, 1);
        Err(Failure::Own("the outer one failed"))
    });
    assert!(undone.is_err());
    assert_eq!((postings(&conn).len(), status(&conn, "a")), (0, None), "the inner call went with it");

    let posted = booking("outer").tx(&conn).run(|| {
        assert_eq!(inner("a")?, 1);
        // Its own failure is its own.
        let failed = booking("b").tx(&conn).run(|| -> Posted {
            post(&conn, "undone")?;
            Err(Failure::Own("the inner one failed"))
        });
        assert!(failed.is_err());
        post(&conn, "outer")
    });
    assert_eq!(posted.unwrap(), 2);
    let other = books.open();
    assert_eq!(postings(&other), ["inner", "outer"]);
    assert_eq!(
        (status(&other, "a"), status(&other, "b"), status(&other, "outer")),
        (Some(DONE), None, Some(DONE))
    );
    assert_eq!(inner("a").unwrap(), 1);
}

#[test]
fn a_call_that_reaches_itself_in_its_transaction_is_refused() {
    let books = Books::new();
    let conn = books.open();
    let posted = booking("a").tx(&conn).run(|| {
        let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Reentrant);
        assert_eq!(error.ran(), Ran::No);
        let deeper = booking("b").tx(&conn).run(|| {
            refused(booking("a").tx(&conn).run(not_run), ErrorKind::Reentrant);
            post(&conn, "b")
        });
        assert_eq!(deeper?, 1);
        post(&conn, "a")
    });
    assert_eq!(posted.unwrap(), 2);
}

#[test]
fn a_call_on_the_same_store_without_the_transaction_is_refused_at_once() {
    in_every_form(|form| {
        let books = Books::new();
        let (conn, store) = (books.open(), books.shared());
        assert_eq!(form.make(call("beside.known").store(&store).key("a"), || Ok::<_, Error>(1)).unwrap(), 1);
        let posted = booking("outer").tx(&conn).run(|| {
            for name in ["beside.new", "beside.known"] {
                let begun = Instant::now();
                let inner = form.make(call(name).store(&store).key("a"), || -> Result<i32, Error> {
                    unreachable!("the body ran")
                });
                let error = inner.unwrap_err();
                assert!(begun.elapsed() < AT_ONCE, "the call waited {:?}", begun.elapsed());
                assert_eq!((error.kind(), error.ran()), (ErrorKind::Reentrant, Ran::No), "{error}");
                assert!(error.help().contains("`tx = …`"), "{error:?}");
            }
            post(&conn, "outer")
        });
        assert_eq!(posted.unwrap(), 1);
        // Another store is another matter, and so is the same one outside.
        let elsewhere = idem_runtime::Store::temporary().unwrap();
        let posted = booking("further").tx(&conn).run(|| {
            let call = call("beside.new").store(&elsewhere).key("a");
            assert_eq!(form.make(call, || Ok::<_, Error>(1))?, 1);
            post(&conn, "further")
        });
        assert_eq!(posted.unwrap(), 2);
        assert_eq!(form.make(call("beside.new").store(&store).key("a"), || Ok::<_, Error>(2)).unwrap(), 2);
    });
}

#[test]
fn a_call_on_another_connection_inside_a_body_is_refused_at_once() {
    let books = Books::new();
    let (conn, other) = (books.open(), books.open());
    let posted = booking("outer").tx(&conn).run(|| {
        let begun = Instant::now();
        // It would wait for the write lock that the body around it holds: 60 seconds.
        other.busy_timeout(AT_ONCE * 2)?;
        let error = ours(booking("inner").tx(&other).run(not_run));
        assert!(begun.elapsed() < AT_ONCE, "the call waited {:?}: {error}", begun.elapsed());
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Reentrant, Ran::No), "{error}");
        post(&conn, "outer")
    });
    assert_eq!(posted.unwrap(), 1);
}

// Rule 6.
// Rule 8.
// Rule 8: without a journal there is no way back, and a crash tears the file.
#[test]
fn a_shared_store_and_a_transaction_see_each_others_records() {
    in_every_form(|form| {
        let books = Books::new();
        let (conn, store) = (books.open(), books.shared());
        assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
        assert_eq!(form.make(booking("a").store(&store), || Ok::<i64, Error>(9)).unwrap(), 1);
        assert_eq!(form.make(booking("b").store(&store), || Ok::<i64, Error>(9)).unwrap(), 9);
        assert_eq!(booking("b").tx(&conn).run(not_run).unwrap(), 9);
        let record = store.get("books.post", "a").unwrap().unwrap();
        assert_eq!(
            (record.status(), record.attempt(), record.result::<i64>().unwrap()),
            (Status::Done, 1, 1)
        );
        assert_eq!(store.list(&Filter::new().name("books.post")).unwrap().len(), 2);
        assert!(store.verify().unwrap().is_empty());
    });
}

#[test]
fn a_transaction_does_not_wait_for_a_call_that_runs_outside_of_it() {
    let books = Books::new();
    let (conn, store) = (books.open(), books.shared());
    let outside = booking("a").store(&store).run(|| -> Result<i64, Error> {
        let begun = Instant::now();
        // On a thread of its own: it must not look like a call inside itself.
        let conn = std::thread::scope(|scope| {
            let call = scope.spawn(move || {
                let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Running);
                assert_eq!(error.ran(), Ran::No, "{error}");
                conn
            });
            call.join().unwrap()
        });
        assert!(begun.elapsed() < AT_ONCE);
        drop(conn);
        Ok(3)
    });
    assert_eq!(outside.unwrap(), 3);
}

#[test]
fn an_operator_settles_a_call_with_tx_through_a_shared_store() {
    let books = Books::new();
    let (conn, store) = (books.open(), books.shared());
    let doubt = |conn: &Connection, key: &str| {
        let call = booking(key).on_err(on_err::InDoubt).tx(conn);
        call.run(|| -> Posted { Err(Failure::Own("timed out")) })
    };
    for key in ["done", "not done", "lost"] {
        assert!(matches!(doubt(&conn, key), Err(Failure::Own(_))));
        assert_eq!(status(&conn, key), Some(IN_DOUBT));
    }
    with_store(&store, || {
        let seen = peek(|| doubt(&conn, "done")).unwrap().unwrap();
        assert_eq!((seen.status(), seen.attempt()), (Status::InDoubt, 1));
        assert!(seen.reason().unwrap().contains("returned an error"));
        assert!(peek(|| doubt(&conn, "never made")).unwrap().is_none());
        assert_eq!(settle(Verdict::Done(5_i64), || doubt(&conn, "done")).unwrap(), Settled::Done);
        assert_eq!(settle(Verdict::<i64>::NotDone, || doubt(&conn, "not done")).unwrap(), Settled::NotDone);
        let lost = settle(Verdict::<i64>::DoneWithoutResult, || doubt(&conn, "lost")).unwrap();
        assert_eq!(lost, Settled::Done);
    });
    assert_eq!(booking("done").tx(&conn).run(not_run).unwrap(), 5);
    assert_eq!(booking("not done").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    refused(booking("lost").tx(&conn).run(not_run), ErrorKind::ResultGone);
}

#[test]
fn current_is_the_call_with_tx_and_its_token_is_that_of_a_shared_store() {
    let books = Books::new();
    let (conn, store) = (books.open(), books.shared());
    let token =
        || current().map(|call| (call.name().to_owned(), call.key().to_owned(), call.token())).unwrap();
    let within: Result<_, Error> = call("beside.token").key("a").tx(&conn).run(|| Ok(token()));
    let within = within.unwrap();
    assert_eq!((within.0.as_str(), within.1.as_str()), ("beside.token", "a"));
    assert!(store.forget("beside.token", "a").unwrap());
    let outside: Result<_, Error> = call("beside.token").key("a").store(&store).run(|| Ok(token()));
    assert_eq!(outside.unwrap(), within);
    assert!(current().is_none());
}
