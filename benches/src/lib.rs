//! Measurements: our calls beside everything a user would write or pick instead, in one interleaved run.
//!
//! A time on a shared disk says little: it drifts by a factor of ten. So contenders take turns (A B A B), what is
//! reported are medians of the ratios of neighbouring turns, and counts that do not drift stand beside them.

pub mod bytes;
pub mod chart;
pub mod child;
pub mod contender;
pub mod delay;
pub mod fill;
pub mod growth;
pub mod idle;
pub mod lap;
pub mod purge;
pub mod report;
pub mod server;
pub mod settings;
pub mod storm;
pub mod tools;
pub mod tournament;
pub mod works;

/// What everything here returns: a failed measurement ends the run.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long the stored result is, encoded.
pub const RESULT_BYTES: usize = 128;

/// The result every contender stores: text that encodes to [`RESULT_BYTES`].
#[must_use]
pub fn result() -> String {
    "r".repeat(RESULT_BYTES - 1)
}

/// The key of call number `n`, as long as a UUID.
#[must_use]
pub fn key(n: u64) -> String {
    format!("order-{n:030}")
}
