//! Statements of the documents that a program can check: versions, the code map, the names of tests.

use std::collections::BTreeSet;
use std::fs;

use crate::sources::{product, read, root};

#[test]
fn the_macro_and_the_runtime_have_one_version_and_are_pinned_to_each_other() {
    let workspace = read("Cargo.toml");
    let version = version();
    assert!(
        workspace.contains(&format!("idem-macros = {{ path = \"idem-macros\", version = \"={version}\" }}"))
    );
    assert!(
        workspace.contains(&format!("idem-runtime = {{ path = \"idem-runtime\", version = \"{version}\" }}"))
    );
    for krate in ["idem-macros", "idem-runtime"] {
        assert!(read(&format!("{krate}/Cargo.toml")).contains("\nversion.workspace = true\n"), "{krate}");
    }
}

fn version() -> String {
    let workspace = read("Cargo.toml");
    let (_, rest) = workspace.split_once("\nversion = \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn the_changelog_names_the_current_version() {
    assert!(read("CHANGELOG.md").contains(&format!("\n## [{}]", version())));
}

/// The texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The module paths in the first column of a crate's code map, in their order.
fn mapped(krate: &str) -> Vec<String> {
    let map = read("ARCHITECTURE.md");
    let (_, map) = map.split_once(&format!("### `{krate}/src`")).unwrap();
    let (map, _) = map.split_once("\n### ").unwrap();
    let cells = map.lines().filter_map(|line| line.strip_prefix("| `").and_then(|row| row.split_once(" |")));
    cells.flat_map(|(cell, _)| cell.split(", ").map(|module| module.replace('`', ""))).collect()
}

/// A path with more than one `/` may be left out: its folder stands for it.
#[test]
fn the_code_map_names_every_module_once() {
    for krate in ["idem-macros", "idem-runtime"] {
        let mapped = mapped(krate);
        let sources = product().into_iter().filter(|source| source.krate == krate && !source.is_test());
        let modules: BTreeSet<String> =
            sources.map(|source| source.module).filter(|module| module != "lib").collect();
        let distinct: BTreeSet<String> = mapped.iter().cloned().collect();
        assert_eq!(distinct.len(), mapped.len(), "{krate}: a module is mapped twice: {mapped:?}");
        let absent: Vec<_> = distinct.difference(&modules).collect();
        assert!(absent.is_empty(), "{krate}: mapped, but no file: {absent:?}");
        let missing = modules.difference(&distinct).filter(|module| module.matches('/').count() < 2);
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "{krate}: not mapped: {missing:?}");
    }
}

#[test]
fn the_code_map_lists_the_modules_in_the_order_of_lib() {
    let mut mapped: Vec<String> =
        mapped("idem-runtime").iter().map(|module| module.split('/').next().unwrap().to_owned()).collect();
    mapped.dedup();
    assert_eq!(mapped, crate::direction::order("idem-runtime"));
}

/// Where a test that the design names may be: `tests/it`, beside the code, or beside an example.
fn files_of(module: &str) -> Vec<String> {
    let path = module.replace("::", "/");
    let unit = path.trim_end_matches("/tests");
    vec![
        format!("tests/it/{path}.rs"),
        format!("tests/{path}.rs"),
        format!("idem-runtime/src/{unit}.rs"),
        format!("idem-runtime/src/{unit}_tests.rs"),
        format!("idem-runtime/src/{unit}/tests.rs"),
        format!("examples/payment-api/tests/{path}.rs"),
        format!("examples/sqlx-recipe/tests/{path}.rs"),
    ]
}

#[test]
fn every_test_that_the_design_names_exists() {
    let design = read("docs/design.md");
    let is_test = |name: &&str| {
        name.contains("::")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    let tests: BTreeSet<&str> = quoted(&design).filter(is_test).collect();
    assert!(tests.len() > 80, "only {} tests are named", tests.len());
    for test in tests {
        let (module, function) = test.rsplit_once("::").unwrap();
        let mut sources =
            files_of(module).into_iter().filter_map(|file| fs::read_to_string(root().join(file)).ok());
        let there = sources.any(|text| {
            let start = text.find(&format!("fn {function}("));
            start.is_some_and(|start| {
                text[..start].trim_end().rsplit("\n\n").next().unwrap().contains("#[test]")
            })
        });
        assert!(there, "docs/design.md names `{test}`, which is not there");
    }
}

#[test]
fn each_published_crate_has_the_licences() {
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let text = read(licence);
        for krate in ["idem-macros", "idem-runtime"] {
            assert!(read(&format!("{krate}/{licence}")) == text, "{krate}/{licence} differs");
        }
    }
}
