//! One turn of one contender.

use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, key};

/// How long a turn took, and each call in it.
#[derive(Clone, Debug, Default)]
pub struct Lap {
    /// From the moment all callers were ready to the end of the last call.
    pub elapsed: Duration,
    /// One entry for each call.
    pub latencies: Vec<Duration>,
}

impl Lap {
    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        count(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the calls stayed below, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        quantile(&sorted, share).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }

    /// The mean time of a call, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e6 / count(self.latencies.len())
    }
}

/// What stands at `share` of a sorted list.
#[must_use]
pub fn quantile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a list in memory"
    )]
    let at = (count(sorted.len().saturating_sub(1)) * share).round() as usize;
    sorted.get(at).copied()
}

/// The median; NaN of an empty list.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 0.5).unwrap_or(f64::NAN)
}

/// A count as a number to divide by.
#[must_use]
pub fn count(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^52")]
    let count = count as f64;
    count
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

/// One thread for each caller; each makes its part of the calls, all begin together.
///
/// # Errors
/// The first error of any caller.
pub fn threads(callers: Vec<Box<dyn Caller + Send + '_>>, keys: Range<u64>) -> Outcome<Lap> {
    let ready = Barrier::new(callers.len() + 1);
    let step = callers.len();
    thread::scope(|scope| {
        let threads: Vec<_> = (keys.start..)
            .zip(callers)
            .map(|(first, mut caller)| {
                let (ready, end) = (&ready, keys.end);
                scope.spawn(move || -> Outcome<Vec<Duration>> {
                    let keys: Vec<_> = (first..end).step_by(step).map(key).collect();
                    ready.wait();
                    keys.iter().map(|key| timed(|| caller.first(key))).collect()
                })
            })
            .collect();
        ready.wait();
        let begun = Instant::now();
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| "a caller panicked")??);
        }
        Ok(Lap { elapsed: begun.elapsed(), latencies })
    })
}

/// The same call over and over on this thread.
///
/// # Errors
/// The first error of a call. A call is too short to be timed alone: every entry is the mean.
pub fn repeated(times: usize, mut call: impl FnMut() -> Outcome<()>) -> Outcome<Lap> {
    let begun = Instant::now();
    for _ in 0..times {
        call()?;
    }
    let elapsed = begun.elapsed();
    let mean = elapsed / u32::try_from(times)?;
    Ok(Lap { elapsed, latencies: vec![mean; times] })
}

/// How long a call took.
///
/// # Errors
/// That of the call.
pub fn timed(call: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let begun = Instant::now();
    call()?;
    Ok(begun.elapsed())
}
