# Short names for what is done every day; `.ci/run` is the whole check.

# The tests.
test:
    cargo test

# The main job on real input.
deliveries *args:
    cargo run --example deliveries -- {{args}}

# Format and lints, as the check wants them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation, with every warning an error.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc -p idem-runtime -p idem-macros --no-deps --all-features

# The expected messages of the compile errors, written anew. Read the difference before keeping it.
ui:
    TRYBUILD=overwrite cargo test -p idem-tests --test ui

# Licences and advisories (needs cargo-deny).
deny:
    cargo deny check

# Everything.
ci:
    .ci/run
