//! Shapes of functions with `tx`, `recover`, `classify` and `detach`. Other modules test the modes.
#![allow(
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    clippy::ptr_arg,
    reason = "the shape is what is tested"
)]

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use idem_runtime::{Error, OnErr, Store, Verdict, idempotent, install};
use rusqlite::{Connection, Savepoint, Transaction};
use serde::Serialize;
use tokio::task::yield_now;

use crate::support::runs_once::{fresh, runs_once, runs_once_async};

#[derive(Clone, Serialize)]
struct Order {
    id: u64,
    items: Vec<String>,
}

fn order(id: u64) -> Order {
    Order { id, items: vec!["bolt".to_owned()] }
}

/// A connection to a database of its own, with the tables for records.
fn connection(folder: &tempfile::TempDir) -> Connection {
    #[expect(clippy::disallowed_methods, reason = "the path is absolute, and no URI")]
    let conn = Connection::open(folder.path().join("app.db")).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    install(&conn).unwrap();
    conn.execute("CREATE TABLE IF NOT EXISTS effect (n INTEGER)", []).unwrap();
    conn
}

fn write(conn: &Connection) -> Result<u64, Error> {
    let n = fresh();
    conn.execute("INSERT INTO effect VALUES (?1)", [i64::try_from(n).unwrap()]).unwrap();
    Ok(n)
}

#[test]
fn tx_takes_any_value_that_derefs_to_a_connection() {
    #[idempotent(name = "shapes_modes.by_reference", key = id, tx = conn)]
    fn by_reference(conn: &Connection, id: u64) -> Result<u64, Error> {
        write(conn)
    }
    #[idempotent(name = "shapes_modes.by_mut", key = id, tx = conn)]
    fn by_mut(conn: &mut Connection, id: u64) -> Result<u64, Error> {
        write(conn)
    }
    #[idempotent(name = "shapes_modes.by_transaction", key = id, tx = tx)]
    fn by_transaction(tx: &Transaction<'_>, id: u64) -> Result<u64, Error> {
        write(tx)
    }
    #[idempotent(name = "shapes_modes.by_savepoint", key = id, tx = savepoint)]
    fn by_savepoint(savepoint: &mut Savepoint<'_>, id: u64) -> Result<u64, Error> {
        write(savepoint)
    }
    #[idempotent(name = "shapes_modes.by_guard", key = order.id, tx = conn)]
    fn by_guard(conn: MutexGuard<'_, Connection>, order: Order) -> Result<u64, Error> {
        // The body may still move its other arguments.
        drop(order.items);
        write(&conn)
    }
    let folder = tempfile::tempdir().unwrap();
    let mut conn = connection(&folder);
    runs_once(|n| by_reference(&conn, n));
    runs_once(|n| by_mut(&mut conn, n));
    let mut tx = conn.transaction().unwrap();
    runs_once(|n| by_transaction(&tx, n));
    runs_once(|n| {
        let mut savepoint = tx.savepoint().unwrap();
        let written = by_savepoint(&mut savepoint, n);
        savepoint.commit().unwrap();
        written
    });
    tx.commit().unwrap();
    let conn = Mutex::new(conn);
    runs_once(|n| by_guard(conn.lock().unwrap(), order(n)));
}

#[test]
fn a_connection_inside_self() {
    struct App {
        conn: Connection,
    }
    impl App {
        #[idempotent(name = "modes.app", key = id, skip(self), tx = self.conn)]
        fn write(&self, id: u64) -> Result<u64, Error> {
            write(&self.conn)
        }
        #[idempotent(name = "modes.app_mut", key = id, skip(self), tx = self.conn)]
        fn write_mut(&mut self, id: u64) -> Result<u64, Error> {
            write(&self.conn)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut app = App { conn: connection(&folder) };
    runs_once(|n| app.write(n));
    runs_once(|n| app.write_mut(n));
}

/// The hook borrows the arguments that the body moves.
#[test]
fn recover_with_owned_arguments() {
    #[idempotent(name = "shapes_modes.sync", key = order.id, on_interrupt = recover(ask(&order)))]
    fn sync(order: Order) -> Result<u64, Error> {
        drop(order);
        Ok(fresh())
    }
    fn ask(order: &Order) -> Verdict<u64> {
        Verdict::Done(order.id)
    }
    #[idempotent(name = "shapes_modes.asynchronous", key = order.id, on_interrupt = recover(ask_async(&order).await), on_err = in_doubt)]
    async fn asynchronous(order: Order) -> Result<u64, Error> {
        yield_now().await;
        drop(order);
        Ok(fresh())
    }
    async fn ask_async(order: &Order) -> Result<Verdict<u64>, String> {
        yield_now().await;
        Ok(Verdict::Done(order.id))
    }
    runs_once(|n| sync(order(n)));
    runs_once_async(|n| asynchronous(order(n)));
}

#[test]
fn classify_by_function_and_closure() {
    fn judge(error: &String) -> OnErr {
        if error.is_empty() { OnErr::Release } else { OnErr::InDoubt }
    }
    #[idempotent(name = "shapes_modes.function", key = id, on_err = classify(judge))]
    fn function(id: u64) -> Result<u64, String> {
        Ok(fresh() + id - id)
    }
    #[idempotent(name = "shapes_modes.closure", key = id, on_err = classify(|error: &String| judge(error)))]
    async fn closure(id: u64) -> Result<u64, String> {
        Ok(fresh() + id - id)
    }
    runs_once(function);
    runs_once_async(closure);
}

struct Shop {
    fee: u64,
}

impl Shop {
    #[idempotent(name = "modes.shop", key = order.id, skip(self), detach)]
    async fn charge(self: Arc<Self>, order: Order, _note: String) -> Result<u64, Error> {
        yield_now().await;
        drop(order);
        Ok(fresh() + self.fee)
    }
}

#[async_trait]
trait Charge {
    async fn charge(self: Arc<Self>, id: u64) -> Result<u64, Error>;
}

#[async_trait]
impl Charge for String {
    #[idempotent(name = "modes.boxed", key = id, skip(self), detach)]
    async fn charge(self: Arc<Self>, id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + id - id + self.len() as u64)
    }
}

#[test]
fn detached_bodies_own_their_arguments() {
    #[idempotent(name = "shapes_modes.recovered", key = id, detach, on_interrupt = recover(ask(id).await))]
    async fn recovered(id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + id - id)
    }
    async fn ask(id: u64) -> Verdict<u64> {
        yield_now().await;
        Verdict::Done(id)
    }
    #[idempotent(name = "shapes_modes.generic", key = value.to_string(), detach, store = store)]
    async fn generic<T: ToString + Serialize + Send + 'static>(store: Store, value: T) -> Result<u64, Error> {
        yield_now().await;
        drop(store);
        Ok(fresh() + value.to_string().len() as u64)
    }
    let shop = Arc::new(Shop { fee: 7 });
    runs_once_async(|n| Arc::clone(&shop).charge(order(n), "note".to_owned()));
    runs_once_async(|n| Charge::charge(Arc::new("card".to_owned()), n));
    runs_once_async(recovered);
    let store = Store::temporary().unwrap();
    runs_once_async(|n| generic(store.clone(), n));
}

/// An argument that the body does not mention, such as a permit, is held until the body ends, not until its caller
/// has gone.
#[test]
fn detached_bodies_hold_what_they_do_not_mention() {
    #[idempotent(name = "shapes_modes.held", key = id, skip(_permit, release, seen), detach)]
    async fn held(
        id: u64,
        _permit: Arc<()>,
        release: tokio::sync::oneshot::Receiver<()>,
        seen: tokio::sync::oneshot::Sender<()>,
    ) -> Result<u64, Error> {
        seen.send(()).unwrap();
        release.await.unwrap();
        Ok(id)
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::temporary().unwrap();
    idem_runtime::with_store(&store, || {
        runtime.block_on(async {
            let permit = Arc::new(());
            let (release, released) = tokio::sync::oneshot::channel();
            let (seen, started) = tokio::sync::oneshot::channel();
            let call = held(1, Arc::clone(&permit), released, seen);
            // The caller goes as soon as the body runs.
            tokio::select! {
                biased;
                started = started => started.unwrap(),
                _ = call => unreachable!("the permit is not released yet"),
            }
            assert_eq!(Arc::strong_count(&permit), 2, "the running body holds it");
            release.send(()).unwrap();
            while Arc::strong_count(&permit) == 2 {
                yield_now().await;
            }
        });
    });
}
