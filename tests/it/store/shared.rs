//! `Store::builder().shared()`: the tables of the store inside the database of an application.

use std::time::Duration;

use idem_runtime::{Error, ErrorKind, OnInterrupt, Status, Store};
use idem_tests::form::Form;
use idem_tests::halt::{LONG, pause};
use rusqlite::{Connection, OpenFlags};

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, effect, not_run, once, run};

fn replay(form: Form, store: &Store, key: &str) -> Result<String, Error> {
    effect(form, store, key, OnInterrupt::rerun_unlimited(), LONG, not_run)
}

/// The application's own connection to its database, which has settings and a table of its own.
fn application(place: &Place, journal_mode: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = Connection::open_with_flags(place.database(), flags).unwrap();
    conn.busy_timeout(LONG).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = {journal_mode}; PRAGMA user_version = 41; PRAGMA application_id = 7;
         CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY) STRICT;
         CREATE TRIGGER IF NOT EXISTS no_orders_without_id BEFORE INSERT ON orders
             WHEN NEW.id = '' BEGIN SELECT RAISE(ABORT, 'no id'); END;
         INSERT OR IGNORE INTO orders VALUES ('A');"
    ))
    .unwrap();
    conn
}

fn open(place: &Place) -> Result<Store, Error> {
    Store::builder().shared().open(place.database())
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> T {
    conn.pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

/// The application's own part of the schema.
fn schema(conn: &Connection) -> Vec<String> {
    let mut statement =
        conn.prepare("SELECT sql FROM sqlite_schema WHERE name NOT GLOB '*idem_*' AND name NOT GLOB 'sqlite_*' ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    rows.map(|sql| sql.unwrap().unwrap_or_default()).collect()
}

#[test]
fn a_database_that_is_not_in_wal_mode_is_refused_with_the_cure_and_not_touched() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST"] {
        let place = Place::new();
        drop(application(&place, mode));
        let before = std::fs::read(place.database()).unwrap();
        let error = open(&place).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.help().contains("`journal_mode = WAL`"), "{error:?}");
        assert_eq!(std::fs::read(place.database()).unwrap(), before);
        drop(application(&place, "WAL"));
        assert_eq!(run(Form::Sync, &open(&place).unwrap(), "k").unwrap(), "value of k", "after the cure");
    }
}

#[test]
fn a_database_that_does_not_exist_is_not_made() {
    let place = Place::new();
    let error = open(&place).unwrap_err();
    assert!(error.kind() == ErrorKind::Store && error.help().contains("Create the database"), "{error:?}");
    assert_eq!(std::fs::read_dir(place.folder()).unwrap().count(), 0);
}

#[test]
fn a_shared_store_leaves_the_schema_of_the_application_alone() {
    let place = Place::new();
    let app = application(&place, "WAL");
    let before = schema(&app);
    for form in FORMS {
        let store = open(&place).unwrap();
        run(form, &store, &format!("k {form:?}")).unwrap();
        store.close().unwrap();
        assert_eq!((pragma::<i64>(&app, "user_version"), pragma::<i64>(&app, "application_id")), (41, 7));
        assert_eq!(pragma::<String>(&app, "journal_mode"), "wal");
        assert_eq!(schema(&app), before);
    }
    let ours: i64 = app
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'idem_*'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(ours, 5);
    let orders: i64 = app.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, 1);
    assert_eq!(pragma::<String>(&app, "integrity_check"), "ok");
    drop(app);
    // Nor are they changed in the file itself, where another connection finds them.
    let app = application(&place, "WAL");
    assert_eq!(pragma::<i64>(&app, "user_version"), 41);
}

#[test]
fn a_shared_database_is_not_opened_as_a_store_of_its_own() {
    let place = Place::new();
    let app = application(&place, "WAL");
    open(&place).unwrap().close().unwrap();
    let error = Store::open(place.database()).unwrap_err();
    assert!(error.to_string().contains("another application's database"), "{error}");
    drop(app);
}

// Field 19.
#[test]
fn a_shared_store_works_beside_the_transactions_of_the_application() {
    let place = Place::new();
    let app = application(&place, "WAL");
    let store =
        Store::builder().shared().record_within(Duration::from_millis(100)).open(place.database()).unwrap();
    for form in FORMS {
        // A read transaction of the application sees its own snapshot and delays no call.
        app.execute_batch("BEGIN; SELECT * FROM orders;").unwrap();
        assert!(run(form, &store, &format!("beside {form:?}")).is_ok());
        app.execute_batch("COMMIT").unwrap();

        // A write transaction delays claims and completions; replays go on.
        app.execute_batch("BEGIN IMMEDIATE; INSERT INTO orders VALUES ('B');").unwrap();
        assert!(replay(form, &store, &format!("beside {form:?}")).is_ok());
        let key = format!("behind {form:?}");
        std::thread::scope(|scope| {
            let behind = scope.spawn(|| run(form, &store, &key));
            pause();
            assert!(!behind.is_finished());
            app.execute_batch("ROLLBACK").unwrap();
            assert_eq!(behind.join().unwrap().unwrap(), format!("value of {key}"));
        });

        // The application writes inside a body, through its own connection.
        let writes = || {
            app.execute("INSERT INTO orders VALUES (?1)", [format!("{form:?}")]).unwrap();
            Ok(String::new())
        };
        once(form, &store, &format!("writes {form:?}"), writes).unwrap();

        // And holds the lock while a body ends: its completion comes late and is not lost.
        let key = format!("late {form:?}");
        let locks = || {
            app.execute_batch("BEGIN IMMEDIATE").unwrap();
            Ok("late".to_owned())
        };
        let error = once(form, &store, &key, locks).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotRecorded);
        app.execute_batch("COMMIT").unwrap();
        assert_eq!(replay(form, &store, &key).unwrap(), "late");
    }
    let orders: i64 = app.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, 3);
}

#[test]
fn the_applications_backup_of_its_database_has_the_records() {
    let place = Place::new();
    let app = application(&place, "WAL");
    let store = open(&place).unwrap();
    run(Form::Sync, &store, "k").unwrap();
    let copy = Place::new();
    app.execute("VACUUM INTO ?1", [copy.database().to_str().unwrap()]).unwrap();
    drop(application(&copy, "WAL"));
    let restored = open(&copy).unwrap();
    assert_eq!(replay(Form::Tokio, &restored, "k").unwrap(), "value of k");
    assert!(restored.verify().unwrap().is_empty());
}

// Field 6.
#[test]
fn two_stores_share_no_records() {
    let (place, own) = (Place::new(), Place::new());
    let _app = application(&place, "WAL");
    let (shared, own) = (open(&place).unwrap(), own.open());
    for form in FORMS {
        let key = format!("k {form:?}");
        let outer = once(form, &shared, &key, || {
            // The same name and key in another store is another call, also inside the first one.
            once(Form::Sync, &own, &key, || Ok("own".to_owned()))?;
            Ok("shared".to_owned())
        });
        assert_eq!(outer.unwrap(), "shared");
        assert_eq!(replay(form, &own, &key).unwrap(), "own");
        assert_eq!(replay(form, &shared, &key).unwrap(), "shared");
        assert!(own.forget(NAME, &key).unwrap());
        assert_eq!(shared.get(NAME, &key).unwrap().unwrap().status(), Status::Done);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_open_transaction_of_the_same_program_is_named_as_the_holder_of_the_write_lock() {
    for form in FORMS {
        let place = Place::new();
        let conn = application(&place, "WAL");
        let store = open(&place).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let wait = std::time::Duration::from_millis(1);
        let effect = || effect(form, &store, "k", OnInterrupt::Refuse, wait, not_run);
        let error = effect().unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, idem_runtime::Ran::No));
        assert!(
            error.to_string().contains("another connection of this process holds the write lock"),
            "{error}"
        );
        assert!(error.help().contains("`tx = …`"), "{error:?}");
        let error = store.record_done(NAME, "other", &1_u32).unwrap_err();
        assert!(
            error.to_string().contains("another connection of this process holds the write lock"),
            "{error}"
        );
        conn.execute_batch("ROLLBACK").unwrap();
    }
}
