//! The tables, and how a connection to them is opened.
//!
//! # Compatibility
//! `idem_meta` holds the version of the tables; a newer one than [`VERSION`] is refused, an older one is brought
//! up by [`MIGRATIONS`] (append only, never reorder). In a shared file, `user_version` and `application_id` are the
//! application's; in our own they mark the file as ours.
//!
//! # Durability
//! WAL with `synchronous = FULL`, set *and read back*: a mistyped pragma is silently accepted by `SQLite`. The writer
//! alone leaves it, for batches whose loss a power cut would excuse.
//!
//! # Locking
//! Whatever may write begins IMMEDIATE: a deferred transaction that upgrades ignores the busy timeout.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension, ffi};

use crate::error::{Advice, Error};
use crate::sqlite::failure;

/// The version of the tables this library writes.
pub(crate) const VERSION: i64 = 1;
/// "Idem" in ASCII: marks a file as a store of ours.
const APPLICATION_ID: i64 = 0x4964_656d;
/// How long a statement waits for a lock before the caller looks at its deadline.
pub(crate) const BUSY: Duration = Duration::from_millis(250);
/// The lowest `SQLite` without the WAL-reset race, which can lose committed writes.
const SQLITE_MIN: i32 = 3_051_003;

/// Position = version - 1. Append only.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE idem_meta (
        name  TEXT PRIMARY KEY,
        value ANY NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE idem_boot (
        number         INTEGER PRIMARY KEY,
        boot_id        TEXT NOT NULL UNIQUE,
        after_ms       INTEGER NOT NULL,
        met_ms         INTEGER NOT NULL,
        low_offset_ms  INTEGER,
        high_offset_ms INTEGER NOT NULL,
        last_ms        INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE idem_owner (
        number    INTEGER PRIMARY KEY AUTOINCREMENT,
        token     TEXT NOT NULL UNIQUE,
        pid       INTEGER NOT NULL,
        pid_start INTEGER,
        pid_space TEXT,
        boot_id   TEXT,
        host      TEXT NOT NULL
    ) STRICT;

    CREATE TABLE idem_count (
        id      INTEGER PRIMARY KEY CHECK (id = 1),
        claims  INTEGER NOT NULL,
        records INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE idem_record (
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

    CREATE INDEX idem_purge ON idem_record (purge_ms) WHERE purge_ms IS NOT NULL;
    CREATE INDEX idem_open ON idem_record (status) WHERE status IN (1, 2);

    INSERT INTO idem_meta (name, value) VALUES ('schema', 0), ('store', randomblob(16));
    INSERT INTO idem_count (id, claims, records) VALUES (1, 0, 0);
"];

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenancy {
    /// The file is ours alone.
    Own,
    /// Our tables stand in the application's database.
    Shared,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

/// Refuses a library that can lose committed writes.
pub(crate) fn check_library() -> Result<(), Error> {
    let version = rusqlite::version_number();
    // Releases that carry the fix in an older line.
    let backported = (3_050_007..3_051_000).contains(&version) || (3_044_006..3_045_000).contains(&version);
    if version >= SQLITE_MIN || backported {
        return Ok(());
    }
    let message =
        format!("the linked SQLite {} can lose committed writes (WAL-reset race)", rusqlite::version());
    Err(Error::store(message).advise(Advice::UpdateSqlite))
}

/// Opens a connection with every setting that reads nothing of the file.
///
/// The path must be absolute: `SQLite` takes one that starts with `file:` as a URI even without the flag.
pub(crate) fn connect(path: &Path) -> Result<Connection, Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let doing = "opening the store";
    let conn = Connection::open_with_flags(path, flags).map_err(|error| failure::error(error, doing))?;
    configure(&conn).map_err(|error| failure::error(error, doing))?;
    Ok(conn)
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(32);
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        conn.set_db_config(option, on)?;
    }
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    Ok(())
}

/// Makes sure the file is ours to write, before anything is written. Gives whether our tables are missing.
pub(crate) fn check_file(conn: &Connection, tenancy: Tenancy) -> Result<bool, Error> {
    let read = |error| failure::error(error, "reading the store");
    let application_id: i64 = pragma(conn, "application_id").map_err(read)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(read)?;
    if conn.is_readonly("main").map_err(read)? {
        return Err(Error::store("the database is not writable").advise(Advice::Permissions));
    }
    let ours = has_tables(conn).map_err(read)?;
    if ours {
        check_version(conn)?;
    }
    let foreign = tables > 0 && !ours || application_id != 0 && application_id != APPLICATION_ID;
    if tenancy == Tenancy::Own && foreign {
        return Err(Error::store("the file is another application's database").advise(Advice::OtherDatabase));
    }
    Ok(!ours)
}

/// Whether our tables are there.
pub(crate) fn has_tables(conn: &Connection) -> rusqlite::Result<bool> {
    let found: i64 = conn.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('idem_meta', 'idem_record')",
        [],
        |row| row.get(0),
    )?;
    Ok(found == 2)
}

/// Refuses the tables of a newer version.
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
    let found = conn.query_row("SELECT value FROM idem_meta WHERE name = 'schema'", [], |row| row.get(0));
    found.optional().map(|version| version.unwrap_or(0))
}

/// Sets what a connection of ours needs and reads it back.
pub(crate) fn set_modes(conn: &Connection, tenancy: Tenancy, role: Role) -> Result<(), Error> {
    let set = |error| failure::error(error, "setting up the store");
    let mode: String = match (tenancy, role) {
        (Tenancy::Own, Role::Writer) => {
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(set)?
        }
        _ => pragma(conn, "journal_mode").map_err(set)?,
    };
    if mode != "wal" {
        return Err(match tenancy {
            Tenancy::Shared => {
                Error::store(format!("the database is in journal mode `{mode}` instead of `wal`"))
                    .advise(Advice::EnableWal)
            }
            Tenancy::Own => {
                Error::store(format!("the database stays in journal mode `{mode}` instead of `wal`"))
                    .advise(Advice::LocalDisk)
            }
        });
    }
    let modes = [
        ("synchronous", 2),
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        // Readers load their pages anew after every commit, and what they find is checked by its own sum.
        ("cell_size_check", i64::from(role == Role::Writer)),
        ("foreign_keys", 0),
        ("temp_store", 2),
        ("mmap_size", 0),
        ("cache_size", -8_000),
        ("query_only", i64::from(role == Role::Reader)),
        // See `checkpoint`.
        ("wal_autocheckpoint", 0),
    ];
    modes.into_iter().try_for_each(|(name, value)| set_and_read_back(conn, name, value))
}

/// The log is cut back to this size when it is begun anew. In a shared file that is the application's to say.
pub(crate) fn set_log_limit(conn: &Connection, tenancy: Tenancy, bytes: u64) -> Result<(), Error> {
    match tenancy {
        Tenancy::Own => set_and_read_back(conn, "journal_size_limit", bytes.cast_signed()),
        Tenancy::Shared => Ok(()),
    }
}

/// The size of a page of the database, and of what a frame of its log holds.
pub(crate) fn page_bytes(conn: &Connection) -> Result<u32, Error> {
    pragma(conn, "page_size").map_err(|error| failure::error(error, "setting up the store"))
}

/// A mistyped value, or one a build of `SQLite` does not know, is silently ignored by it.
fn set_and_read_back(conn: &Connection, name: &str, value: i64) -> Result<(), Error> {
    let set = |error| failure::error(error, "setting up the store");
    conn.pragma_update(None, name, value).map_err(set)?;
    let found: Option<i64> = conn.pragma_query_value(None, name, |row| row.get(0)).optional().map_err(set)?;
    // `mmap_size` answers nothing where memory mapping is compiled out, which is what we want.
    if found == Some(value) || found.is_none() && name == "mmap_size" {
        return Ok(());
    }
    Err(Error::store(format!("`PRAGMA {name} = {value}` has no effect: SQLite reports `{found:?}`")))
}

/// Makes or updates the tables in the caller's transaction.
pub(crate) fn migrate(conn: &Connection, tenancy: Tenancy) -> rusqlite::Result<()> {
    let found = if has_tables(conn)? { stored_version(conn)? } else { 0 };
    let pending = usize::try_from(found).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(pending) {
        conn.execute_batch(migration)?;
    }
    if found == VERSION {
        return Ok(());
    }
    conn.execute("UPDATE idem_meta SET value = ?1 WHERE name = 'schema'", [VERSION])?;
    if tenancy == Tenancy::Own {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

/// Whether commits are forced to disk from now on. `SQLite` refuses to change it inside a transaction.
pub(crate) fn set_forcing(conn: &Connection, forcing: bool) -> rusqlite::Result<()> {
    // Never a prepared statement: the setting changes when it is compiled.
    conn.execute_batch(if forcing { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })
}

/// Folds the whole log into the database and begins it anew; an error if somebody still reads from it.
///
/// After a failed force the kernel takes what it could not write for written: claims in the log that nothing had forced
/// before may be missing on disk though the next force says ok, and a log ends at its first gap.
pub(crate) fn restart_log(conn: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool = conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))?;
    if is_busy {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None))
    } else {
        Ok(())
    }
}

/// Writes every page of the database anew, through `target`, with what stands in it.
///
/// A checkpoint that does not reach the end of the log forces nothing to disk, and the next one goes on where it ended. If
/// the force of that one fails, the kernel takes the pages of both for written, and nobody would write the first again.
pub(crate) fn rewrite(source: &Connection, target: &mut Connection) -> rusqlite::Result<()> {
    let copy = Backup::new(source, target)?;
    // The first step copies nothing: it takes the write lock, so that the second finds the newest there is.
    copy.step(0)?;
    match copy.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
    }
}

/// What `SQLite` finds wrong in our tables and their indexes, if anything.
pub(crate) fn integrity_flaw(conn: &Connection) -> rusqlite::Result<Option<String>> {
    for table in ["idem_record", "idem_count", "idem_meta", "idem_owner", "idem_boot"] {
        let answer: String =
            conn.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
        if answer != "ok" {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}
