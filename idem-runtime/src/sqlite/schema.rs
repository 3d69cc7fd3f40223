//! The tables of a store, their version and their migrations.
//!
//! # Compatibility
//! `idem_meta` holds the version of the tables. A version above [`VERSION`] is refused. [`MIGRATIONS`] updates an older
//! version. In a shared file, `user_version` and `application_id` belong to the application. In a file of its own, the
//! store sets both.

use rusqlite::{Connection, OptionalExtension};

use crate::error::{Advice, Error};
use crate::sqlite::failure;

/// Version of the tables that this library writes.
pub(crate) const VERSION: i64 = 1;
/// `application_id` of a store's own file: "Idem" in ASCII.
const APPLICATION_ID: i64 = 0x4964_656d;

/// Statements that lead from each version to the next. Append only: the index is the version before.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE main.idem_meta (
        name  TEXT PRIMARY KEY,
        value ANY NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE main.idem_boot (
        number         INTEGER PRIMARY KEY,
        boot_id        TEXT NOT NULL UNIQUE,
        after_ms       INTEGER NOT NULL,
        met_ms         INTEGER NOT NULL,
        low_offset_ms  INTEGER,
        high_offset_ms INTEGER NOT NULL,
        last_ms        INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE main.idem_owner (
        number    INTEGER PRIMARY KEY AUTOINCREMENT,
        token     TEXT NOT NULL UNIQUE,
        pid       INTEGER NOT NULL,
        pid_start INTEGER,
        pid_space TEXT,
        boot_id   TEXT,
        host      TEXT NOT NULL
    ) STRICT;

    CREATE TABLE main.idem_count (
        id      INTEGER PRIMARY KEY CHECK (id = 1),
        claims  INTEGER NOT NULL,
        records INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE main.idem_record (
        id       INTEGER PRIMARY KEY,
        slot     BLOB    NOT NULL UNIQUE,
        name     TEXT    NOT NULL,
        key      TEXT    NOT NULL,
        status   INTEGER NOT NULL CHECK (status BETWEEN 1 AND 4),
        claim    INTEGER NOT NULL CHECK (claim > 0),
        owner    INTEGER NOT NULL,
        facts    BLOB    NOT NULL,
        result   BLOB,
        purge_ms INTEGER
    ) STRICT;

    CREATE INDEX main.idem_purge ON idem_record (purge_ms) WHERE purge_ms IS NOT NULL;
    CREATE INDEX main.idem_open ON idem_record (status) WHERE status IN (1, 2);

    INSERT INTO main.idem_meta (name, value) VALUES ('schema', 0), ('store', randomblob(16));
    INSERT INTO main.idem_count (id, claims, records) VALUES (1, 0, 0);
"];

/// The owner of the database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenancy {
    /// The store owns the file.
    Own,
    /// The application owns the file. The tables of the store are among the application's.
    Shared,
}

/// Checks that the store may use the file, before anything is written. Returns whether the file has the store's tables.
pub(crate) fn check_file(conn: &Connection, tenancy: Tenancy) -> Result<bool, Error> {
    let read = |error| failure::error(error, "reading the store");
    let application_id: i64 =
        conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(read)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |row| row.get(0)).map_err(read)?;
    if conn.is_readonly("main").map_err(read)? {
        return Err(Error::store("the database is not writable").advise(Advice::Permissions));
    }
    let is_store = has_tables(conn).map_err(read)?;
    if is_store {
        check_version(conn)?;
    }
    let is_foreign = tables > 0 && !is_store || application_id != 0 && application_id != APPLICATION_ID;
    if tenancy == Tenancy::Own && is_foreign {
        return Err(Error::store("the file is another application's database").advise(Advice::OtherDatabase));
    }
    Ok(is_store)
}

/// Whether the database has the store's tables.
pub(crate) fn has_tables(conn: &Connection) -> rusqlite::Result<bool> {
    let found: i64 = conn.query_row(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name IN ('idem_meta', 'idem_record')",
        [],
        |row| row.get(0),
    )?;
    Ok(found == 2)
}

/// Refuses tables of a version above [`VERSION`].
pub(crate) fn check_version(conn: &Connection) -> Result<(), Error> {
    let found = stored_version(conn).map_err(|error| failure::error(error, "reading the store's version"))?;
    if found <= VERSION {
        return Ok(());
    }
    let message =
        format!("the store has version {found}, and this library supports versions up to {VERSION}");
    Err(Error::store(message).advise(Advice::UpdateLibrary))
}

fn stored_version(conn: &Connection) -> rusqlite::Result<i64> {
    let found =
        conn.query_row("SELECT value FROM main.idem_meta WHERE name = 'schema'", [], |row| row.get(0));
    found.optional().map(|version| version.unwrap_or(0))
}

/// Creates or updates the tables inside the caller's transaction.
pub(crate) fn migrate(conn: &Connection, tenancy: Tenancy) -> rusqlite::Result<()> {
    let found = if has_tables(conn)? { stored_version(conn)? } else { 0 };
    let pending = usize::try_from(found).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(pending) {
        conn.execute_batch(migration)?;
    }
    if found == VERSION {
        return Ok(());
    }
    conn.execute("UPDATE main.idem_meta SET value = ?1 WHERE name = 'schema'", [VERSION])?;
    if tenancy == Tenancy::Own {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

/// Reads the random id that the store got with its tables.
pub(crate) fn store_id(conn: &Connection) -> rusqlite::Result<[u8; 16]> {
    conn.query_row("SELECT value FROM main.idem_meta WHERE name = 'store'", [], |row| row.get(0))
}

/// Reads a text from `idem_meta`.
pub(crate) fn note(conn: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT value FROM main.idem_meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Writes a text to `idem_meta`.
pub(crate) fn write_note(conn: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    const WRITE: &str = "INSERT INTO main.idem_meta (name, value) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET value = ?2";
    conn.execute(WRITE, [name, value]).map(drop)
}

/// Runs SQLite's integrity check on the store's tables and indexes. Returns the first problem.
pub(crate) fn integrity_problem(conn: &Connection) -> rusqlite::Result<Option<String>> {
    for table in ["idem_record", "idem_count", "idem_meta", "idem_owner", "idem_boot"] {
        let answer: String =
            conn.query_row(&format!("PRAGMA main.integrity_check({table})"), [], |row| row.get(0))?;
        if answer != "ok" {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}
