//! The server as a separate process, and an HTTP client over a plain socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The longest wait of a test, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    lines: Receiver<String>,
    address: String,
}

impl Server {
    /// Starts the server, and waits until it listens.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payment-api"));
        command.arg("--folder").arg(folder).args(args).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Server { process, lines, address: String::new() };
        server.address = server.hear("listening on ");
        server
    }

    /// Waits for a line with this beginning, and returns the rest of it.
    pub(crate) fn hear(&self, start: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("`{start}` was not heard"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// Sends a request, and waits for its response.
    pub(crate) fn charge(&self, key: Option<&str>, body: &str) -> Response {
        self.send(key, body).response(PATIENCE).unwrap()
    }

    /// Sends a request without a wait for its response.
    pub(crate) fn send(&self, key: Option<&str>, body: &str) -> Request {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = "POST /charges HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{key}\r\n{body}");
        stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
        Request(stream)
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGINT, and waits for the shutdown.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) {
        let pid = self.process.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap();
        assert!(sent.success());
        self.hear("closed");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If the process has ended, both calls fail, which is harmless.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request without a response yet. The drop closes the connection.
#[derive(Debug)]
pub(crate) struct Request(TcpStream);

impl Request {
    /// Waits for the response, at most this long for each read.
    pub(crate) fn response(mut self, patience: Duration) -> io::Result<Response> {
        self.0.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Ok(Response { status, head: head.to_lowercase(), body: body.to_owned() })
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    /// Returns a header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    /// Returns the error text of the response.
    pub(crate) fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["error"].as_str().unwrap().to_owned()
    }
}
