//! `tx = conn`: the record commits with the user's own rows, so the effect happens exactly once.
//!
//! # How
//! In autocommit we begin IMMEDIATE and commit; inside the caller's transaction the caller commits. Either way the
//! body runs in a savepoint of ours, and its record is written first: as running, which nobody else ever sees.
//!
//! # A body that ends the transaction
//! `COMMIT`, `ROLLBACK; BEGIN`, `INSERT OR ROLLBACK`, `RAISE(ROLLBACK)` and a swallowed `SQLITE_FULL` take the savepoint
//! with them: releasing it fails, and that finds them out. What `SQLite` has committed by then stays, so the call is
//! recorded as in doubt.
//!
//! # What is not touched
//! The connection is the user's: no hooks, no pragmas, no modes. What durability needs is checked and told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::Connection;

use crate::bounds::{IntoError, Outcome};
use crate::call::inspect::answer;
use crate::call::run::{answer, prepare};
use crate::call::{Call, Plan, outcome};
use crate::error::Error;
use crate::on_err::ErrPolicy;
use crate::open::RESULT_BYTES_MAX;
use crate::protocol::decide::Mode;
use crate::protocol::record::Record;
use crate::scope::active_call::ActiveCall;
use crate::scope::context::Scope;
use crate::scope::{context, interception};
use crate::sqlite::schema;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::write_transaction::WriteTransaction;
use crate::tx::record::Acquired;

pub(crate) mod failure;
pub(crate) mod record;
pub(crate) mod savepoint;

/// A call whose record is written in a transaction of the user's; see [`Call::tx`].
#[derive(Debug)]
#[must_use = "a call is made by `run`"]
pub struct TxCall<'conn, P, M> {
    call: Call<P, M>,
    conn: &'conn Connection,
}

/// Makes the tables for records in the database of `conn`, for calls with [`tx`](Call::tx). Idempotent; nothing else
/// of the database is changed.
///
/// Inside a transaction it belongs to that transaction.
///
/// # Errors
/// [`ErrorKind::Store`](crate::ErrorKind::Store) if they cannot be made, or are of a newer version.
pub fn install(conn: &Connection) -> Result<(), Error> {
    let failed = |error| crate::sqlite::failure::error(error, "making the tables");
    if schema::has_tables(conn).map_err(failed)? {
        schema::check_version(conn)?;
    }
    if !conn.is_autocommit() {
        return schema::migrate(conn, Tenancy::Shared).map_err(failed);
    }
    let transaction = WriteTransaction::begin(conn).map_err(failed)?;
    schema::migrate(&transaction, Tenancy::Shared).map_err(failed)?;
    transaction.commit().map_err(failed)
}

impl<P, M> Call<P, M> {
    /// Keeps the record in the database of `conn`, and writes it in the same transaction as the body's own SQL:
    /// exactly once, for what the body writes through `conn`.
    ///
    /// The tables must be there ([`install`], or a shared store); no `init` is needed. In autocommit the call is a
    /// transaction of its own; inside a transaction of the caller's it is part of it, and as durable as its commit:
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
    ///
    /// An `Err` rolls back what the body wrote, whatever it means for the record. A body must not end the
    /// transaction; one that does is found out, and its call is in doubt. Inside a transaction of the caller's that
    /// note is part of what the caller commits: it goes with a rollback, after the caller was told.
    pub fn tx(self, conn: &Connection) -> TxCall<'_, P, M> {
        TxCall { call: self, conn }
    }
}

impl<P, M> TxCall<'_, P, M> {
    /// Makes the call: as [`Call::run`], in one transaction with what the body writes.
    ///
    /// # Errors
    /// As [`Call::run`]. [`Store`](crate::ErrorKind::Store) if the tables are missing, the connection does not force its
    /// commits to disk, or the caller's transaction reads an older state (begin it IMMEDIATE);
    /// [`InDoubt`](crate::ErrorKind::InDoubt) if the body ended the transaction.
    ///
    /// # Panics
    /// Only if the body does: everything is rolled back then.
    pub fn run<R, F>(self, body: F) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
        F: FnOnce() -> R,
    {
        let Call { plan, on_err, map_err } = self.call;
        answer(make(plan, self.conn, &on_err, body), &map_err)
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
    let observer = context::scope().consume_interception()?;
    if let Some(look) = observer.as_ref().filter(|interception| interception.is_look()) {
        answer::answer(look, prepare(plan));
        return Err(interception::not_made());
    }
    let mode = Mode::Interrupt(plan.on_interrupt);
    let call = plan.prepare()?;
    let about = |error: Error| call.with_identity(error);
    let store_id = record::store_id(conn).map_err(about)?;
    let inside = match record::acquire(conn, &call, &store_id, mode).map_err(about)? {
        Acquired::Answer(record) => {
            interception::report(observer.as_deref(), &record, Some(std::time::Duration::ZERO));
            return outcome::replay(&record.borrowed(), policy).map_err(about);
        }
        Acquired::Claimed(inside) => inside,
    };
    let Some(record) = inside.record() else { return Err(about(Error::store("the call was not claimed"))) };
    interception::report(observer.as_deref(), record, None);
    let (scope, active) = scope(store_id, record);
    let outcome = {
        let _entered = context::enter(scope);
        body().into_result()
    };
    match outcome {
        Ok(value) => {
            let (end, value) = outcome::done(value, call.codec, call.keep_result, RESULT_BYTES_MAX);
            inside.end(end, false).map_err(about)?;
            Ok(Ok(value))
        }
        Err(error) => {
            active.propagate_failure();
            let (end, error) =
                outcome::failed(error, policy, active.has_inner_failure(), &call, RESULT_BYTES_MAX);
            inside.end(end, true).map_err(about)?;
            Ok(Err(error))
        }
    }
}

fn scope(store_id: [u8; 16], record: &Record) -> (Arc<Scope>, Arc<ActiveCall>) {
    let outer = context::scope();
    let active = Arc::new(ActiveCall {
        store_id,
        token_namespace: None,
        slot: record.slot,
        name: record.name.clone(),
        key: record.key.clone(),
        attempt: record.attempt,
        in_doubt_since: None,
        in_transaction: true,
        outer: outer.call.clone(),
        inner_failed: AtomicBool::new(false),
    });
    let scope = Scope { store: outer.store.clone(), call: Some(Arc::clone(&active)), interception: None };
    (Arc::new(scope), active)
}
