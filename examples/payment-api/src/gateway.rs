//! A stand-in for a payment gateway that takes idempotency keys.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::charge::{Order, Receipt};

/// A gateway whose ledger has a line for each charge. The ledger outlives this process, as a real gateway does.
#[derive(Debug)]
pub(crate) struct Gateway {
    ledger: Mutex<PathBuf>,
    work: Duration,
}

impl Gateway {
    pub(crate) fn new(ledger: PathBuf, work: Duration) -> Gateway {
        Gateway { ledger: Mutex::new(ledger), work }
    }

    /// Charges once per token, and returns the receipt. The booking is in the middle of the work, so a kill can come
    /// before or after it.
    pub(crate) async fn charge(&self, token: &str, order: &Order) -> io::Result<Receipt> {
        println!("asked for {}", order.order);
        tokio::time::sleep(self.work / 2).await;
        let number = self.book(token, order)?;
        println!("booked {}", order.order);
        tokio::time::sleep(self.work / 2).await;
        Ok(Receipt { number: format!("R-{number}"), cents: order.cents })
    }

    /// Returns the number of the line with this token. If there is none, writes it.
    fn book(&self, token: &str, order: &Order) -> io::Result<usize> {
        let path = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ledger = OpenOptions::new().append(true).create(true).open(&*path)?;
        let lines = fs::read_to_string(&*path)?;
        if let Some(at) = lines.lines().position(|line| line.starts_with(token)) {
            return Ok(at + 1);
        }
        ledger.write_all(format!("{token}\t{:?}\t{}\n", order.order, order.cents).as_bytes())?;
        Ok(lines.lines().count() + 1)
    }
}
