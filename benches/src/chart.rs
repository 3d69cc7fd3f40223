//! A report as one SVG: bars for tables, lines for curves.
//!
//! The picture has its own background, so it is legible on any page. It follows the dark mode of the reader's system.

mod bars;
mod drawing;
mod lines;
mod scale;

use crate::report::Report;
use drawing::{Drawing, MARGIN, Text, WIDTH};

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #59636e }
.card { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d8dee4 }
.a { fill: #0969da; stroke: #0969da } .b { fill: #8250df; stroke: #8250df }
.c { fill: #c4530a; stroke: #c4530a } .d { fill: #9aa4ae; stroke: #9aa4ae }
.line { fill: none; stroke-width: 2.5 } .bar { stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.small { fill: #9da7b1 }
.card { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #30363d }
.a { fill: #4493f8; stroke: #4493f8 } .b { fill: #bc8cff; stroke: #bc8cff }
.c { fill: #f0883e; stroke: #f0883e } .d { fill: #6e7681; stroke: #6e7681 }
.line { fill: none }
}
";

/// Draws the tables as bars and the curves as lines, two curves in a row.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut drawing = Drawing::default();
    let mut top = 20.0;
    for table in &report.tables {
        top = bars::draw(&mut drawing, table, top);
    }
    for pair in report.curves.chunks(2) {
        let lefts = [MARGIN, WIDTH / 2.0 + MARGIN / 2.0];
        for (curve, left) in pair.iter().zip(lefts) {
            lines::draw(&mut drawing, curve, left, top);
        }
        top += lines::HEIGHT;
    }
    drawing.text(
        Text::Small,
        "start",
        MARGIN,
        top + 6.0,
        &format!("{}; all axes are logarithmic", report.machine),
    );
    let height = top + 24.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Measurements\">\n<style>\n{STYLE}</style>\n<rect class=\"card\" x=\"0.5\" y=\"0.5\" \
         width=\"{}\" height=\"{}\" rx=\"8\"/>\n{drawing}</svg>\n",
        WIDTH - 1.0,
        height - 1.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Curve, Row, Table};

    fn row(contender: &str, calls_per_s: f64) -> Row {
        Row {
            contender: contender.to_owned(),
            calls_per_s,
            mean_us: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            first_is: 2.0,
            first_is_between: (1.0, 3.0),
        }
    }

    #[test]
    fn tables_and_curves_are_drawn_as_valid_markup() {
        let mut curve = Curve::new("as <it> grows", "records", "µs");
        curve.add("p50", 1e4, 8.0);
        curve.add("p50", 1e5, 9.0);
        let rows = vec![row("idempotent", 5_000.0), row("Mutex<Connection>", 100.0)];
        let report = Report {
            tables: vec![Table { work: "first & only".to_owned(), rows }],
            curves: vec![curve],
            ..Report::default()
        };
        let svg = svg(&report);
        // Two contenders, and the key of one line.
        assert_eq!(svg.matches("class=\"bar").count(), 3);
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(svg.contains("first &amp; only") && svg.contains("Mutex&lt;Connection>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_failed_measurement_does_not_break_the_picture() {
        let mut curve = Curve::new("c", "x", "y");
        curve.add("p50", 1e4, f64::NAN);
        let table = Table { work: "w".to_owned(), rows: vec![row("a", f64::NAN), row("b", 0.0)] };
        let svg = svg(&Report { tables: vec![table], curves: vec![curve], ..Report::default() });
        assert!(!svg.contains("NaN\"") && !svg.contains("inf\""));
    }
}
