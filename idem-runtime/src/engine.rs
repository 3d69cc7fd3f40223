//! One open store at work: shared state, the queue of writes, the thread that commits them.

pub(crate) mod purge;
pub(crate) mod queue;
pub(crate) mod state;
pub(crate) mod submit;
pub(crate) mod writer;
