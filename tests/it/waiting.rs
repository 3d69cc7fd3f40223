//! What callers get that wait for a running call.

// `wait`: the limit of a duplicate.
mod wait;
// The turns of waiters in one process.
mod turns;
// The table of waiters, in one process and between several.
mod waiters;
