//! The shapes of a chart as markup.

use std::fmt::{self, Display, Formatter, Write};

/// The width of the picture in pixels.
pub(super) const WIDTH: f64 = 960.0;
/// The margin at every edge in pixels.
pub(super) const MARGIN: f64 = 24.0;

/// The markup of the shapes drawn so far.
#[derive(Debug, Default)]
pub(super) struct Drawing(String);

/// The look of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    Title,
    Plain,
    Small,
}

impl Display for Drawing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drawing {
    /// Draws a text at `x`, its `start`, `end` or `middle` by `anchor`.
    pub(super) fn text(&mut self, look: Text, anchor: &str, x: f64, y: f64, text: &str) {
        let class = match look {
            Text::Title => "title",
            Text::Plain => "plain",
            Text::Small => "small",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"
        ));
    }

    pub(super) fn bar(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        self.add(format_args!(
            "<rect class=\"bar {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>\n"
        ));
    }

    /// Draws a line of the grid.
    pub(super) fn grid(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.add(format_args!(
            "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ));
    }

    /// Draws points and the line through them.
    pub(super) fn line(&mut self, class: &str, points: &[[f64; 2]]) {
        let mut path = String::new();
        for [x, y] in points {
            // A write to a string cannot fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        self.add(format_args!("<polyline class=\"line {class}\" points=\"{}\"/>\n", path.trim_end()));
        for [x, y] in points {
            self.add(format_args!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n"));
        }
    }

    fn add(&mut self, markup: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(markup);
    }
}

/// Returns the class of a contender, which has one colour in all panels.
pub(super) fn class(contender: &str) -> &'static str {
    match contender {
        name if name.starts_with("idempotent, tasks") => "b",
        name if name.starts_with("idempotent") => "a",
        name if name.starts_with("bare") => "d",
        _ => "c",
    }
}

/// Formats a number for an axis or a bar, short but exact enough to compare.
pub(super) fn short(number: f64) -> String {
    let (number, unit) = match number {
        number if number >= 1e6 => (number / 1e6, " M"),
        number if number >= 1e3 => (number / 1e3, " k"),
        number => (number, ""),
    };
    let decimals = usize::from(number < 10.0 && number.fract() > 0.04);
    format!("{number:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [0.5, 7.0, 42.3, 999.0, 1_000.0, 7_926.0, 50_000.0, 2_500_000.0];
        assert_eq!(numbers.map(short), ["0.5", "7", "42", "999", "1 k", "7.9 k", "50 k", "2.5 M"]);
    }
}
