//! Rules of the attribute: each has a case in `tests/ui` that shows its message.

use std::collections::BTreeSet;
use std::fs;

use crate::sources::{read, root};

/// Every rule of the attribute, and the case in `tests/ui` that shows its message.
const RULES: [(&str, &str); 14] = [
    ("function_is_supported", "function_not_supported"),
    ("key_is_given", "key_missing"),
    ("key_uses_an_argument", "key_uses_no_argument"),
    ("key_uses_type_parameters", "type_parameter_not_in_key"),
    ("name_is_given_for_methods", "name_missing_for_method"),
    ("name_is_constant", "name_invalid"),
    ("earlier_names_are_distinct", "name_invalid"),
    ("skipped_arguments_exist", "skip_unknown"),
    ("fingerprint_excludes_skip", "skip_with_fingerprint"),
    ("compared_arguments_are_not_mut", "mut_argument_compared"),
    ("compared_arguments_have_a_name", "async_trait_pattern"),
    ("lifetimes_are_consistent", "keep_result_longer_than_ttl"),
    ("tx_excludes_other_options", "tx_combined_with_excluded_option"),
    ("detached_body_owns_its_arguments", "detach_borrows_argument"),
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
