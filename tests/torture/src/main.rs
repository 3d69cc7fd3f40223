//! The campaign: `cargo run --release -p idem-torture -- --all`.

fn main() -> std::process::ExitCode {
    idem_torture::main()
}
