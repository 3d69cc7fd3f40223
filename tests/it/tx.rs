//! Calls that write in a transaction of the caller.

// Bodies that end the transaction they were given.
mod body_ends_transaction;
// The connection stays the application's.
mod connection;
// `kill -9` at every statement.
#[cfg(unix)]
mod crash;
// `peek` and `settle`.
mod inspect;
// Other calls in the body, and the call through a shared store.
mod nested;
// `tx` between processes.
#[cfg(unix)]
mod processes;
// Connections and transactions that are unfit.
mod refused;
// The record commits with the rows of the body.
mod transaction;
