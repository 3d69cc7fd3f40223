//! The SQLite backend: the only place with SQL and rusqlite, apart from `tx`.
//!
//! `opening` opens the files of a store. `backend` implements the reads of the interface `Backend`, and `commit` the
//! writes.

pub(crate) mod backend;
pub(crate) mod changes;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod connection;
pub(crate) mod counters;
pub(crate) mod failure;
pub(crate) mod integrity;
pub(crate) mod opening;
pub(crate) mod owners;
pub(crate) mod purge;
pub(crate) mod read_pool;
pub(crate) mod records;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod store_clock;
pub(crate) mod timeline;
pub(crate) mod verify;
pub(crate) mod wal;
pub(crate) mod write_transaction;
