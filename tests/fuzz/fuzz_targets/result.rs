//! Stored results: a codec id, a digest of eight bytes, the bytes of a result.
//!
//! `cargo +nightly fuzz run result` in `tests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assert!(!idem_torture::bytes::hostile_result(data)));
