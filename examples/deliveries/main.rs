//! A consumer of an at-least-once webhook stream that charges each event once.
//!
//! Several workers read deliveries from one file. An event arrives two or three times, at once or much later, sometimes
//! with another amount or without its id. Each charge appends one line to a ledger. A table at the end counts the
//! deliveries by their answers.
//!
//! ```text
//! cargo run --example deliveries
//! cargo run --example deliveries -- --help
//! ```
//!
//! Kill the program at any moment with `kill -9`, and run it again on the same store and ledger. With
//! `--on-interrupt rerun`, no event is missing, and at most the in-flight charges are repeated. With `refuse`, no
//! charge is repeated, and the in-flight charges are in doubt.
//!
//! Reading order: `charge` (the idempotent function), `stream`, `tally`, `screen`, `args`.

mod args;
mod charge;
mod screen;
mod stream;
mod tally;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use idem_runtime::{ErrorKind, Store};

use crate::args::{Args, Command};
use crate::charge::{ChargeError, Event, Shop, charge};
use crate::screen::Screen;
use crate::stream::{Line, Stream};
use crate::tally::{Answer, Tally, Totals};

fn main() -> ExitCode {
    let done = match args::parse(env::args_os().skip(1)) {
        Ok(Command::Run(args)) => run(&args).map(Totals::exit_code),
        Ok(Command::Help) => help(),
        Err(message) => Err(message.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("deliveries: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<ExitCode, Box<dyn Error>> {
    io::stdout().write_all(args::USAGE.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Handles the whole stream and prints the table.
fn run(args: &Args) -> Result<Totals, Box<dyn Error>> {
    let stream = Stream::open(&args.input)?;
    let (store_path, ledger_path) = places(args)?;
    eprintln!("store:  {}\nledger: {}", store_path.display(), ledger_path.display());

    let store = Store::open(&store_path)?;
    idem_runtime::init(store.clone())?;
    let shop = Shop::open(&ledger_path, args.work, args.on_interrupt)?;

    let started = Instant::now();
    let totals = consume(&stream, &shop, args.workers);
    let took = started.elapsed();

    store.close()?;
    totals.print(took, args.output)?;
    if totals.in_doubt > 0 {
        eprintln!(
            "{} deliveries are in doubt: their charge was interrupted or failed, and its effect is unknown. No charge \
             was repeated. Look them up in the ledger, or charge them again with `--on-interrupt rerun`.",
            totals.in_doubt
        );
    }
    Ok(totals)
}

/// Returns the paths of the store and the ledger. Without an argument, a path is in a new folder, which is kept.
fn places(args: &Args) -> io::Result<(PathBuf, PathBuf)> {
    if let (Some(store), Some(ledger)) = (&args.store, &args.ledger) {
        return Ok((store.clone(), ledger.clone()));
    }
    let folder = tempfile::Builder::new().prefix("idem-deliveries-").tempdir()?.keep();
    let store = args.store.clone().unwrap_or_else(|| folder.join("idem.db"));
    let ledger = args.ledger.clone().unwrap_or_else(|| folder.join("ledger.tsv"));
    Ok((store, ledger))
}

/// Handles the whole stream with `workers` threads.
fn consume(stream: &Stream, shop: &Shop, workers: usize) -> Totals {
    let screen = Screen::new();
    let tally = Tally::default();
    thread::scope(|scope| {
        let work = || {
            while let Some(line) = stream.next() {
                handle(line, shop, &tally, &screen);
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        screen.watch(stream, &tally, || workers.iter().all(thread::ScopedJoinHandle::is_finished));
    });
    tally.totals()
}

/// Handles one delivery, and counts its answer.
fn handle(line: io::Result<Line>, shop: &Shop, tally: &Tally, screen: &Screen) {
    let (at, answer, reason) = match line {
        Err(error) => ("the stream".to_owned(), Answer::Error, error.to_string()),
        Ok(line) => {
            let (answer, reason) = match serde_json::from_slice(&line.text) {
                // The error counts bytes within this line; the message contains the line's number in the stream.
                Err(error) => {
                    (Answer::Error, format!("not a delivery: {error}").replace("at line 1 column", "at byte"))
                }
                Ok(event) => deliver(shop, &event),
            };
            (format!("line {}", line.number), answer, reason)
        }
    };
    let count = tally.count(answer);
    if count <= answer.reports_max() {
        screen.say(&format!("{at}: {}: {reason}", answer.label()));
    }
}

/// Charges the event, and returns the answer to this delivery.
fn deliver(shop: &Shop, event: &Event) -> (Answer, String) {
    // A replay does not run the body, so the flag stays `false`.
    let mut charged_now = false;
    match charge(shop, event, &mut charged_now) {
        Ok(_) if charged_now => (Answer::Charged, String::new()),
        Ok(_) => (Answer::Replayed, String::new()),
        Err(ChargeError::Refused(error)) => {
            let answer = match error.kind() {
                ErrorKind::Mismatch => Answer::Conflict,
                ErrorKind::BadKey if event.lost_its_id() => Answer::MissingKey,
                ErrorKind::InDoubt => Answer::InDoubt,
                _ => Answer::Error,
            };
            (answer, error.to_string())
        }
        Err(error) => (Answer::Error, error.to_string()),
    }
}
