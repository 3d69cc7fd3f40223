//! Waits of threads and tasks: for a value, for a deadline, for a running call.

pub(crate) mod in_flight;
pub(crate) mod oneshot;
pub(crate) mod watcher;
