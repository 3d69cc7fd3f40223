//! What surrounds a piece of code: the store in scope, the running call.

pub(crate) mod context;
pub(crate) mod default_store;
pub(crate) mod interception;
