//! The idempotent function: a charge that appends a line to a ledger.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use idem_runtime::{OnInterrupt, idempotent};
use serde::{Deserialize, Serialize};

/// A charged event. `delivery_id`, `attempt` and `received_at` differ in each delivery, so they are neither read nor
/// compared.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "`event_id` is its name in the stream")]
pub(crate) struct Event {
    /// The key. If the sender lost the id, it is missing, `null` or empty.
    pub(crate) event_id: Option<String>,
    order: String,
    amount_cents: u64,
    currency: String,
}

impl Event {
    /// Whether the event has no id.
    pub(crate) fn lost_its_id(&self) -> bool {
        self.event_id.as_deref().is_none_or(str::is_empty)
    }
}

/// The result of a charge, which its duplicates get as well.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    order: String,
    amount_cents: u64,
}

/// Charges one event: at most once by default, at least once with `--on-interrupt rerun`.
///
/// The body sets `charged_now`; a replay leaves it unchanged. A failed write can leave a part of the line in the
/// ledger, so an `Err` leaves the call in doubt.
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

/// The payee. The ledger stands for a remote service that cannot be asked for its effects. That service is responsible
/// for its own durability, so a line is written without an fsync.
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
    /// If the ledger cannot be opened.
    pub(crate) fn open(ledger: &Path, work: Duration, on_interrupt: OnInterrupt) -> Result<Self, String> {
        let file = OpenOptions::new().append(true).create(true).open(ledger);
        let ledger = file.map_err(|error| format!("the ledger `{}`: {error}", ledger.display()))?;
        // A duplicate waits for the whole running charge.
        let wait = work + Duration::from_secs(30);
        Ok(Self { ledger, work, wait, on_interrupt })
    }

    /// Books a charge with one `write` in the middle of the work, so a kill can come before or after it.
    fn book(&self, event: &Event) -> io::Result<()> {
        let line = ledger_line(event);
        simulate(self.work / 2);
        (&self.ledger).write_all(line.as_bytes())?;
        simulate(self.work / 2);
        Ok(())
    }
}

/// Returns the line `event_id<TAB>order<TAB>amount_cents`.
fn ledger_line(event: &Event) -> String {
    let id = event.event_id.as_deref().unwrap_or_default();
    format!("{}\t{}\t{}\n", field(id), field(&event.order), event.amount_cents)
}

/// Escapes the tabs and line breaks in a field. Backslashes are escaped as well, so different ids stay different.
fn field(text: &str) -> String {
    text.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n").replace('\r', r"\r")
}

/// Waits for the duration of a charge.
#[expect(clippy::disallowed_methods, reason = "a simulated charge takes time and waits for nothing")]
fn simulate(work: Duration) {
    if !work.is_zero() {
        thread::sleep(work);
    }
}

/// The error of a charge.
#[derive(Debug)]
pub(crate) enum ChargeError {
    /// The call was refused: its key, its arguments, or the state of its record.
    Refused(idem_runtime::Error),
    /// The body ran, and the write to the ledger failed.
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
