//! Kernel file locks: the liveness of owners, and the order of writers.

pub(crate) mod fair_lock;
pub(crate) mod liveness;
pub(crate) mod owner_lock;
