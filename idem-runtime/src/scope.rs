//! The surroundings of a piece of code: the store in scope, the running call, the interception.

pub(crate) mod active_call;
pub(crate) mod context;
pub(crate) mod default_store;
pub(crate) mod interception;
