//! A curve as lines.

use super::drawing::{Drawing, MARGIN, Text, WIDTH, short};
use super::scale::Scale;
use crate::lap::count;
use crate::report::Curve;

/// The height of one panel with its texts.
pub(super) const HEIGHT: f64 = 310.0;
const PANEL: f64 = (WIDTH - 3.0 * MARGIN) / 2.0;
const PLOT: f64 = 190.0;
/// The width of the numbers on the vertical axis.
const NUMBERS: f64 = 52.0;
const CLASSES: [&str; 4] = ["a", "b", "c", "d"];
/// The distance between the names of two lines.
const NAME: f64 = 140.0;

/// Draws a curve with its upper left corner at `left`, `top`.
pub(super) fn draw(drawing: &mut Drawing, curve: &Curve, left: f64, top: f64) {
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    let (begin, end) = (top + 62.0, top + 62.0 + PLOT);
    let across = Scale::over(points().map(|point| point.0), [left + NUMBERS, left + PANEL]);
    let upright = Scale::over(points().map(|point| point.1), [end, begin]);
    drawing.text(Text::Title, "start", left, top + 16.0, &curve.work);
    for tick in upright.ticks() {
        let y = upright.at(tick);
        drawing.grid([left + NUMBERS, y], [left + PANEL, y]);
        drawing.text(Text::Small, "end", left + NUMBERS - 6.0, y + 4.0, &short(tick));
    }
    for tick in across.ticks() {
        let x = across.at(tick);
        drawing.grid([x, begin], [x, end]);
        drawing.text(Text::Small, "middle", x, end + 14.0, &short(tick));
    }
    drawing.text(Text::Small, "end", left + NUMBERS - 6.0, begin - 6.0, &curve.y);
    drawing.text(Text::Small, "end", left + PANEL, end + 30.0, &curve.x);
    for ((n, line), class) in curve.lines.iter().enumerate().zip(CLASSES.iter().cycle()) {
        let x = left + count(n) * NAME;
        drawing.bar(class, [x, top + 27.0], [10.0, 10.0]);
        drawing.text(Text::Small, "start", x + 15.0, top + 36.0, &line.name);
        let points: Vec<_> = line.points.iter().map(|(x, y)| [across.at(*x), upright.at(*y)]).collect();
        drawing.line(class, &points);
    }
}
