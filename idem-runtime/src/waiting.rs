//! Waiting for a value, a deadline, or a running call.

pub(crate) mod in_flight;
pub(crate) mod oneshot;
pub(crate) mod watcher;
