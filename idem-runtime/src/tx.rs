//! `tx = conn`: the record commits together with the user's own rows, so the effect happens exactly once.
//!
//! # Transactions
//! In autocommit mode, the call begins a transaction with BEGIN IMMEDIATE and commits it. Inside a transaction of the
//! caller, the caller commits. In both cases the body runs inside a savepoint of the call. The first write in the
//! savepoint is the running record, which no other connection can see before the commit.
//!
//! # A body that ends the transaction
//! `COMMIT`, `ROLLBACK; BEGIN`, `INSERT OR ROLLBACK`, `RAISE(ROLLBACK)` and an ignored `SQLITE_FULL` remove the
//! savepoint. The release of the savepoint then fails, and so the call detects the body's mistake. Rows that SQLite has
//! committed remain, so the call is recorded as in doubt.
//!
//! # Limits
//! The connection belongs to the user: the call sets no hook, no pragma and no mode. The call checks the settings that
//! durability needs.

use std::time::Duration;

use rusqlite::Connection;

use crate::bounds::{IntoError, Outcome};
use crate::call::body::BodyScope;
use crate::call::inspect::answer::check_result;
use crate::call::invocation::intercept;
use crate::call::outcome::into_return_type;
use crate::call::prepared::{Plan, Prepared};
use crate::call::{Call, outcome};
use crate::error::Error;
use crate::on_err::ErrPolicy;
use crate::open::RESULT_BYTES_MAX;
use crate::protocol::decide::Mode;
use crate::scope::interception;
use crate::scope::interception::Interception;
use crate::sqlite::failure;
use crate::sqlite::schema;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::tx::acquire::Acquired;
use crate::tx::inspect::ConnectionRecords;

mod acquire;
mod claim;
mod connection;
mod inspect;
mod savepoint;

/// A call whose record is written in a transaction of the user, created by [`Call::tx`] and made by
/// [`run`](TxCall::run).
#[derive(Debug)]
#[must_use = "a call is made by `run`"]
pub struct TxCall<'conn, P, M> {
    call: Call<P, M>,
    conn: &'conn Connection,
}

/// Creates the tables for records in the database of `conn`, for calls with [`tx`](Call::tx).
///
/// If the tables exist, `install` checks their version and changes nothing else. Inside a transaction, the tables belong
/// to that transaction.
///
/// # Errors
/// [`ErrorKind::Store`](crate::ErrorKind::Store) if the tables cannot be created, or if their version is newer than this
/// library.
///
/// ```
/// use rusqlite::Connection;
///
/// let conn = Connection::open_in_memory().unwrap();
/// idem_runtime::install(&conn)?;
/// idem_runtime::install(&conn)?; // Changes nothing.
/// # Ok::<(), idem_runtime::Error>(())
/// ```
pub fn install(conn: &Connection) -> Result<(), Error> {
    const MAKING: &str = "making the tables";
    let failed = |error| failure::error(error, MAKING);
    if schema::has_tables(conn).map_err(failed)? {
        schema::check_version(conn)?;
    }
    if !conn.is_autocommit() {
        return schema::migrate(conn, Tenancy::Shared).map_err(failed);
    }
    let begun = WriteTransaction::begin(conn);
    let transaction = begun.map_err(|error| failure::not_begun(conn, error, MAKING))?;
    schema::migrate(&transaction, Tenancy::Shared).map_err(failed)?;
    transaction.commit().map_err(failed)
}

impl<P, M> Call<P, M> {
    /// Writes the record in the same SQLite transaction as the rows that the body writes through `conn`.
    ///
    /// All that the body writes through `conn` therefore takes effect exactly once. The tables must exist: [`install`]
    /// creates them, or a [shared](crate::StoreBuilder::shared) store. No `init` is needed.
    ///
    /// In autocommit mode, the call is a transaction of its own. Inside a transaction of the caller, the call is part of
    /// that transaction and as durable as its commit.
    ///
    /// Every `Err` of the body rolls back the rows that the body wrote, also if `on_err` remembers the `Err`.
    ///
    /// A body must not end the transaction. If it does, its call is in doubt. Inside a transaction of the caller, the
    /// record of this doubt is part of what the caller commits: a rollback also removes the record.
    ///
    /// Read `last_insert_rowid()` and `changes()` inside the body. After the call, the connection may give the values of
    /// the statements that wrote the record.
    ///
    /// ```
    /// use idem_runtime::{Error, call, install};
    /// use rusqlite::Connection;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let conn = Connection::open(folder.path().join("shop.db")).unwrap();
    /// conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE stock (item TEXT, count INTEGER)").unwrap();
    /// install(&conn)?;
    /// for _delivery in 0..2 {
    ///     let moved: Result<usize, Error> = call("stock.receive").key("delivery-17").tx(&conn).run(|| {
    ///         Ok(conn.execute("INSERT INTO stock VALUES ('bolts', 100)", []).unwrap())
    ///     });
    ///     assert_eq!(moved?, 1);
    /// }
    /// let rows: i64 = conn.query_row("SELECT count(*) FROM stock", [], |row| row.get(0)).unwrap();
    /// assert_eq!(rows, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn tx(self, conn: &Connection) -> TxCall<'_, P, M> {
        TxCall { call: self, conn }
    }
}

impl<P, M> TxCall<'_, P, M> {
    /// Makes the call in one transaction with the rows that `body` writes.
    ///
    /// # Errors
    /// The errors of [`Call::run`]. In addition:
    /// - [`Store`](crate::ErrorKind::Store) if the tables are missing, if the connection does not fsync its commits, or
    ///   if `PRAGMA count_changes` is on. Also if the transaction of the caller or an open statement reads an old
    ///   snapshot. To avoid this, begin the transaction with `BEGIN IMMEDIATE`, and finish or reset the statement.
    /// - [`InDoubt`](crate::ErrorKind::InDoubt) if the body ended the transaction.
    ///
    /// # Panics
    /// If `body` panics. The rows of the body and the record are then rolled back.
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let Call { plan, on_err, map_err } = self.call;
        into_return_type(make(plan.with_body(&body), self.conn, &on_err, body), &map_err)
    }
}

fn make<R, P>(
    plan: Plan,
    conn: &Connection,
    policy: &P,
    body: impl FnOnce() -> R,
) -> Result<Result<R::Ok, R::Err>, Error>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
{
    let (plan, observer) = intercept(plan, check_result::<R::Ok>, |plan| {
        let call = plan.prepare()?;
        let store_id = connection::store_id(conn).map_err(|error| call.with_identity(error))?;
        Ok((call, ConnectionRecords { conn, store_id }))
    })?;
    let call = plan.prepare()?;
    make_prepared(&call, conn, observer.as_deref(), policy, body).map_err(|error| call.with_identity(error))
}

fn make_prepared<R, P>(
    call: &Prepared,
    conn: &Connection,
    observer: Option<&Interception>,
    policy: &P,
    body: impl FnOnce() -> R,
) -> Result<Result<R::Ok, R::Err>, Error>
where
    R: Outcome,
    P: ErrPolicy<R::Err>,
{
    let store_id = connection::store_id(conn)?;
    let mode = Mode::Interrupt(call.options.on_interrupt);
    let claim = match acquire::acquire(conn, call, &store_id, mode)? {
        Acquired::Claimed(claim) => claim,
        Acquired::Answer(record) => {
            let answer = outcome::replay(&record.borrowed(), policy)?;
            interception::report(observer, &record, Some(Duration::ZERO));
            return Ok(answer);
        }
    };
    interception::report(observer, claim.record(), None);
    let scope = BodyScope::in_transaction(store_id, claim.record());
    let outcome = scope.run(body).into_result();
    let (end, outcome) = outcome::end_of(outcome, policy, &scope.call, &call.options, RESULT_BYTES_MAX);
    let ended = claim.end(end, outcome.is_err());
    if let (Some(observer), true) = (observer, ended.is_err() || outcome.is_err()) {
        observer.retract();
    }
    ended.map(|()| outcome)
}
