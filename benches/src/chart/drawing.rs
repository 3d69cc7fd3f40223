//! The shapes a chart is made of, as markup.

use std::fmt::{self, Display, Formatter, Write};

/// What was drawn so far.
#[derive(Debug, Default)]
pub(super) struct Drawing(String);

/// How text looks.
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
    /// Text that starts, ends or has its middle at `x`: `anchor` is `start`, `end` or `middle`.
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

    /// A line of the grid.
    pub(super) fn grid(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.add(format_args!(
            "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ));
    }

    /// Points, and the line through them.
    pub(super) fn line(&mut self, class: &str, points: &[[f64; 2]]) {
        let mut path = String::new();
        for [x, y] in points {
            // Writing to a string cannot fail.
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
