# Short names for everyday commands. `.ci/run` is the whole check.

# Runs the tests.
test:
    cargo test

# Runs the main example on real input.
deliveries *args:
    cargo run --example deliveries -- {{args}}

# Checks format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Builds the documentation; every warning is an error.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc -p idem-runtime -p idem-macros --no-deps --all-features

# Rewrites the expected compile errors. Read the difference before you keep it.
ui:
    TRYBUILD=overwrite cargo test -p idem-tests --test ui

# Runs the tests of the examples that are packages of their own.
examples:
    cargo test -p payment-api
    CARGO_TARGET_DIR=target/sqlx-recipe cargo test --manifest-path examples/sqlx-recipe/Cargo.toml

# Runs the proof campaign, or a part: `just torture power --points 1000`.
torture *args="--all":
    cargo run --release -p idem-torture -- {{args}}

# Runs the benchmarks beside the alternatives.
bench *args="--all":
    cargo run --release -p idem-benches --features peers -- {{args}}

# Checks licences and advisories (needs cargo-deny).
deny:
    cargo deny check

# Runs the whole check.
ci:
    .ci/run
