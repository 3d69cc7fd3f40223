//! An HTTP server that charges once per `Idempotency-Key`.
//!
//! The handler calls a function with `detach`, so a closed connection does not interrupt the charge, and a retry waits
//! for it. The server refuses a key that belongs to another order, and a request without a key. After a crash of the
//! server, `--on-interrupt` decides about the retry.
//!
//! ```text
//! cargo run -p payment-api -- --folder payments --port 8080 --work-ms 3000
//! curl -i http://127.0.0.1:8080/charges -H 'Idempotency-Key: A-17' --json '{"order":"A-17","cents":1250}'
//! ```
//!
//! Reading order: `charge` (the idempotent function), `answer` (its errors as HTTP), `gateway`, `args`.

#![expect(clippy::print_stdout, reason = "the example prints its steps")]

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

/// The longest wait for running charges at shutdown.
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

/// Serves until Ctrl-C, then shuts down in this order: requests, running charges, store.
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
    // Without a handler, the signal ends the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Handles a request. Without a key header the key is `None`, which the runtime refuses.
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
