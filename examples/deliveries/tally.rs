//! The counts of deliveries by their answers.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::args::Output;

/// The answer to one delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// The body ran for this delivery.
    Charged,
    /// The receipt came from the record.
    Replayed,
    /// The event was charged before, for another order, amount or currency.
    Conflict,
    /// The delivery lost its event id.
    MissingKey,
    /// An earlier attempt was interrupted, and its effect is unknown.
    InDoubt,
    /// Any other error, or a malformed line.
    Error,
}

impl Answer {
    /// Returns the name in the table and in messages.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Replayed => "replayed",
            Self::Conflict => "conflict",
            Self::MissingKey => "missing key",
            Self::InDoubt => "in doubt",
            Self::Error => "error",
        }
    }

    /// Returns the number of deliveries with this answer that are reported one by one.
    ///
    /// Conflicts and lost ids are common, so one of each is reported. A person must see all doubts and errors.
    pub(crate) fn reports_max(self) -> u64 {
        match self {
            Self::Charged | Self::Replayed => 0,
            Self::Conflict | Self::MissingKey => 1,
            Self::InDoubt | Self::Error => u64::MAX,
        }
    }
}

/// The counts so far, shared by the workers.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Totals>);

impl Tally {
    /// Counts one delivery, and returns the deliveries with this answer so far.
    pub(crate) fn count(&self, answer: Answer) -> u64 {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.deliveries += 1;
        let count = match answer {
            Answer::Charged => &mut totals.charged,
            Answer::Replayed => &mut totals.replayed,
            Answer::Conflict => &mut totals.conflicts,
            Answer::MissingKey => &mut totals.missing_key,
            Answer::InDoubt => &mut totals.in_doubt,
            Answer::Error => &mut totals.errors,
        };
        *count += 1;
        *count
    }

    /// Returns the counts so far.
    pub(crate) fn totals(&self) -> Totals {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts. As JSON, they are the last line of standard output.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Totals {
    pub(crate) deliveries: u64,
    pub(crate) charged: u64,
    pub(crate) replayed: u64,
    pub(crate) conflicts: u64,
    pub(crate) missing_key: u64,
    pub(crate) in_doubt: u64,
    pub(crate) errors: u64,
}

impl Totals {
    /// Returns 0 if no delivery failed, 2 if deliveries are in doubt, 1 on other errors.
    pub(crate) fn exit_code(self) -> ExitCode {
        match (self.in_doubt, self.errors) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::FAILURE,
            (_, _) => ExitCode::from(2),
        }
    }

    /// Prints the counts as a table or as JSON.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print(self, took: Duration, output: Output) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(&self)?),
            Output::Table => {
                for (label, count) in self.rows() {
                    writeln!(out, "{label:<12} {count:>8}")?;
                }
                writeln!(out, "{:<12} {:>8}", "deliveries/s", per_second(self.deliveries, took))
            }
        }
    }

    fn rows(self) -> [(&'static str, u64); 7] {
        [
            ("deliveries", self.deliveries),
            ("charged", self.charged),
            ("replayed", self.replayed),
            ("conflicts", self.conflicts),
            ("missing key", self.missing_key),
            ("in doubt", self.in_doubt),
            ("errors", self.errors),
        ]
    }
}

fn per_second(count: u64, took: Duration) -> u128 {
    u128::from(count) * 1_000_000 / took.as_micros().max(1)
}
