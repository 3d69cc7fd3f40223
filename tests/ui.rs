//! Compile errors: each case of `ui/` breaks one rule, and its `.stderr` contains the exact messages.
//!
//! The messages belong to the toolchain of the project. After a change, run
//! `TRYBUILD=overwrite cargo test -p idem-tests --test ui` and read the differences.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
}
