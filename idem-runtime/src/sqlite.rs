//! Tables, statements and connections.

pub(crate) mod checkpoint;
pub(crate) mod counters;
pub(crate) mod failure;
pub(crate) mod owners;
pub(crate) mod read_pool;
pub(crate) mod records;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod store_clock;
pub(crate) mod write_transaction;
