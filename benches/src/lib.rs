//! Measurements of our calls beside the alternatives of a user, in one interleaved run.
//!
//! A time on a shared disk varies by a factor of ten. So contenders take turns (A B A B), and the report contains
//! medians of the ratios of neighbouring turns. Counts do not vary; the report contains them as well.

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

/// The result of a measurement. A failed measurement ends the run.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The bytes of the encoded result.
pub const RESULT_BYTES: usize = 128;

/// Returns the result that every contender stores: text that encodes to [`RESULT_BYTES`].
#[must_use]
pub fn result() -> String {
    "r".repeat(RESULT_BYTES - 1)
}

/// Returns the key of call number `n`, as long as a UUID.
#[must_use]
pub fn key(n: u64) -> String {
    format!("order-{n:030}")
}
