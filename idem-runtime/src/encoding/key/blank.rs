//! Text without a visible character.

/// The code points with the Unicode property `Default_Ignorable_Code_Point`, in order.
const IGNORABLE: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether `text` contains only white space, control characters and ignorable code points.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control() || is_ignorable(c))
}

/// Whether a display without a glyph for the character shows nothing in its place.
fn is_ignorable(c: char) -> bool {
    c > '\u{7f}' && IGNORABLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_without_a_visible_character_is_blank() {
        for blank in
            ["", " ", "\t\n\0\u{7f}", "\u{85}\u{a0}\u{3000}", "\u{ad}\u{200b}", "\u{fff8}", "\u{e0fff}"]
        {
            assert!(is_blank(blank), "{blank:?}");
            assert!(!is_blank(&format!("{blank}a{blank}")), "{blank:?}");
        }
        for visible in ["-", "\u{301}", "\u{2800}", "\u{b7}", "\u{fff9}", "\u{e1000}", "\u{1f3f4}\u{e0067}"] {
            assert!(!is_blank(visible), "{visible:?}");
        }
    }

    #[test]
    fn the_ranges_are_in_order_and_apart() {
        assert!(IGNORABLE.iter().all(|(first, last)| first <= last));
        assert!(IGNORABLE.windows(2).all(|pair| pair[0].1 < pair[1].0));
        let count: u32 = IGNORABLE.iter().map(|(first, last)| *last as u32 - *first as u32 + 1).sum();
        // The number that DerivedCoreProperties.txt gives for the property.
        assert_eq!(count, 4_174);
    }
}
