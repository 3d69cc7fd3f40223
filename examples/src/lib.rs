//! The check of the example in the README: it compiles, runs, and equals `quickstart.rs`.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_shows_the_quickstart() {
        let (_, code) = include_str!("../quickstart.rs").split_once("\n\n").unwrap();
        let readme = include_str!("../../README.md");
        assert!(readme.contains(code), "the example in README.md and examples/quickstart.rs differ");
    }
}
