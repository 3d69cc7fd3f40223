//! Connections to the database and their settings.
//!
//! # Durability
//! Every connection runs with `synchronous = FULL`. SQLite silently ignores a mistyped pragma, so each setting is read
//! back. Only the writer uses `NORMAL`, for batches that a power failure may lose.
//!
//! # Locking
//! A transaction that may write begins with `BEGIN IMMEDIATE`. A deferred transaction that upgrades ignores the busy
//! timeout.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::error::{Advice, Error};
use crate::sqlite::failure;
use crate::sqlite::schema::Tenancy;

/// How long a statement waits for a lock before the caller checks its deadline.
pub(crate) const BUSY: Duration = Duration::from_millis(250);
/// The lowest version of SQLite without the WAL-reset race, which can lose committed writes.
const SQLITE_MIN: i32 = 3_051_003;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

/// Refuses a version of SQLite that can lose committed writes.
pub(crate) fn check_library() -> Result<(), Error> {
    let version = rusqlite::version_number();
    // Older release lines with the fix.
    let is_backported =
        (3_050_007..3_051_000).contains(&version) || (3_044_006..3_045_000).contains(&version);
    if version >= SQLITE_MIN || is_backported {
        return Ok(());
    }
    let message =
        format!("the linked SQLite {} can lose committed writes (WAL-reset race)", rusqlite::version());
    Err(Error::store(message).advise(Advice::UpdateSqlite))
}

/// Opens a connection with every setting that reads nothing from the file.
///
/// The path must be absolute: SQLite takes a path that starts with `file:` as a URI, even without the flag.
pub(crate) fn connect(path: &Path) -> Result<Connection, Error> {
    // The cache is private even if the program calls `sqlite3_enable_shared_cache`: with a shared one, connections of this
    // process lock tables against each other.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let opened = Connection::open_with_flags(path, flags).and_then(configured);
    opened.map_err(failure::opening)
}

fn configured(conn: Connection) -> rusqlite::Result<Connection> {
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
    Ok(conn)
}

/// Opens a connection that only reads.
pub(crate) fn connect_reader(path: &Path, tenancy: Tenancy) -> Result<Connection, Error> {
    let conn = connect(path)?;
    set_modes(&conn, tenancy, Role::Reader)?;
    Ok(conn)
}

/// Sets the modes of a connection and reads each one back.
pub(crate) fn set_modes(conn: &Connection, tenancy: Tenancy, role: Role) -> Result<(), Error> {
    require_wal(conn, tenancy, role)?;
    let modes = [
        ("synchronous", 2),
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        // A reader reloads pages after every commit, and every row has a checksum.
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

/// Switches the store's own file to WAL mode. Refuses any other journal mode.
fn require_wal(conn: &Connection, tenancy: Tenancy, role: Role) -> Result<(), Error> {
    let mode: String = match (tenancy, role) {
        (Tenancy::Own, Role::Writer) => {
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(setting_up)?
        }
        _ => pragma(conn, "journal_mode")?,
    };
    if mode == "wal" {
        return Ok(());
    }
    Err(match tenancy {
        Tenancy::Shared => Error::store(format!("the database is in journal mode `{mode}` instead of `wal`"))
            .advise(Advice::EnableWal),
        Tenancy::Own => Error::store(format!("the database stays in journal mode `{mode}` instead of `wal`"))
            .advise(Advice::LocalDisk),
    })
}

/// Sets a pragma. Fails if SQLite ignores the name or the value.
pub(crate) fn set_and_read_back(conn: &Connection, name: &str, value: i64) -> Result<(), Error> {
    conn.pragma_update(None, name, value).map_err(setting_up)?;
    let found: Option<i64> =
        conn.pragma_query_value(None, name, |row| row.get(0)).optional().map_err(setting_up)?;
    // Builds of SQLite without memory mapping return no row for `mmap_size`.
    if found == Some(value) || found.is_none() && name == "mmap_size" {
        return Ok(());
    }
    Err(Error::store(format!("`PRAGMA {name} = {value}` has no effect: SQLite reports `{found:?}`")))
}

/// Sets whether a commit ends with an fsync. SQLite refuses the change inside a transaction.
pub(crate) fn set_syncing(conn: &Connection, is_syncing: bool) -> rusqlite::Result<()> {
    // No prepared statement: SQLite applies the setting when it compiles the statement.
    conn.execute_batch(if is_syncing { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })
}

/// Makes the next statement read its pages from the files.
pub(crate) fn drop_cached_pages(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA shrink_memory")
}

/// Size of a page of the database and of the content of a WAL frame, in bytes.
pub(crate) fn page_bytes(conn: &Connection) -> Result<u32, Error> {
    pragma(conn, "page_size")
}

/// Size of the database, in bytes.
pub(crate) fn database_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = conn.query_row(BYTES, [], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn pragma<T: FromSql>(conn: &Connection, name: &str) -> Result<T, Error> {
    conn.pragma_query_value(None, name, |row| row.get(0)).map_err(setting_up)
}

fn setting_up(error: rusqlite::Error) -> Error {
    failure::error(error, "setting up the store")
}
