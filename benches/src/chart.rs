//! Bars of one table, as an SVG.

use std::fmt::Write;

use crate::report::{Report, Table};

const WIDTH: f64 = 900.0;
const LABEL: f64 = 320.0;
const BAR: f64 = 22.0;
const GAP: f64 = 8.0;

/// A chart of every table: calls per second, on a logarithmic scale.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut top = 20.0;
    for table in &report.tables {
        top = panel(&mut body, table, top);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>{body}</svg>\n"
    )
}

/// Draws one table from `top` down and gives where the next one begins.
fn panel(body: &mut String, table: &Table, top: f64) -> f64 {
    let rates = || table.rows.iter().map(|row| row.calls_per_s);
    let (least, most) = (rates().fold(f64::MAX, f64::min) / 2.0, rates().fold(0.0, f64::max));
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{}</text>",
        top + 14.0,
        escaped(&table.work)
    );
    let mut y = top + 26.0;
    for row in &table.rows {
        let room = WIDTH - LABEL - 110.0;
        let width = room * (row.calls_per_s / least).ln() / (most / least).ln();
        let colour = match &*row.contender {
            name if name.starts_with("idempotent") => "#2b6cb0",
            name if name.starts_with("bare") => "#cbd5e0",
            _ => "#dd8452",
        };
        let base = y + 16.0;
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text><rect x=\"{LABEL}\" y=\"{y}\" \
             width=\"{width:.0}\" height=\"{BAR}\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{base}\">{}</text>",
            LABEL - 8.0,
            escaped(&row.contender),
            LABEL + width + 6.0,
            rate(row.calls_per_s),
        );
        y += BAR + GAP;
    }
    y + 16.0
}

fn rate(calls_per_s: f64) -> String {
    if calls_per_s >= 1_000.0 {
        format!("{:.1} k/s", calls_per_s / 1e3)
    } else {
        format!("{calls_per_s:.0}/s")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
