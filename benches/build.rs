//! Compiles the fsync that can be slowed down (see `delay`).

fn main() {
    println!("cargo::rerun-if-changed=src/delay.c");
    // Whole, so that it stands before the C library's.
    println!("cargo::rustc-link-lib=static:+whole-archive=delay");
    cc::Build::new().file("src/delay.c").cargo_metadata(false).compile("delay");
    println!("cargo::rustc-link-search=native={}", std::env::var("OUT_DIR").unwrap_or_default());
}
