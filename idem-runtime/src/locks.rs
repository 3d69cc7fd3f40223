//! Kernel file locks: who is alive, and whose turn it is to write.

pub(crate) mod liveness;
pub(crate) mod owner_lock;
pub(crate) mod write_turn;
