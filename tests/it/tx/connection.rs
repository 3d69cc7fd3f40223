//! The connection of a call with `tx` belongs to the application: its hooks fire and its settings stay.
#![allow(unused_mut, reason = "rusqlite 0.39 sets hooks through a shared reference")]

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use idem_runtime::{ErrorKind, Ran, install};
use rusqlite::Connection;
use rusqlite::hooks::{Action, Authorization};

use crate::support::ledger::{
    Books, DONE, Failure, Posted, booking, lay_out, not_run, post, postings, refused, status,
};

/// Every pragma that can be asked without an argument and without an effect, with its value.
fn settings(conn: &Connection) -> Vec<(String, String)> {
    const ACTIONS: [&str; 9] = [
        "incremental_vacuum",
        "optimize",
        "shrink_memory",
        "wal_checkpoint",
        "integrity_check",
        "quick_check",
        "foreign_key_check",
        // These change with every write.
        "data_version",
        "page_count",
    ];
    let mut names = conn.prepare("SELECT name FROM pragma_pragma_list ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(names.len() > 40, "too few pragmas: {names:?}");
    let asked = names.into_iter().filter(|name| !ACTIONS.contains(&name.as_str()));
    asked.map(|name| (name.clone(), answer(conn, &name))).collect()
}

fn answer(conn: &Connection, pragma: &str) -> String {
    let Ok(mut statement) = conn.prepare(&format!("PRAGMA {pragma}")) else { return "-".to_owned() };
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut text = String::new();
    while let Ok(Some(row)) = rows.next() {
        let values = (0..columns).map(|n| row.get_ref(n).unwrap());
        values.for_each(|value| write!(text, "{value:?} ").unwrap());
    }
    text
}

fn use_it(conn: &Connection) {
    assert_eq!(booking("a").tx(conn).run(|| post(conn, "a")).unwrap(), 1);
    assert_eq!(booking("a").tx(conn).run(not_run).unwrap(), 1);
    let failed = booking("b").tx(conn).run(|| -> Posted { Err(Failure::Own("")) });
    assert!(failed.is_err());
    let ended = booking("c").tx(conn).run(|| {
        conn.execute_batch("ROLLBACK")?;
        Ok(1)
    });
    refused(ended, ErrorKind::InDoubt);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(booking("d").tx(conn).run(|| post(conn, "d")).unwrap(), 2);
    conn.execute_batch("COMMIT").unwrap();
}

#[test]
fn no_setting_of_the_connection_is_changed() {
    for journal in ["WAL", "DELETE"] {
        let books = Books::in_mode(journal);
        let conn = books.open();
        conn.execute_batch("PRAGMA cache_size = 123; PRAGMA wal_autocheckpoint = 7; PRAGMA temp_store = 1")
            .unwrap();
        let before = settings(&conn);
        use_it(&conn);
        for (was, is) in before.iter().zip(settings(&conn)) {
            assert_eq!(*was, is, "in {journal}");
        }
    }
}

#[test]
fn installing_changes_no_setting() {
    let books = Books::bare();
    let conn = books.open();
    lay_out(&conn);
    let changes_with_any_table = ["freelist_count", "schema_version", "table_list"];
    let before = settings(&conn);
    install(&conn).unwrap();
    for (was, is) in before.iter().zip(settings(&conn)) {
        assert!(*was == is || changes_with_any_table.contains(&is.0.as_str()), "{was:?} became {is:?}");
    }
}

#[derive(Debug, Default)]
struct Counts {
    commits: AtomicUsize,
    rollbacks: AtomicUsize,
    updates: AtomicUsize,
    authorized: AtomicUsize,
    progress: AtomicUsize,
}

fn one_more(count: &AtomicUsize) -> usize {
    count.fetch_add(1, Ordering::SeqCst) + 1
}

fn taken(count: &AtomicUsize) -> usize {
    count.swap(0, Ordering::SeqCst)
}

/// An application that watches its connection in every way there is.
fn watched(conn: &mut Connection) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let count = || Arc::clone(&counts);
    let (commits, rollbacks, updates, authorized, progress) = (count(), count(), count(), count(), count());
    conn.commit_hook(Some(move || {
        one_more(&commits.commits);
        false
    }))
    .unwrap();
    conn.rollback_hook(Some(move || {
        one_more(&rollbacks.rollbacks);
    }))
    .unwrap();
    conn.update_hook(Some(move |_: Action, _: &str, table: &str, _: i64| {
        if table == "posting" {
            one_more(&updates.updates);
        }
    }))
    .unwrap();
    conn.authorizer(Some(move |_: rusqlite::hooks::AuthContext<'_>| {
        one_more(&authorized.authorized);
        Authorization::Allow
    }))
    .unwrap();
    conn.progress_handler(
        1,
        Some(move || {
            one_more(&progress.progress);
            false
        }),
    )
    .unwrap();
    counts
}

#[test]
fn the_applications_hooks_fire_as_before() {
    let books = Books::new();
    let mut conn = books.open();
    let counts = watched(&mut conn);
    let assert_watched = |what: &str, commits: usize, rollbacks: usize| {
        let seen = (taken(&counts.commits), taken(&counts.rollbacks));
        assert_eq!(seen, (commits, rollbacks), "{what}: commits and rollbacks");
        assert_eq!(taken(&counts.updates), 1, "{what}");
        assert!(taken(&counts.authorized) > 0, "{what}: the authorizer was not asked");
        assert!(taken(&counts.progress) > 0, "{what}: the progress handler was not called");
    };
    for key in ["a", "b"] {
        assert!(booking(key).tx(&conn).run(|| post(&conn, key)).is_ok());
        // A fresh statement, for those of a second call need no authorization any more.
        conn.query_row(&format!("SELECT '{key}'"), [], |_| Ok(())).unwrap();
        assert_watched("a call", 1, 0);
    }
    fail(&conn);
    let ends = taken(&counts.commits) + taken(&counts.rollbacks);
    assert_eq!((ends, taken(&counts.updates)), (1, 1), "a call that fails ends one transaction");
    // And afterwards they are still those of the application.
    post(&conn, "alone").unwrap();
    assert_watched("no call at all", 1, 0);
}

fn fail(conn: &Connection) {
    let failed = booking("c").tx(conn).run(|| -> Posted {
        post(conn, "undone")?;
        Err(Failure::Own(""))
    });
    assert!(failed.is_err());
}

#[test]
fn a_commit_hook_that_says_no_takes_row_and_record_along() {
    let books = Books::new();
    let mut conn = books.open();
    conn.commit_hook(Some(|| true)).unwrap();
    let error = refused(booking("a").tx(&conn).run(|| post(&conn, "a")), ErrorKind::Store);
    assert_eq!((error.ran(), postings(&conn).len(), status(&conn, "a")), (Ran::Yes, 0, None), "{error}");
    assert!(conn.is_autocommit());
    conn.commit_hook(None::<fn() -> bool>).unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
}

#[test]
fn an_authorizer_that_says_no_is_an_error_before_the_body() {
    let books = Books::new();
    let mut conn = books.open();
    let only_its_own = |context: rusqlite::hooks::AuthContext<'_>| match context.action {
        rusqlite::hooks::AuthAction::Insert { table_name: "idem_record" } => Authorization::Deny,
        _ => Authorization::Allow,
    };
    conn.authorizer(Some(only_its_own)).unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert_eq!(error.ran(), Ran::No, "{error}");
    assert!(conn.is_autocommit(), "a transaction is left open");
}

static BUSY: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_applications_busy_handler_decides_how_long_to_wait() {
    let books = Books::new();
    let mut conn = books.open();
    let other = books.open();
    conn.busy_handler(Some((|count| one_more(&BUSY) > 0 && count < 3) as fn(i32) -> bool)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert_eq!(taken(&BUSY), 4);
    other.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    assert!(post(&conn, "alone").is_err());
    assert_eq!(taken(&BUSY), 4, "the handler is still the application's");
}

#[test]
fn the_last_row_and_the_count_of_changes_are_those_of_the_body() {
    let books = Books::new();
    let conn = books.open();
    post(&conn, "one").unwrap();
    post(&conn, "two").unwrap();
    let posted = booking("a").tx(&conn).run(|| post(&conn, "three"));
    assert!(posted.is_ok());
    assert_eq!(conn.last_insert_rowid(), 3);
}

#[test]
fn tx_works_in_every_safe_journal_mode() {
    for journal in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        let books = Books::in_mode(journal);
        let conn = books.open();
        use_it(&conn);
        let other = books.open();
        assert_eq!((postings(&other).len(), status(&other, "a")), (2, Some(DONE)), "{journal}");
        assert_eq!(booking("d").tx(&other).run(not_run).unwrap(), 2, "{journal}");
    }
}

#[test]
fn it_works_in_memory() {
    let conn = Connection::open_in_memory().unwrap();
    lay_out(&conn);
    install(&conn).unwrap();
    use_it(&conn);
    assert_eq!(postings(&conn).len(), 2);
}

#[test]
fn tx_works_with_foreign_keys_recursive_triggers_and_no_statement_cache() {
    let books = Books::new();
    let conn = books.open();
    conn.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA case_sensitive_like = ON",
    )
    .unwrap();
    conn.set_prepared_statement_cache_capacity(0);
    use_it(&conn);
}

#[test]
fn a_replay_needs_no_more_than_a_connection_that_reads() {
    let books = Books::new();
    let conn = books.open();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags(books.path(), flags).unwrap();
    assert_eq!(booking("a").tx(&reader).run(not_run).unwrap(), 1);
    let error = refused(booking("b").tx(&reader).run(not_run), ErrorKind::Store);
    assert!(error.to_string().contains("not writable"), "{error}");
}

/// Creates every table of the store in `from` as an empty TEMP table of `conn`.
fn shadow(from: &Connection, conn: &Connection) {
    let query = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name LIKE 'idem%'";
    let mut tables = from.prepare(query).unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() >= 5, "{tables:?}");
    for sql in &tables {
        conn.execute_batch(&sql.replacen("TABLE", "TEMP TABLE", 1)).unwrap();
    }
}

fn rows_in_temp(conn: &Connection) -> i64 {
    let rows = "SELECT (SELECT count(*) FROM temp.idem_record) + (SELECT count(*) FROM temp.idem_boot)
        + (SELECT count(*) FROM temp.idem_meta) + (SELECT count(*) FROM temp.idem_count)";
    conn.query_row(rows, [], |row| row.get(0)).unwrap()
}

#[test]
fn temp_tables_with_the_names_of_the_store_are_not_used() {
    let books = Books::new();
    let conn = books.open();
    booking("before").tx(&conn).run(|| -> Posted { Ok(7) }).unwrap();
    shadow(&conn, &conn);
    assert_eq!(booking("before").tx(&conn).run(not_run).unwrap(), 7);
    use_it(&conn);
    assert_eq!(rows_in_temp(&conn), 0);
    assert_eq!((status(&books.open(), "a"), postings(&conn).len()), (Some(DONE), 2));
    drop(conn);
    assert_eq!(books.shared().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn the_tables_are_installed_beside_temp_tables_of_their_names() {
    let model = Books::new();
    let books = Books::bare();
    let conn = books.open();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    lay_out(&conn);
    shadow(&model.open(), &conn);
    install(&conn).unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    assert_eq!(rows_in_temp(&conn), 0);
    assert_eq!(booking("a").tx(&books.open()).run(not_run).unwrap(), 1);
    assert_eq!(books.shared().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn a_connection_that_counts_changes_in_rows_is_refused_by_the_name_of_its_pragma() {
    let books = Books::new();
    let conn = books.open();
    conn.execute_batch("PRAGMA count_changes = ON").unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert_eq!(error.ran(), Ran::No);
    assert!(error.to_string().contains("`PRAGMA count_changes`"), "{error}");
    assert!(error.help().contains("count_changes"), "{error:?}");
    conn.execute_batch("PRAGMA count_changes = OFF").unwrap();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
}

#[test]
fn an_open_query_with_an_old_snapshot_is_to_be_finished_first() {
    let books = Books::new();
    let (conn, other) = (books.open(), books.open());
    post(&conn, "one").unwrap();
    post(&conn, "two").unwrap();
    {
        let mut query = conn.prepare("SELECT text FROM posting").unwrap();
        let mut rows = query.query([]).unwrap();
        rows.next().unwrap().unwrap();
        post(&other, "three").unwrap();
        let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
        assert_eq!(error.ran(), Ran::No);
        assert!(error.to_string().contains("an open query of the connection"), "{error}");
        assert!(error.help().contains("finish or reset the statement first"), "{error:?}");
        assert!(!error.help().contains("IMMEDIATE"), "there is no transaction to begin: {error:?}");
    }
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 4);
}
