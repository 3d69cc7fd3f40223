//! Stored rows: nine bytes a column, put into the record of a call that is then made again.
//!
//! `cargo +nightly fuzz run row` in `tests`.
#![no_main]

use std::sync::LazyLock;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    assert!(!idem_torture::bytes::hostile_row(FOLDER.path(), data).unwrap_or(false));
});
