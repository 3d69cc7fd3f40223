//! The length of messages: an error states one fact, and advice stands in `error/advice`.

use crate::sources::sources_of;

/// The maximum length of a message in characters. SQL statements have no maximum.
const MESSAGE_CHARS_MAX: usize = 140;

#[test]
fn no_message_is_longer_than_140_characters() {
    let mut checked = 0;
    for source in sources_of("idem-runtime") {
        let lines: Vec<&str> = source.product().into_iter().map(|(_, line)| line).collect();
        for literal in literals(&lines.join("\n")).iter().filter(|literal| !is_sql(literal)) {
            let length = literal.chars().count();
            assert!(length <= MESSAGE_CHARS_MAX, "{}: {length} characters: {literal}", source.name());
            checked += 1;
        }
    }
    assert!(checked > 500, "only {checked} literals were found");
}

fn is_sql(literal: &str) -> bool {
    ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE "]
        .iter()
        .any(|verb| literal.trim().starts_with(verb))
}

/// Whether a quote after this code begins a raw string.
fn is_raw(before: &str) -> bool {
    let prefix = before.strip_suffix('r').map(str::chars).and_then(|mut chars| chars.next_back());
    before.ends_with('r') && !prefix.is_some_and(char::is_alphanumeric)
}

/// The string literals of Rust code. A line that ends with a backslash continues in the next one.
fn literals(code: &str) -> Vec<String> {
    let code = code.replace("'\"'", "' '").replace("'\\\"'", "' '");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((before, begun)) = rest.split_once('"') {
        let mut literal = String::new();
        rest = begun;
        if is_raw(before) {
            // A raw string has no escapes. Paths alone are written so.
            rest = rest.split_once('"').map_or("", |(_, rest)| rest);
            continue;
        }
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '"' => break,
                '\\' if rest.starts_with('\n') => rest = rest.trim_start(),
                '\\' => rest = rest.get(1..).unwrap_or_default(),
                c => literal.push(c),
            }
        }
        found.push(literal);
    }
    found
}
