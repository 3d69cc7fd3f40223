//! What callers get that wait for a running call.

// `wait`: the limit of a duplicate.
mod wait;
// Waiters in one process.
mod waiters;
// Waiters in several processes.
#[cfg(unix)]
mod waiters_across;
