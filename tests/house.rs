//! The house rules that no compiler checks: what may be named where, how long a file is, and that what the documents
//! name is there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at its first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of the product, by its path in the crate's `src` and without the ending: `codec/guard`.
struct Source {
    krate: &'static str,
    module: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.module.ends_with("tests")
    }

    /// Its lines of code that are no comments and no tests, with their numbers.
    fn product(&self) -> Vec<(usize, &str)> {
        let mut lines = self.text.lines().enumerate();
        let mut product = Vec::new();
        while let Some((at, line)) = lines.next() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            if code == "#[cfg(test)]" {
                let end = format!("{indent}}}");
                let item = lines.find(|(_, line)| !line.trim_start().starts_with("#["));
                if item.is_some_and(|(_, line)| line.ends_with('{')) {
                    let _ = lines.find(|(_, line)| *line == end);
                }
            } else if !code.starts_with("//") {
                product.push((at + 1, line));
            }
        }
        if self.is_test() { Vec::new() } else { product }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for krate in ["idem-macros", "idem-runtime"] {
        let src = root().join(krate).join("src");
        let mut folders = vec![src.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    let module = path.strip_prefix(&src).unwrap().with_extension("");
                    let module = module.to_str().unwrap().replace('\\', "/");
                    sources.push(Source { krate, module, text });
                }
            }
        }
    }
    assert!(sources.len() > 60, "only {} files were found", sources.len());
    sources
}

/// Where product code has one of these texts, outside of the modules that may.
fn found(texts: &[&str], may: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !may(source)) {
        let named =
            source.product().into_iter().filter(|(_, line)| texts.iter().any(|text| line.contains(text)));
        found.extend(
            named.map(|(at, line)| format!("{}/{}:{at}: {}", source.krate, source.module, line.trim())),
        );
    }
    found
}

/// The modules of the runtime in which a text may stand, and does.
fn only_in(texts: &[&str], modules: &[&str]) {
    let is_one =
        |source: &Source| source.krate == "idem-runtime" && modules.contains(&source.module.as_str());
    let elsewhere = found(texts, is_one);
    assert!(elsewhere.is_empty(), "{texts:?} outside of {modules:?}: {elsewhere:#?}");
    let idle: Vec<&&str> = modules
        .iter()
        .filter(|module| {
            found(texts, |source| source.module != **module || source.krate == "idem-macros").is_empty()
        })
        .collect();
    assert!(idle.is_empty(), "{idle:?} need not be on the list for {texts:?}");
}

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

#[test]
fn no_file_of_the_product_is_too_long() {
    let long = sources().into_iter().filter(|source| source.text.lines().count() > LINES_MAX);
    let long: Vec<String> = long.map(|source| format!("{}/{}", source.krate, source.module)).collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn nothing_in_the_product_panics_by_design_or_is_left_for_later() {
    let panics = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!(", "dbg!("];
    let panicking = found(&panics, |_| false);
    assert!(panicking.is_empty(), "{panicking:#?}");
    for source in sources() {
        for mark in ["TODO", "FIXME", "XXX"] {
            assert!(!source.text.contains(mark), "{mark} in {}/{}", source.krate, source.module);
        }
    }
}

#[test]
fn nothing_in_the_product_is_unsafe() {
    for source in sources() {
        assert!(!source.text.contains("unsafe"), "{}/{}", source.krate, source.module);
    }
}

#[test]
fn sqlite_is_named_where_records_are_kept_and_where_they_are_opened() {
    let kept = [
        "checkpoint",
        "commit",
        "count",
        "fault",
        "purge",
        "queries",
        "readers",
        "schema",
        "write_transaction",
    ];
    let held = ["core", "times"];
    let opened = ["open", "register"];
    let users = ["transaction", "transaction/inside", "tx"];
    only_in(&["rusqlite"], &[&kept[..], &held, &opened, &users].concat());
}

#[test]
fn tokio_is_named_where_detach_lives() {
    only_in(&["tokio::"], &["detach"]);
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    only_in(&["SystemTime::now"], &["clock"]);
}

#[test]
fn bincode_is_named_in_the_codec() {
    let elsewhere = found(&["bincode::"], |source| source.module.starts_with("codec"));
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn one_file_of_the_macro_writes_rust() {
    let elsewhere = found(&["quote!", "quote_spanned!"], |source| source.module == "expand");
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// Every rule of the attribute, and the case in `tests/ui` that shows its message.
const RULES: [(&str, &str); 15] = [
    ("function_is_ordinary", "function_not_ordinary"),
    ("key_is_given", "key_missing"),
    ("key_uses_an_argument", "key_uses_no_argument"),
    ("key_tells_instances_apart", "type_parameter_untold"),
    ("name_is_given_for_methods", "name_missing_for_method"),
    ("name_is_fixed", "name_invalid"),
    ("earlier_names_differ", "name_invalid"),
    ("skipped_arguments_exist", "skip_unknown"),
    ("skip_or_fingerprint", "skip_with_fingerprint"),
    ("compared_arguments_stay", "mut_argument_compared"),
    ("compared_arguments_have_an_order", "hash_set_argument"),
    ("compared_arguments_have_a_name", "async_trait_pattern"),
    ("lifetimes_are_sensible", "keep_result_longer_than_ttl"),
    ("tx_stands_alone", "tx_stands_alone"),
    ("detached_body_owns_its_arguments", "detach_owns_its_arguments"),
];

/// The fixed parts of the texts in a piece of code that are long enough to be told apart.
fn texts(code: &str) -> Vec<&str> {
    let quoted = code.split('"').skip(1).step_by(2);
    quoted
        .flat_map(|text| text.split(['{', '}', '\\', '\n']))
        .map(str::trim)
        .filter(|text| text.len() > 15)
        .collect()
}

#[test]
fn every_rule_of_the_attribute_has_a_case_that_shows_its_message() {
    let rules = read("idem-macros/src/rules.rs");
    let (_, check) = rules.split_once("fn check(").unwrap();
    let (check, _) = check.split_once("\n}").unwrap();
    let called: BTreeSet<&str> = check
        .lines()
        .filter(|line| line.contains("errors)"))
        .map(|line| line.trim().split_once('(').unwrap().0)
        .collect();
    assert_eq!(called, RULES.iter().map(|(rule, _)| *rule).collect(), "rules, and rules with a case");
    for (rule, case) in RULES {
        let (_, body) = rules.split_once(&format!("\nfn {rule}(")).unwrap();
        let (body, _) = body.split_once("\n}\n").unwrap();
        let shown = read(&format!("tests/ui/{case}.stderr"));
        let texts = texts(body);
        assert!(
            texts.iter().any(|text| shown.contains(text)),
            "`{case}` shows no message of `{rule}`: {texts:#?}"
        );
    }
}

#[test]
fn every_ui_case_has_its_expected_messages() {
    for entry in fs::read_dir(root().join("tests/ui")).unwrap() {
        let path = entry.unwrap().path();
        let other = if path.extension().unwrap() == "rs" { "stderr" } else { "rs" };
        assert!(path.with_extension(other).exists(), "{} stands alone", path.display());
    }
}

/// What stands in backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The modules that the code map of a crate names, group by group.
fn mapped(krate: &str) -> Vec<BTreeSet<String>> {
    let map = read("ARCHITECTURE.md");
    let (_, map) = map.split_once(&format!("### `{krate}/src`")).unwrap();
    let (map, _) = map.split_once("\n### ").unwrap();
    let mut groups = vec![BTreeSet::new()];
    for line in map.lines() {
        if line.starts_with("**") && !line.starts_with("**Architecture") {
            groups.push(BTreeSet::new());
        }
        let Some((modules, _)) = line.strip_prefix("| `").and_then(|row| row.split_once(" |")) else {
            continue;
        };
        for module in modules.split(", ") {
            let is_new = groups.last_mut().unwrap().insert(module.replace('`', ""));
            assert!(is_new, "{module} is mapped twice");
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[test]
fn the_code_map_has_every_module_once() {
    for krate in ["idem-macros", "idem-runtime"] {
        let mapped: Vec<String> = mapped(krate).into_iter().flatten().collect();
        let there = sources().into_iter().filter(|source| source.krate == krate && !source.is_test());
        let there: BTreeSet<String> = there
            .map(|source| source.module)
            .filter(|module| module != "lib" && !module.contains('/'))
            .collect();
        assert_eq!(mapped.len(), there.len(), "mapped {mapped:?}, there {there:?}");
        assert_eq!(mapped.into_iter().collect::<BTreeSet<_>>(), there, "mapped, and there, in {krate}");
    }
}

#[test]
fn the_code_map_and_the_runtime_have_the_same_groups() {
    let lib = read("idem-runtime/src/lib.rs");
    let (_, list) = lib.split_once("// In reading order.").unwrap();
    let (list, _) = list.split_once("\npub use ").unwrap();
    let mut groups = vec![BTreeSet::new()];
    for line in list.lines() {
        if line.starts_with("// ") {
            groups.push(BTreeSet::new());
        }
        let module = line.trim_start_matches("pub ").strip_prefix("mod ");
        groups.last_mut().unwrap().extend(module.map(|module| module.trim_end_matches(';').to_owned()));
    }
    assert_eq!(mapped("idem-runtime"), groups);
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
    let tests: BTreeSet<&str> = named(&design).filter(is_test).collect();
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
