//! The effect: a charge that a ledger remembers, made idempotent by one attribute.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use idem_runtime::{OnInterrupt, idempotent};
use serde::{Deserialize, Serialize};

/// What is charged. A delivery carries more: `delivery_id`, `attempt` and `received_at` belong to the delivery and
/// differ each time, so they are not read, and not compared.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "`event_id` is its name in the stream")]
pub(crate) struct Event {
    /// Missing, `null` or empty where the sender lost it: then no charge can be told from another.
    pub(crate) event_id: Option<String>,
    order: String,
    amount_cents: u64,
    currency: String,
}

impl Event {
    /// Whether there is no id to charge this event under.
    pub(crate) fn lost_its_id(&self) -> bool {
        self.event_id.as_deref().is_none_or(str::is_empty)
    }
}

/// What a charge gives, and what its duplicates get again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    order: String,
    amount_cents: u64,
}

/// Charges one event: at most once by default, at least once with `--on-interrupt rerun`.
///
/// `charged_now` is raised by the body, so it stays as it was when the receipt is a replay. A ledger that failed may
/// hold the line or a part of it, which is why an `Err` leaves the call in doubt.
#[idempotent(
    name = "shop.charge",
    key = event.event_id,
    skip(shop, charged_now),
    on_err = in_doubt,
    on_interrupt = shop.on_interrupt,
    wait = shop.wait
)]
pub(crate) fn charge(shop: &Shop, event: &Event, charged_now: &mut bool) -> Result<Receipt, ChargeError> {
    *charged_now = true;
    shop.book(event).map_err(ChargeError::Ledger)?;
    Ok(Receipt { order: event.order.clone(), amount_cents: event.amount_cents })
}

/// The party that takes the money. Its ledger stands for a service elsewhere, which nobody can ask what it did; what a
/// power cut does to that service is its own affair, so a line is written and not forced to disk.
#[derive(Debug)]
pub(crate) struct Shop {
    ledger: File,
    work: Duration,
    wait: Duration,
    on_interrupt: OnInterrupt,
}

impl Shop {
    /// Opens or creates the ledger for appending.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub(crate) fn open(ledger: &Path, work: Duration, on_interrupt: OnInterrupt) -> Result<Self, String> {
        let file = OpenOptions::new().append(true).create(true).open(ledger);
        let ledger = file.map_err(|error| format!("the ledger `{}`: {error}", ledger.display()))?;
        // A duplicate must be ready to wait for the whole charge it meets.
        let wait = work + Duration::from_secs(30);
        Ok(Self { ledger, work, wait, on_interrupt })
    }

    /// Books a charge with one `write`. It falls in the middle of the work, so that a kill can hit either side of it.
    fn book(&self, event: &Event) -> io::Result<()> {
        let line = ledger_line(event);
        simulate(self.work / 2);
        (&self.ledger).write_all(line.as_bytes())?;
        simulate(self.work / 2);
        Ok(())
    }
}

/// `event_id<TAB>order<TAB>amount_cents`.
fn ledger_line(event: &Event) -> String {
    let id = event.event_id.as_deref().unwrap_or_default();
    format!("{}\t{}\t{}\n", field(id), field(&event.order), event.amount_cents)
}

/// One field of a ledger line. Ids are written as they are, spaces, slashes and non-ASCII text included; only what
/// would break the line is escaped, and the backslash with it, so that no two ids look the same.
fn field(text: &str) -> String {
    text.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n").replace('\r', r"\r")
}

/// Stands in for the time a real charge takes.
#[expect(clippy::disallowed_methods, reason = "a simulated charge takes time and waits for nothing")]
fn simulate(work: Duration) {
    if !work.is_zero() {
        thread::sleep(work);
    }
}

/// Why a delivery has no receipt.
#[derive(Debug)]
pub(crate) enum ChargeError {
    /// The call was refused: its key, its arguments, or the state of its record.
    Refused(idem_runtime::Error),
    /// The body ran, and the ledger failed.
    Ledger(io::Error),
}

impl From<idem_runtime::Error> for ChargeError {
    fn from(error: idem_runtime::Error) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for ChargeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Ledger(error) => write!(f, "the ledger could not be written: {error}"),
        }
    }
}

impl std::error::Error for ChargeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> String {
        let id = Some(id.to_owned());
        ledger_line(&Event { event_id: id, order: "ORD-1".into(), amount_cents: 5, currency: "EUR".into() })
    }

    #[test]
    fn ordinary_ids_are_written_as_they_are() {
        assert_eq!(line("shop/3/ö rder:15"), "shop/3/ö rder:15\tORD-1\t5\n");
    }

    #[test]
    fn an_odd_id_stays_on_one_line_and_apart_from_others() {
        assert_eq!(line("a\tb\nc\r"), "a\\tb\\nc\\r\tORD-1\t5\n");
        assert_ne!(line("a\tb"), line("a\\tb"));
    }
}
