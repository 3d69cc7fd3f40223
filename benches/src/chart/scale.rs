//! A logarithmic axis.

/// A map from a range of numbers to a range of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// The decimal logarithms of both ends.
    low: f64,
    high: f64,
    /// The pixels of both ends.
    from: f64,
    to: f64,
}

impl Scale {
    /// Returns an axis that contains all numbers. A number without a logarithm is ignored.
    pub(super) fn over(numbers: impl Iterator<Item = f64>, [from, to]: [f64; 2]) -> Scale {
        let logarithms = numbers.filter(|number| number.is_finite() && *number > 0.0).map(f64::log10);
        let ends = logarithms.fold(None, |ends, number| {
            let (low, high) = ends.unwrap_or((number, number));
            Some((low.min(number), high.max(number)))
        });
        let (low, high): (f64, f64) = ends.unwrap_or((0.0, 1.0));
        // Room at both ends, also if all numbers are equal.
        let room = ((high - low) * 0.06).max(0.1);
        Scale { low: low - room, high: high + room, from, to }
    }

    /// Returns an axis that begins one decade below the lowest number, for bars.
    pub(super) fn from_a_decade(numbers: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Scale {
        let scale = Scale::over(numbers, pixels);
        Scale { low: scale.low.floor(), ..scale }
    }

    /// Returns the pixel of a number; a number without a logarithm is at the low end.
    pub(super) fn at(&self, number: f64) -> f64 {
        let log = if number.is_finite() && number > 0.0 { number.log10() } else { self.low };
        self.from + (log - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Returns the numbers on the axis: powers of ten, and 2 and 5 between them if there is room.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low < 2.4 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = std::iter::successors(Some(self.low.floor()), |decade| Some(decade + 1.0));
        let ticks = decades.take_while(|decade| *decade <= self.high);
        let ticks = ticks.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powf(decade)));
        ticks.filter(|tick| (self.low - 1e-9..=self.high).contains(&tick.log10())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_as_much_is_always_as_far_away() {
        let scale = Scale::over([10.0, 10_000.0].into_iter(), [0.0, 100.0]);
        let step = scale.at(100.0) - scale.at(10.0);
        assert!(step > 0.0 && (scale.at(1_000.0) - scale.at(100.0) - step).abs() < 1e-9);
        assert_eq!(scale.ticks().len(), 4);
    }

    #[test]
    fn a_short_axis_has_ticks_between_the_powers_of_ten() {
        let ticks = Scale::over([8.0, 60.0].into_iter(), [0.0, 1.0]).ticks();
        assert_eq!(ticks.iter().map(|tick| tick.round()).collect::<Vec<_>>(), [10.0, 20.0, 50.0]);
    }

    #[test]
    fn what_has_no_logarithm_stands_at_the_low_end() {
        let scale = Scale::over([f64::NAN, 0.0, 5.0].into_iter(), [3.0, 9.0]);
        assert!([f64::NAN, 0.0, -1.0].iter().all(|number| (scale.at(*number) - 3.0).abs() < 1e-9));
    }
}
