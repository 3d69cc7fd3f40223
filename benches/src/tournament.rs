//! Turns: each contender once in each round, so that neighbouring turns meet the same disk.

use crate::Outcome;
use crate::contender::Contender;
use crate::lap::{Lap, median};

/// The laps of one contender.
#[derive(Clone, Debug)]
pub struct Result {
    /// The contender.
    pub name: &'static str,
    /// One lap for each round, in order.
    pub laps: Vec<Lap>,
}

impl Result {
    /// Returns the median of a figure over the laps.
    pub fn median(&self, figure: impl Fn(&Lap) -> f64) -> f64 {
        median(&self.laps.iter().map(figure).collect::<Vec<_>>())
    }

    /// Returns how many times as fast as `other` the contender is: the median of the ratios of the rates in each round.
    #[must_use]
    pub fn ratio_to(&self, other: &Result) -> f64 {
        self.paired(other, |ours, theirs| ours.rate() / theirs.rate())
    }

    /// Returns the median of a figure of the two laps of each round.
    pub fn paired(&self, other: &Result, figure: impl Fn(&Lap, &Lap) -> f64) -> f64 {
        median(
            &self.laps.iter().zip(&other.laps).map(|(ours, theirs)| figure(ours, theirs)).collect::<Vec<_>>(),
        )
    }
}

/// Runs one turn of each contender in each round. The first round is not measured.
///
/// # Errors
/// The first error of a turn.
pub fn run(
    contenders: &[Box<dyn Contender>],
    rounds: usize,
    turn: impl Fn(&dyn Contender, usize) -> Outcome<Lap>,
) -> Outcome<Vec<Result>> {
    let mut results: Vec<_> =
        contenders.iter().map(|contender| Result { name: contender.name(), laps: Vec::new() }).collect();
    for round in 0..=rounds {
        for (contender, result) in contenders.iter().zip(&mut results) {
            let lap = turn(&**contender, round).map_err(|error| format!("{}: {error}", contender.name()))?;
            if round > 0 {
                result.laps.push(lap);
            }
        }
    }
    Ok(results)
}
