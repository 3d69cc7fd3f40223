//! What a user reads after a mistake: each case of `ui/` is one rule, its `.stderr` the exact messages.
//!
//! The messages are those of the toolchain the project is developed with. After a change, run
//! `TRYBUILD=overwrite cargo test -p idem-tests --test ui` and read what has changed.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
}
