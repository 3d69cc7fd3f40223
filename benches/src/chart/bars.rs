//! A table as bars: calls per second of each contender.

use super::drawing::{Drawing, MARGIN, Text, WIDTH, class, short};
use super::scale::Scale;
use crate::lap::count;
use crate::report::Table;

/// The left end of all bars.
const LEFT: f64 = 342.0;
/// The right end of the longest bar.
const RIGHT: f64 = WIDTH - 190.0;
const BAR: f64 = 18.0;
const ROW: f64 = 25.0;

/// Draws a table below `top` and returns the top of the next one.
pub(super) fn draw(drawing: &mut Drawing, table: &Table, top: f64) -> f64 {
    let Some(first) = table.rows.first() else { return top };
    let scale = Scale::from_a_decade(table.rows.iter().map(|row| row.calls_per_s), [LEFT, RIGHT]);
    drawing.text(Text::Title, "start", MARGIN, top + 16.0, &table.work);
    let against = format!("{} is … times as fast", first.contender);
    drawing.text(Text::Small, "end", WIDTH - MARGIN, top + 16.0, &against);
    let (begin, end) = (top + 30.0, top + 30.0 + count(table.rows.len()) * ROW);
    for tick in scale.ticks() {
        drawing.grid([scale.at(tick), begin], [scale.at(tick), end]);
        drawing.text(Text::Small, "middle", scale.at(tick), end + 13.0, &short(tick));
    }
    drawing.text(Text::Small, "start", RIGHT + 24.0, end + 13.0, "calls/s");
    for (n, row) in table.rows.iter().enumerate() {
        let y = begin + count(n) * ROW;
        let end = scale.at(row.calls_per_s);
        drawing.text(Text::Plain, "end", LEFT - 8.0, y + 17.0, &row.contender);
        drawing.bar(class(&row.contender), [LEFT, y + 3.0], [end - LEFT, BAR]);
        drawing.text(Text::Plain, "start", end + 6.0, y + 17.0, &short(row.calls_per_s));
        if n > 0 {
            let decimals = if row.first_is < 0.1 { 3 } else { usize::from(row.first_is < 10.0) * 2 };
            let first_is = format!("{:.decimals$} ×", row.first_is);
            drawing.text(Text::Plain, "end", WIDTH - MARGIN, y + 17.0, &first_is);
        }
    }
    end + 34.0
}
