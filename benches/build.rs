//! Compiles the fsync with a delay (see `delay`) and the counter of statements (see `tools`).

fn main() {
    println!("cargo::rerun-if-changed=src/delay.c");
    println!("cargo::rerun-if-changed=src/trace.c");
    // The whole archive is linked, so that its fsync precedes the one of the C library.
    println!("cargo::rustc-link-lib=static:+whole-archive=delay");
    cc::Build::new().files(["src/delay.c", "src/trace.c"]).cargo_metadata(false).compile("delay");
    println!("cargo::rustc-link-search=native={}", std::env::var("OUT_DIR").unwrap_or_default());
}
