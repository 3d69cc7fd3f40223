//! The store: its file, its lifecycle and its operators.

// A database that goes back in time under an open store.
#[cfg(unix)]
mod back_in_time;
// Checkpoints and the length of the WAL.
mod checkpoints;
// Dropping the last handle, and closing from inside of a call.
mod closing;
// Damaged files under an open store and at the next open.
#[cfg(unix)]
mod corruption;
// A full disk.
#[cfg(target_os = "linux")]
mod full_disk;
// Boots, files and rows that must not only grow.
#[cfg(target_os = "linux")]
mod growth;
// A blocked caller that commits its own records.
#[cfg(unix)]
mod inline_writes;
// Opening, closing and dropping.
#[cfg(unix)]
mod lifecycle;
// An accepted loss of records, another machine, a mount that does not survive.
#[cfg(unix)]
mod lost_records;
// `get`, `list`, `forget`, `settle` and the other tools of an operator.
mod operators;
// What operators see right after the end of a call, and after the end of a record.
mod operators_now;
// Paths of a store.
#[cfg(unix)]
mod paths;
// A database file that is replaced under an open store.
#[cfg(unix)]
mod replaced_file;
// `shared`: the tables in the database of an application.
#[cfg(unix)]
mod shared;
// The check after an unclean end.
#[cfg(unix)]
mod unclean_end;
