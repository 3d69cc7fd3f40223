use idem_runtime::{Error, idempotent};

use rusqlite::Connection;

#[idempotent(key = id, tx = conn)]
async fn asynchronous(conn: &Connection, id: u64) -> Result<u64, Error> {
    let _ = conn;
    Ok(id)
}

#[idempotent(
    key = id,
    tx = conn,
    detach,
    store = store,
    on_interrupt = rerun,
    on_err = in_doubt
)]
fn everything(conn: &Connection, store: &idem_runtime::Store, id: u64) -> Result<u64, Error> {
    let _ = (conn, store);
    Ok(id)
}

#[idempotent(key = id, tx = conn, on_interrupt = recover(ask(id)))]
fn recovered(conn: &Connection, id: u64) -> Result<u64, Error> {
    let _ = conn;
    Ok(id)
}

fn main() {}
