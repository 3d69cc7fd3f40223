//! A payment whose program was killed midway: the next run asks the provider before it does anything.
//!
//! The provider is a second process behind a TCP port. Each payment is first made by a third process, which is killed
//! before or after it hands its request over; then this program makes the same call. What the provider has not booked
//! yet may still be on its way, so its "not found" is not believed before the settle window is over.
//!
//! ```text
//! cargo run --example recover
//! ```

#![expect(clippy::print_stdout, reason = "the example tells what it does")]

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

/// How long the provider takes from a request to its booking.
const BOOKING: Duration = Duration::from_secs(1);
/// Must be longer than a request can be on its way. 30 s by default; short here, so that nobody waits.
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
    /// The provider did not answer, and may have booked all the same.
    Provider(String),
}

/// Pays once. An `Err` of the provider says nothing about the money, so it leaves the call in doubt.
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

/// The way to the provider. Both questions name the payment by the token of the call.
#[derive(Debug)]
struct Provider {
    address: SocketAddr,
    /// Where the sender stops, so that it can be killed there.
    stop: Option<Stop>,
}

/// A moment in the life of a request.
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

    /// The recovery hook: what became of the payment whose attempt was cut off? An `Err` leaves it in doubt.
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

/// The same at every attempt of one call, in its body and in its recovery hook.
fn token() -> String {
    current().map(|call| call.token()).unwrap_or_default()
}

/// The one line that the provider answers.
fn answer(connection: TcpStream) -> io::Result<String> {
    let mut line = String::new();
    match BufReader::new(connection).read_line(&mut line)? {
        0 => Err(io::Error::other("the provider hung up")),
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
        _ => Err("it takes no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recover: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The demonstration.
fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (_process, address) = start_provider(folder.path())?;
    let path = folder.path().join("idem.db");
    let store = Store::builder().settle_window(SETTLE_WINDOW).open(&path)?;
    idem_runtime::init(store.clone())?;
    let provider = Provider { address, stop: None };

    println!("A-1: killed after the request, asked about when the provider has booked it");
    kill_a_sender(&path, address, "A-1", "after")?;
    while count_bookings(address)? < 1 {
        rest(BOOKING / 10);
    }
    let found = pay(&provider, &order("A-1"))?;
    println!("         paid: {} is taken from the provider, nothing is sent", found.number);

    println!("A-2: killed after the request, asked about at once");
    kill_a_sender(&path, address, "A-2", "after")?;
    let found = pay_until_settled(&provider, &order("A-2"))?;
    println!("         paid: {} had arrived late, nothing is sent", found.number);

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

/// Makes the call, and again when its error says that asking again makes sense.
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

/// A process that makes the call and is killed in the middle of it.
fn kill_a_sender(store: &Path, address: SocketAddr, order: &str, stop: &str) -> Result<(), Failure> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--sender").arg(store).arg(address.to_string()).args([order, stop]).stdout(Stdio::piped());
    let mut sender = command.spawn()?;
    let output = sender.stdout.take().ok_or("the sender has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    sender.kill()?;
    sender.wait()?;
    if line.trim_end() == "stopped" { Ok(()) } else { Err("the sender did not come to its stop".into()) }
}

/// The process that is killed.
fn send(store: &Path, address: &str, id: &str, stop: &str) -> Result<(), Failure> {
    idem_runtime::init(Store::open(store)?)?;
    let stop = if stop == "before" { Stop::BeforeTheRequest } else { Stop::AfterTheRequest };
    pay(&Provider { address: address.parse()?, stop: Some(stop) }, &order(id))?;
    Ok(())
}

fn expect_one_booking_each(address: SocketAddr) -> Result<(), Failure> {
    let count = count_bookings(address)?;
    println!("the provider has booked {count} payments");
    if count == 3 { Ok(()) } else { Err("it should be one for each of the three orders".into()) }
}

fn count_bookings(address: SocketAddr) -> Result<usize, Failure> {
    let mut connection = TcpStream::connect(address)?;
    writeln!(connection, "count")?;
    Ok(answer(connection)?.parse()?)
}

/// Starts the provider, which ends with this process.
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

/// The provider: answers `charge TOKEN CENTS`, `find TOKEN` and `count`, one line each.
fn serve(port_file: &Path) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let unfinished = port_file.with_extension("new");
    fs::write(&unfinished, listener.local_addr()?.to_string())?;
    fs::rename(unfinished, port_file)?;
    thread::spawn(|| {
        // Its input ends when the program that started it does.
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

/// What the provider has booked: receipt numbers by token.
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

    /// Books it, some time after the request. A request that comes twice is booked twice: it is that kind of provider.
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
