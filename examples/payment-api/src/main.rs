//! An HTTP interface that charges once per `Idempotency-Key`, whatever happens to the connection.
//!
//! A client that gives up and asks again meets the charge it began: the handler calls a `detach`ed function, so a
//! closed connection takes nothing down with it. A key used for another order is refused, and so is a request
//! without a key. After a crash of this server, the retry goes on as `--on-interrupt` says.
//!
//! ```text
//! cargo run -p payment-api -- --folder payments --port 8080 --work-ms 3000
//! curl -i http://127.0.0.1:8080/charges -H 'Idempotency-Key: A-17' --json '{"order":"A-17","cents":1250}'
//! ```
//!
//! Reading order: `charge` (the idempotent function), `answer` (its errors as HTTP), `gateway`, `args`.

#![expect(clippy::print_stdout, reason = "the example tells what it does")]

mod answer;
mod args;
mod charge;
mod gateway;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::post;
use idem_runtime::{Store, drain, observe_async};
use tokio::net::TcpListener;

use crate::args::Args;
use crate::charge::{ChargeError, Order, Shop, charge};
use crate::gateway::Gateway;

/// How long charges whose clients have gone may take when the server ends.
const DRAIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let done = match args::parse(env::args().skip(1)) {
        Ok(Some(args)) => run(&args),
        Ok(None) => {
            print!("{}", args::USAGE);
            Ok(())
        }
        Err(message) => Err(message.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payment-api: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Ctrl-C. The order of the end matters: no more requests, then the charges that still run, then the
/// store.
#[tokio::main]
async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(&args.folder)?;
    let store = Store::open(args.folder.join("idem.db"))?;
    idem_runtime::init(store.clone())?;
    let gateway = Gateway::new(args.folder.join("ledger.tsv"), args.work);
    let shop = Arc::new(Shop { gateway, wait: args.wait, on_interrupt: args.on_interrupt });
    let routes = Router::new().route("/charges", post(post_charge)).with_state(shop);

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(ctrl_c()).await?;

    let running = drain(DRAIN).await;
    if running > 0 {
        eprintln!("payment-api: {running} charges still run and will be in doubt");
    }
    store.close()?;
    println!("closed");
    Ok(())
}

async fn ctrl_c() {
    // Where the signal cannot be listened for, the process simply dies of it.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Without a key there is `None`, which the library refuses: it never becomes a key that everybody shares.
async fn post_charge(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    Json(order): Json<Order>,
) -> Result<impl IntoResponse, ChargeError> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let (charged, seen) = observe_async(charge(shop, key, order)).await;
    let replayed = seen.is_some_and(|seen| seen.replayed.is_some());
    Ok(([("idempotent-replayed", replayed.to_string())], Json(charged?)))
}
