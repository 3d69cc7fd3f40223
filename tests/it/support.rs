//! What the tests share: stores, other programs, a ledger.

// A database of an application.
pub(crate) mod ledger;
// The output of a program, line by line.
pub(crate) mod lines;
// A folder with a store.
pub(crate) mod place;
// This test binary as a second program.
pub(crate) mod role;
// Assertions for the tests of shapes.
pub(crate) mod runs_once;
// Programs under `strace`.
#[cfg(unix)]
pub(crate) mod strace;
// The program `tests/bin/worker.rs`.
#[cfg(unix)]
pub(crate) mod worker;
