//! One turn of one contender.

use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Outcome, key};

/// The times of a turn and of each call in it.
#[derive(Clone, Debug, Default)]
pub struct Lap {
    /// The time from the moment when all callers are ready to the end of the last call.
    pub elapsed: Duration,
    /// The time of each call.
    pub latencies: Vec<Duration>,
}

impl Lap {
    /// Returns calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        count(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// Returns the quantile `share` of the latencies, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        quantile(&sorted, share).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }

    /// Returns the mean time of a call, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e6 / count(self.latencies.len())
    }
}

/// Returns the element at `share` of a sorted list.
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

/// Returns the median, or NaN for an empty list.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 0.5).unwrap_or(f64::NAN)
}

/// Converts a count to a number to divide by.
#[must_use]
pub fn count(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^52")]
    let count = count as f64;
    count
}

/// The access of one thread to a contender.
pub trait Caller {
    /// Makes a first call: claims the key, and records the result.
    ///
    /// # Errors
    /// If the store fails.
    fn first(&mut self, key: &str) -> Outcome<()>;

    /// Repeats a call, and reads the recorded result.
    ///
    /// # Errors
    /// If the store fails, or there is no result.
    fn again(&mut self, key: &str) -> Outcome<()>;
}

/// Makes first calls from one thread per caller. All threads start together and share the keys.
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

/// Repeats a call on this thread. One call is too short to be timed alone, so each latency is the mean.
///
/// # Errors
/// The first error of a call.
pub fn repeated(times: usize, mut call: impl FnMut() -> Outcome<()>) -> Outcome<Lap> {
    let begun = Instant::now();
    for _ in 0..times {
        call()?;
    }
    let elapsed = begun.elapsed();
    let mean = elapsed / u32::try_from(times)?;
    Ok(Lap { elapsed, latencies: vec![mean; times] })
}

/// Returns the time of a call.
///
/// # Errors
/// The error of the call.
pub fn timed(call: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let begun = Instant::now();
    call()?;
    Ok(begun.elapsed())
}
