//! Turns: every contender once in each round, so that neighbours saw the same disk.

use crate::Outcome;
use crate::contender::Contender;
use crate::lap::{Lap, median};

/// What one contender did, round by round.
#[derive(Clone, Debug)]
pub struct Result {
    /// Who.
    pub name: &'static str,
    /// One lap for each round, in the order of the rounds.
    pub laps: Vec<Lap>,
}

impl Result {
    /// The median of one figure of each lap.
    pub fn median(&self, figure: impl Fn(&Lap) -> f64) -> f64 {
        median(&self.laps.iter().map(figure).collect::<Vec<_>>())
    }

    /// How many times as fast as `other`: the median over the rounds of the ratio of the two rates.
    #[must_use]
    pub fn ratio_to(&self, other: &Result) -> f64 {
        self.paired(other, |ours, theirs| ours.rate() / theirs.rate())
    }

    /// The median of something of two laps of one round.
    pub fn paired(&self, other: &Result, figure: impl Fn(&Lap, &Lap) -> f64) -> f64 {
        median(
            &self.laps.iter().zip(&other.laps).map(|(ours, theirs)| figure(ours, theirs)).collect::<Vec<_>>(),
        )
    }
}

/// Lets every contender take its turn in each of the rounds. The first round only warms up.
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
