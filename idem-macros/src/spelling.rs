//! Suggestions for a misspelt name.

/// Returns the name nearest to `written`, at most two edits and at most half of its own length away.
pub(crate) fn closest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let (edits, name) = names.iter().map(|name| (distance(written, name), *name)).min()?;
    (edits <= 2.min(name.len() / 2)).then_some(name)
}

/// Returns Levenshtein's distance between two short names.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut diagonal = index;
        for (cell, other) in row.iter_mut().zip(std::iter::once('\0').chain(to.chars())).skip(1) {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_misspelt_name_finds_the_nearest() {
        let options = ["key", "ttl", "wait", "codec", "keep_result"];
        for (written, expected) in [
            ("kee", Some("key")),
            ("tll", Some("ttl")),
            ("keep_results", Some("keep_result")),
            ("retries", None),
            ("a", None),
        ] {
            assert_eq!(closest(written, &options), expected, "{written}");
        }
    }
}
