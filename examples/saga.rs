//! A saga: an order in three steps at three services, which continues after a crash.
//!
//! `place` is an idempotent function with `on_interrupt = rerun`, and so is each of its steps. If the program is
//! killed and started again, `place` starts from its top. Finished steps return their recorded receipts. The
//! interrupted step runs again with the same token, by which its service finds what is already done.
//!
//! ```text
//! cargo run --example saga -- --folder /tmp/saga --crash-after charge
//! cargo run --example saga -- --folder /tmp/saga
//! ```

#![expect(clippy::print_stdout, reason = "the example prints its steps")]

use std::env;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{self, ExitCode};

use idem_runtime::{Store, current, idempotent, observe};
use serde::{Deserialize, Serialize};

const USAGE: &str = "\
Places one order in three steps: reserve, charge, ship.

  --folder DIR          the folder for the store and the services' book (default: a new temporary folder)
  --crash-after MOMENT  aborts the program at this moment:
                        begun, reserve, reserved, charge, charged, ship, shipped
                        (after `charge` the service has charged and nothing is recorded;
                        after `charged` the receipt is recorded as well)

A second run on the same folder continues the order. Exit status: 0 when the order is placed, 1 on errors.
";

const MOMENTS: [&str; 7] = ["begun", "reserve", "reserved", "charge", "charged", "ship", "shipped"];

type Failure = Box<dyn Error>;

#[derive(Debug, Serialize)]
struct Order {
    id: String,
    item: String,
    cents: u64,
}

/// The answer of a service: the token of the step.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    token: String,
}

/// Places an order. The user of the example decides about crashes, so the number of attempts is unlimited.
#[idempotent(name = "shop.place", key = order.id, skip(shop), on_interrupt = rerun(unlimited))]
fn place(shop: &Shop, order: &Order) -> Result<Vec<Receipt>, Failure> {
    println!("place    {} (attempt {})", order.id, current().map_or(1, |call| call.attempt()));
    shop.crash_after("begun");
    let reserved = tell("reserve", || reserve(shop, order))?;
    shop.crash_after("reserved");
    let charged = tell("charge", || charge(shop, order))?;
    shop.crash_after("charged");
    let shipped = tell("ship", || ship(shop, order))?;
    shop.crash_after("shipped");
    Ok(vec![reserved, charged, shipped])
}

#[idempotent(name = "shop.reserve", key = order.id, skip(shop), on_interrupt = rerun(unlimited))]
fn reserve(shop: &Shop, order: &Order) -> Result<Receipt, Failure> {
    shop.ask("reserve", &order.item)
}

#[idempotent(name = "shop.charge", key = order.id, skip(shop), on_interrupt = rerun(unlimited))]
fn charge(shop: &Shop, order: &Order) -> Result<Receipt, Failure> {
    shop.ask("charge", &order.cents.to_string())
}

#[idempotent(name = "shop.ship", key = order.id, skip(shop), on_interrupt = rerun(unlimited))]
fn ship(shop: &Shop, order: &Order) -> Result<Receipt, Failure> {
    shop.ask("ship", &order.item)
}

/// Makes the call of one step, and prints a replay. A step that runs prints its own line.
fn tell(step: &str, call: impl FnOnce() -> Result<Receipt, Failure>) -> Result<Receipt, Failure> {
    let (receipt, seen) = observe(call);
    let receipt = receipt?;
    if seen.is_some_and(|seen| seen.replayed.is_some()) {
        println!("{step:<8} token {}: replayed from its record", receipt.token);
    }
    Ok(receipt)
}

/// A client of the three services. They share one book with a line for each effect.
#[derive(Debug)]
struct Shop {
    book: PathBuf,
    crash_after: Option<String>,
}

impl Shop {
    /// Asks the service of a step for its effect, with the same token at every attempt.
    fn ask(&self, step: &str, what: &str) -> Result<Receipt, Failure> {
        let token = current().ok_or("a step needs a running idempotent call")?.token();
        let done_now = self.do_once(step, &token, what)?;
        let answer = if done_now { "done" } else { "the service had done it already" };
        println!("{step:<8} token {token}: {answer}");
        self.crash_after(step);
        Ok(Receipt { token })
    }

    /// The service: has the effect, unless the book contains the token.
    fn do_once(&self, step: &str, token: &str, what: &str) -> io::Result<bool> {
        let mut book = OpenOptions::new().append(true).create(true).open(&self.book)?;
        if fs::read_to_string(&self.book)?.contains(token) {
            return Ok(false);
        }
        book.write_all(format!("{step}\t{token}\t{what}\n").as_bytes())?;
        Ok(true)
    }

    fn crash_after(&self, moment: &str) {
        if self.crash_after.as_deref() == Some(moment) {
            println!("crash    after `{moment}`; a second run on the same folder continues");
            process::abort();
        }
    }
}

fn main() -> ExitCode {
    let done = match parse(env::args().skip(1)) {
        Ok(Some(args)) => run(args),
        Ok(None) => {
            print!("{USAGE}");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saga: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Args {
    folder: Option<PathBuf>,
    crash_after: Option<String>,
}

/// Reads the arguments; `None` for `--help`.
fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Args>, Failure> {
    let mut args = Args { folder: None, crash_after: None };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("`{name}` needs a value"));
        match name.as_str() {
            "--folder" => args.folder = Some(value()?.into()),
            "--crash-after" => args.crash_after = Some(moment(value()?)?),
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument `{name}`; `--help` lists the arguments").into()),
        }
    }
    Ok(Some(args))
}

fn moment(given: String) -> Result<String, Failure> {
    if MOMENTS.contains(&given.as_str()) {
        return Ok(given);
    }
    Err(format!("`--crash-after` takes one of {}, not `{given}`", MOMENTS.join(", ")).into())
}

fn run(args: Args) -> Result<(), Failure> {
    let folder = match args.folder {
        Some(folder) => folder,
        None => tempfile::Builder::new().prefix("idem-saga-").tempdir()?.keep(),
    };
    fs::create_dir_all(&folder)?;
    println!("folder   {}", folder.display());
    let store = Store::open(folder.join("idem.db"))?;
    idem_runtime::init(store.clone())?;

    let shop = Shop { book: folder.join("services.tsv"), crash_after: args.crash_after };
    let order = Order { id: "A-17".into(), item: "lamp".into(), cents: 1_250 };
    let receipts = place(&shop, &order)?;
    println!("placed   {} with {} receipts", order.id, receipts.len());

    store.close()?;
    Ok(())
}
