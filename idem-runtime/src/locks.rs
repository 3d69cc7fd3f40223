//! Kernel file locks: who is alive, and whose turn it is to write.

pub(crate) mod fair_lock;
pub(crate) mod liveness;
pub(crate) mod owner_lock;
