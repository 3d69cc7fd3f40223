//! The contenders: one trait that every work uses.

use std::ops::Range;

use crate::lap::{Caller, Lap, repeated, threads};
use crate::{Outcome, key};

pub mod bare;
pub mod by_hand;
#[cfg(feature = "cached")]
pub mod cached;
pub mod embedded;
pub mod ours;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod redis;

/// A store of records under test.
pub trait Contender {
    /// Returns the name in tables.
    fn name(&self) -> &'static str;

    /// Returns another caller, with its own connection where that is usual.
    ///
    /// # Errors
    /// If it cannot connect.
    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>>;

    /// Makes first calls from `callers` at once, with a new key for each call.
    ///
    /// # Errors
    /// The first error of a call.
    fn first_calls(&self, callers: usize, keys: Range<u64>) -> Outcome<Lap> {
        let callers = (0..callers).map(|_| self.caller()).collect::<Outcome<_>>()?;
        threads(callers, keys)
    }

    /// Makes the call number `n` once and repeats it `times` times on one thread.
    ///
    /// # Errors
    /// The first error of a call.
    fn replays(&self, n: u64, times: usize) -> Outcome<Lap> {
        let key = key(n);
        let mut caller = self.caller()?;
        caller.first(&key)?;
        repeated(times, || caller.again(&key))
    }
}
