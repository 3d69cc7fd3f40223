//! Who takes part: one trait, implemented once for each contender and used by every workload.

use std::ops::Range;
use std::path::Path;

use crate::lap::{Lap, repeated, threads};
use crate::{Outcome, key};

pub mod bare;
pub mod by_hand;
#[cfg(feature = "cached")]
pub mod cached;
pub mod ours;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod redis;

/// A store of records that calls can be made against.
pub trait Contender {
    /// What stands in the tables.
    fn name(&self) -> &'static str;

    /// One more caller, with a connection of its own where that is usual.
    ///
    /// # Errors
    /// If it cannot connect.
    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>>;

    /// First calls: `callers` at once, a fresh key for each call.
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

/// One thread's access to a contender.
pub trait Caller {
    /// Makes a call for the first time: claims the key, has the result, records it.
    ///
    /// # Errors
    /// If the store fails.
    fn first(&mut self, key: &str) -> Outcome<()>;

    /// Makes a call again, and gets the recorded result.
    ///
    /// # Errors
    /// If the store fails, or there is no result.
    fn again(&mut self, key: &str) -> Outcome<()>;
}

/// The contenders that need nothing but a folder.
///
/// # Errors
/// If one cannot be opened.
pub fn embedded(name: &str, folder: &Path) -> Outcome<Box<dyn Contender>> {
    Ok(match name {
        "ours" => Box::new(ours::Threads::open(folder, ours::Mode::AtMostOnce)?),
        "ours-rerun" => Box::new(ours::Threads::open(folder, ours::Mode::Rerun)?),
        "ours-tx" => Box::new(ours::InTransaction::open(folder)?),
        "ours-async" => Box::new(ours::Tasks::open(folder)?),
        "by-hand" => Box::new(by_hand::ByHand::open(folder)?),
        "bare-channel" => Box::new(bare::Channel::open(folder, bare::Sent::ClaimAndCompletion)?),
        "bare-finished" => Box::new(bare::Channel::open(folder, bare::Sent::FinishedRow)?),
        "bare-insert" => Box::new(bare::Insert::open(folder)?),
        "bare-select" => Box::new(bare::Select::open(folder)?),
        #[cfg(feature = "cached")]
        "cached" => Box::new(cached::Cached::open(folder)?),
        other => return Err(format!("there is no contender `{other}`").into()),
    })
}
