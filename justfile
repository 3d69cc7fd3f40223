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

# The examples that are packages of their own.
examples:
    cargo test -p payment-api
    CARGO_TARGET_DIR=target/sqlx-recipe cargo test --manifest-path examples/sqlx-recipe/Cargo.toml

# The proof campaign, whole or a part: `just torture power --points 1000`.
torture *args="--all":
    cargo run --release -p idem-torture -- {{args}}

# Our numbers beside those of others.
bench *args="--all":
    cargo run --release -p idem-benches --features peers -- {{args}}

# Licences and advisories (needs cargo-deny).
deny:
    cargo deny check

# Everything.
ci:
    .ci/run
