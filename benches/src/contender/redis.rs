//! Redis with `appendfsync always`: SET NX, then SET. This file writes the protocol itself, without a client library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::Contender;
use crate::lap::Caller;
use crate::server::RedisServer;
use crate::{Outcome, result};

/// A Redis server with one connection per caller.
#[derive(Debug)]
pub struct Redis(pub RedisServer);

impl Contender for Redis {
    fn name(&self) -> &'static str {
        "Redis, appendfsync always"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        let stream = TcpStream::connect(("127.0.0.1", self.0.port))?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Connection { replies: BufReader::new(stream), request: Vec::new() }))
    }
}

struct Connection {
    replies: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Connection {
    /// Sends one command and returns its reply, `None` for null.
    fn ask(&mut self, words: &[&[u8]]) -> Outcome<Option<Vec<u8>>> {
        self.request.clear();
        write!(self.request, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.request, "${}\r\n", word.len())?;
            self.request.extend_from_slice(word);
            self.request.extend_from_slice(b"\r\n");
        }
        self.replies.get_mut().write_all(&self.request)?;
        self.reply()
    }

    fn reply(&mut self) -> Outcome<Option<Vec<u8>>> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(Some(text.trim_end().into())),
            Some(("$", "-1\r\n")) => Ok(None),
            Some(("$", length)) => {
                let mut bytes = vec![0; length.trim_end().parse::<usize>()? + 2];
                self.replies.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Some(bytes))
            }
            _ => Err(format!("redis answered `{}`", line.trim_end()).into()),
        }
    }
}

impl Caller for Connection {
    fn first(&mut self, key: &str) -> Outcome<()> {
        let key = key.as_bytes();
        self.ask(&[b"SET", key, b"running", b"NX"])?.ok_or("the key is taken")?;
        self.ask(&[b"SET", key, result().as_bytes()])?.ok_or("the result was not stored")?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        self.ask(&[b"GET", key.as_bytes()])?.map(drop).ok_or_else(|| "there is no result".into())
    }
}
