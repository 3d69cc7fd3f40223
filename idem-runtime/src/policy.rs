//! The settings of a call: lifetimes, and the meaning of an `Err` or an interruption.

use std::time::Duration;

/// The time for which a record or a result is kept: a [`Duration`] from completion, or forever.
///
/// ```
/// use std::time::Duration;
/// use idem_runtime::Lifetime;
///
/// let day: Lifetime = Duration::from_secs(86_400).into();
/// assert!(day < Lifetime::FOREVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// `u64::MAX` means forever, so that the derived order is correct.
    ms: u64,
}

impl Lifetime {
    /// Never expires.
    pub const FOREVER: Lifetime = Lifetime { ms: u64::MAX };
    /// Expires at completion.
    pub const ZERO: Lifetime = Lifetime { ms: 0 };

    /// The stored form: milliseconds, or `None` for forever.
    pub(crate) fn to_ms(self) -> Option<i64> {
        i64::try_from(self.ms).ok()
    }

    pub(crate) fn from_ms(ms: Option<i64>) -> Lifetime {
        ms.and_then(|ms| u64::try_from(ms).ok()).map_or(Lifetime::FOREVER, |ms| Lifetime { ms })
    }

    /// Whether the lifetime is over at this age. An unknown age counts as young: if clocks disagree, a record lives longer.
    pub(crate) fn is_over(self, age_ms: Option<i64>) -> bool {
        match (self.to_ms(), age_ms) {
            (Some(lifetime), Some(age)) => age >= lifetime,
            _ => false,
        }
    }
}

impl From<Duration> for Lifetime {
    /// Rounds a fraction of a millisecond up: a short lifetime never becomes [`Lifetime::ZERO`].
    ///
    /// Durations of 292 million years and more become [`Lifetime::FOREVER`].
    fn from(duration: Duration) -> Lifetime {
        let ms = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        if i64::try_from(ms).is_ok() { Lifetime { ms } } else { Lifetime::FOREVER }
    }
}

/// The meaning of an `Err` that the body returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnErr {
    /// The effect did not happen: the key is released and the next call runs the body.
    Release,
    /// The `Err` is final: it is stored and replayed.
    Remember,
    /// The effect is unknown: the call is in doubt.
    InDoubt,
}

/// The reaction of a call to an earlier attempt that was cut off.
///
/// An attempt is cut off if its process dies, its body panics, its future is dropped, or an operator steals the call.
///
/// The mode of the present caller decides. The record stores no mode.
///
/// ```
/// use idem_runtime::OnInterrupt;
///
/// assert_eq!(OnInterrupt::default(), OnInterrupt::Refuse);
/// assert_eq!(OnInterrupt::rerun(), OnInterrupt::Rerun { attempts_max: Some(5) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInterrupt {
    /// Return [`InDoubt`](crate::ErrorKind::InDoubt) without running the body (at most once).
    #[default]
    Refuse,
    /// Run the body again (at least once).
    ///
    /// The claim of a first attempt is written without an fsync, which halves the cost of a call. A power failure can lose
    /// this claim. The next call, in any mode, then starts at attempt 1. A crash of the process loses no claim.
    Rerun {
        /// The number of attempts that may end without a return, the first included; `None` for no limit.
        ///
        /// The limit protects from a body that ends its process. An attempt whose body returned does not count, also if
        /// its `Err` left the call in doubt. How often a failing message comes again is the decision of its sender or of
        /// the broker. An attempt whose claim a power failure lost does not count either.
        attempts_max: Option<u32>,
    },
}

impl OnInterrupt {
    /// Runs again, until five attempts in all did not return.
    pub const fn rerun() -> OnInterrupt {
        OnInterrupt::Rerun { attempts_max: Some(5) }
    }

    /// Runs again, until `attempts` attempts in all did not return. With 0 or 1, no attempt is repeated.
    pub const fn rerun_at_most(attempts: u32) -> OnInterrupt {
        OnInterrupt::Rerun { attempts_max: Some(attempts) }
    }

    /// Runs again without a limit. A body that ends its process does so at every call.
    pub const fn rerun_unlimited() -> OnInterrupt {
        OnInterrupt::Rerun { attempts_max: None }
    }

    /// Whether a second attempt is allowed. If so, a lost claim of a first attempt does no harm.
    pub(crate) fn may_repeat(self) -> bool {
        match self {
            OnInterrupt::Refuse => false,
            OnInterrupt::Rerun { attempts_max } => attempts_max.is_none_or(|max| max > 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_survive_storage() {
        for lifetime in [Lifetime::FOREVER, Lifetime::ZERO, Duration::from_millis(1_500).into()] {
            assert_eq!(Lifetime::from_ms(lifetime.to_ms()), lifetime);
        }
        assert_eq!(Lifetime::from(Duration::MAX), Lifetime::FOREVER);
    }

    #[test]
    fn fractions_of_a_millisecond_round_up() {
        let ms = |nanos| Lifetime::from(Duration::from_nanos(nanos)).to_ms();
        assert_eq!(Lifetime::from(Duration::ZERO), Lifetime::ZERO);
        assert_eq!([1, 999_999, 1_000_000, 1_000_001].map(ms), [Some(1), Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn only_a_mode_that_allows_a_second_attempt_may_repeat() {
        assert!(OnInterrupt::rerun().may_repeat());
        assert!(OnInterrupt::rerun_unlimited().may_repeat());
        assert!(OnInterrupt::rerun_at_most(2).may_repeat());
        for once in [OnInterrupt::Refuse, OnInterrupt::rerun_at_most(1), OnInterrupt::rerun_at_most(0)] {
            assert!(!once.may_repeat(), "{once:?}");
        }
    }

    #[test]
    fn a_lifetime_is_over_at_its_age_and_never_at_an_unknown_one() {
        let second = Lifetime::from(Duration::from_secs(1));
        assert!(!second.is_over(Some(999)));
        assert!(second.is_over(Some(1_000)));
        assert!(!second.is_over(None));
        assert!(!second.is_over(Some(-5)));
        assert!(Lifetime::ZERO.is_over(Some(0)));
        assert!(!Lifetime::FOREVER.is_over(Some(i64::MAX)));
    }
}
