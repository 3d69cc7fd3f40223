//! A payment whose process is killed midway: the next call asks the provider first.
//!
//! The provider is a second process behind a TCP port. A third process makes each payment first, and is killed before
//! or after it sends its request; then this program makes the same call. A request can still be on its way, so the
//! answer "not found" counts only after the settle window.
//!
//! ```text
//! cargo run --example recover
//! ```

#![expect(clippy::print_stdout, reason = "the example prints its steps")]

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use idem_runtime::{ErrorKind, Store, Verdict, current, idempotent};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn Error>;

/// The time between a request to the provider and its booking.
const BOOKING: Duration = Duration::from_secs(1);
/// Longer than a request can be on its way. The default is 30 s; a short window keeps the example quick.
const SETTLE_WINDOW: Duration = Duration::from_millis(2_500);

#[derive(Debug, Serialize)]
struct Order {
    id: String,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    number: String,
}

#[derive(Debug)]
enum PayError {
    /// The call was refused, or its record could not be written.
    Refused(idem_runtime::Error),
    /// The provider did not answer. Its booking is unknown.
    Provider(String),
}

/// Pays once. After an `Err` of the provider the booking is unknown, so the call is in doubt.
#[idempotent(
    name = "shop.pay",
    key = order.id,
    skip(provider),
    on_err = in_doubt,
    on_interrupt = recover(provider.look_up())
)]
fn pay(provider: &Provider, order: &Order) -> Result<Receipt, PayError> {
    provider.charge(order.cents)
}

/// A client of the provider. Each request contains the token of the call.
#[derive(Debug)]
struct Provider {
    address: SocketAddr,
    /// The moment where the sender stops, to be killed there.
    stop: Option<Stop>,
}

/// A moment before or after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    BeforeTheRequest,
    AfterTheRequest,
}

impl Provider {
    fn charge(&self, cents: u64) -> Result<Receipt, PayError> {
        let failed = |error: io::Error| PayError::Provider(error.to_string());
        self.stop_at(Stop::BeforeTheRequest);
        let mut connection = TcpStream::connect(self.address).map_err(failed)?;
        writeln!(connection, "charge {} {cents}", token()).map_err(failed)?;
        self.stop_at(Stop::AfterTheRequest);
        Ok(Receipt { number: answer(connection).map_err(failed)? })
    }

    /// The recovery hook: asks for the booking of an interrupted attempt. An `Err` leaves the call in doubt.
    fn look_up(&self) -> io::Result<Verdict<Receipt>> {
        let mut connection = TcpStream::connect(self.address)?;
        writeln!(connection, "find {}", token())?;
        let found = answer(connection)?;
        println!("         the provider is asked, and answers `{found}`");
        Ok(match found.as_str() {
            "not found" => Verdict::NotDone,
            number => Verdict::Done(Receipt { number: number.to_owned() }),
        })
    }

    fn stop_at(&self, stop: Stop) {
        if self.stop == Some(stop) {
            println!("stopped");
            loop {
                thread::park();
            }
        }
    }
}

/// Returns the token of the running call, equal for all attempts and for the recovery hook.
fn token() -> String {
    current().map(|call| call.token()).unwrap_or_default()
}

/// Reads the answer of the provider, one line.
fn answer(connection: TcpStream) -> io::Result<String> {
    let mut line = String::new();
    match BufReader::new(connection).read_line(&mut line)? {
        0 => Err(io::Error::other("the provider closed the connection")),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [] => run(),
        ["--provider", port_file] => serve(Path::new(port_file)),
        ["--sender", store, address, order, stop] => send(Path::new(store), address, order, stop),
        _ => Err("expected no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recover: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the three payments of the demonstration.
fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (_process, address) = start_provider(folder.path())?;
    let path = folder.path().join("idem.db");
    let store = Store::builder().settle_window(SETTLE_WINDOW).open(&path)?;
    idem_runtime::init(store.clone())?;
    let provider = Provider { address, stop: None };

    println!("A-1: killed after the request; the provider is asked after its booking");
    kill_a_sender(&path, address, "A-1", "after")?;
    while count_bookings(address)? < 1 {
        rest(BOOKING / 10);
    }
    let found = pay(&provider, &order("A-1"))?;
    println!("         paid: receipt {} comes from the provider, no request is sent", found.number);

    println!("A-2: killed after the request; the provider is asked at once");
    kill_a_sender(&path, address, "A-2", "after")?;
    let found = pay_until_settled(&provider, &order("A-2"))?;
    println!("         paid: receipt {} arrived late, no request is sent", found.number);

    println!("A-3: killed before the request");
    kill_a_sender(&path, address, "A-3", "before")?;
    let made = pay_until_settled(&provider, &order("A-3"))?;
    println!("         paid: {} is a new attempt", made.number);

    store.close()?;
    expect_one_booking_each(address)
}

fn order(id: &str) -> Order {
    Order { id: id.to_owned(), cents: 1_250 }
}

/// Makes the call, and repeats it after `retry_after` while it is in doubt.
fn pay_until_settled(provider: &Provider, order: &Order) -> Result<Receipt, PayError> {
    loop {
        match pay(provider, order) {
            Err(PayError::Refused(error)) if error.kind() == ErrorKind::InDoubt => {
                println!("         {error}");
                let Some(later) = error.retry_after() else { return Err(PayError::Refused(error)) };
                rest(later);
            }
            made => return made,
        }
    }
}

/// Starts a process that makes the call, and kills that process at `stop`.
fn kill_a_sender(store: &Path, address: SocketAddr, order: &str, stop: &str) -> Result<(), Failure> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--sender").arg(store).arg(address.to_string()).args([order, stop]).stdout(Stdio::piped());
    let mut sender = command.spawn()?;
    let output = sender.stdout.take().ok_or("the sender has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    sender.kill()?;
    sender.wait()?;
    if line.trim_end() == "stopped" { Ok(()) } else { Err("the sender did not reach its stop".into()) }
}

/// Makes the call in the process that is killed.
fn send(store: &Path, address: &str, id: &str, stop: &str) -> Result<(), Failure> {
    idem_runtime::init(Store::open(store)?)?;
    let stop = if stop == "before" { Stop::BeforeTheRequest } else { Stop::AfterTheRequest };
    pay(&Provider { address: address.parse()?, stop: Some(stop) }, &order(id))?;
    Ok(())
}

fn expect_one_booking_each(address: SocketAddr) -> Result<(), Failure> {
    let count = count_bookings(address)?;
    println!("the provider has booked {count} payments");
    if count == 3 { Ok(()) } else { Err("expected one booking for each of the three orders".into()) }
}

fn count_bookings(address: SocketAddr) -> Result<usize, Failure> {
    let mut connection = TcpStream::connect(address)?;
    writeln!(connection, "count")?;
    Ok(answer(connection)?.parse()?)
}

/// Starts the provider process, which ends when this process ends.
fn start_provider(folder: &Path) -> Result<(Child, SocketAddr), Failure> {
    let port_file = folder.join("port");
    let process =
        Command::new(env::current_exe()?).arg("--provider").arg(&port_file).stdin(Stdio::piped()).spawn()?;
    for _ in 0..1_000 {
        if let Ok(address) = fs::read_to_string(&port_file).unwrap_or_default().parse() {
            return Ok((process, address));
        }
        rest(Duration::from_millis(10));
    }
    Err("the provider did not start".into())
}

/// Runs the provider, which answers `charge TOKEN CENTS`, `find TOKEN` and `count` with one line each.
fn serve(port_file: &Path) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let unfinished = port_file.with_extension("new");
    fs::write(&unfinished, listener.local_addr()?.to_string())?;
    fs::rename(unfinished, port_file)?;
    thread::spawn(|| {
        // Standard input ends when the parent process ends.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let book = Arc::new(Book::default());
    for connection in listener.incoming() {
        let (connection, book) = (connection?, Arc::clone(&book));
        thread::spawn(move || book.answer(connection));
    }
    Ok(())
}

/// The bookings of the provider: receipt numbers by token.
#[derive(Debug, Default)]
struct Book(Mutex<HashMap<String, Vec<String>>>);

impl Book {
    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(&connection).read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["charge", token, _cents] => self.charge(token),
            ["find", token] => self.find(token),
            ["count"] => self.lock().values().map(Vec::len).sum::<usize>().to_string(),
            _ => "not understood".to_owned(),
        };
        writeln!(connection, "{answer}")
    }

    /// Books a payment after `BOOKING`. This provider books a repeated request twice.
    fn charge(&self, token: &str) -> String {
        rest(BOOKING);
        let mut book = self.lock();
        let number = format!("R-{}", book.values().map(Vec::len).sum::<usize>() + 1);
        book.entry(token.to_owned()).or_default().push(number.clone());
        number
    }

    fn find(&self, token: &str) -> String {
        let book = self.lock();
        let number = book.get(token).and_then(|numbers| numbers.first());
        number.cloned().unwrap_or_else(|| "not found".to_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the example waits for time to pass")]
fn rest(time: Duration) {
    thread::sleep(time);
}

impl From<idem_runtime::Error> for PayError {
    fn from(error: idem_runtime::Error) -> Self {
        Self::Refused(error)
    }
}

impl std::fmt::Display for PayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Provider(text) => write!(f, "the provider did not answer: {text}"),
        }
    }
}

impl Error for PayError {}
