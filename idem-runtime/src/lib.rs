//! `#[idempotent]` runs a function once per key and replays its result to every later call: across threads, processes
//! and crashes on one machine.
//!
//! The records of the calls are in one SQLite file. There is no service to start.
//!
//! # A first call and its replay
//!
//! Put [`#[idempotent]`](macro@idempotent) on a function, and name what identifies a call:
//!
//! ```
//! use idem_runtime::{Error, ErrorKind, Store, idempotent};
//!
//! #[idempotent(name = "shop.charge", key = order)]
//! fn charge(order: &str, cents: u64) -> Result<u64, Error> {
//!     Ok(cents) // Your effect goes here.
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let store = Store::temporary()?; // In a program: `Store::open("idem.db")`.
//! idem_runtime::with_store(&store, || { // In a program: `idem_runtime::init(store)`.
//!     assert_eq!(charge("A-17", 500)?, 500); // Runs the body and records the result.
//!     assert_eq!(charge("A-17", 500)?, 500); // Returns the recorded result. The body does not run.
//!     let other = charge("A-17", 999).unwrap_err();
//!     assert_eq!(other.kind(), ErrorKind::Mismatch); // The key was used with other arguments.
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The attribute takes sync and async functions, methods and generics, and keeps the signature. In a closure or a loop,
//! use the builder [`call`].
//!
//! # Choose a mode
//!
//! If a call is cut off by a crash, a panic or a dropped future, its effect may have happened. Choose what the next
//! caller does:
//!
//! | your effect | options of the attribute | after a cut-off |
//! |---|---|---|
//! | rows in SQLite through rusqlite | `tx = conn` (feature `tx`) | all or nothing |
//! | a service that takes an idempotency key | `on_interrupt = rerun`, and send [`current()`](current)'s [token](CurrentCall::token) | runs again with the same token |
//! | a service that can be asked | `on_interrupt = recover(…)`, `on_err = in_doubt` | asks the service |
//! | an effect that cannot be checked, such as a mail | the default, and `on_err = in_doubt` | a person decides |
//! | harmless to repeat | `on_interrupt = rerun` | runs again |
//!
//! `on_err` says what an `Err` of the body means. By default, an `Err` frees the key and the next call runs the body.
//! Do not release a timeout, because its effect may have happened.
//!
//! # Settle a call in doubt
//!
//! By default, a call in doubt is refused until a person or a program settles it. The closure given to [`settle`] names
//! the call and does not run its body:
//!
//! ```
//! use idem_runtime::{Settled, Store, Verdict, idempotent, settle};
//!
//! #[idempotent(name = "shop.mail", key = order, on_err = in_doubt)]
//! fn mail(order: &str) -> Result<u32, String> {
//!     Err(format!("the connection broke while mailing {order}")) // The mail may have been sent.
//! }
//!
//! # fn main() -> Result<(), idem_runtime::Error> {
//! # let store = Store::temporary()?;
//! # idem_runtime::with_store(&store, || {
//! assert!(mail("A-17").is_err()); // Runs the body. The call is in doubt from now on.
//! assert!(mail("A-17").is_err()); // Refuses the call. The body does not run.
//! assert_eq!(settle(Verdict::Done(1), || mail("A-17"))?, Settled::Done);
//! assert_eq!(mail("A-17"), Ok(1)); // Returns the result of the verdict.
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # What is promised
//!
//! A name and a key identify a call. While the store keeps the record of a call:
//!
//! - **At most once, by default.** A finished call does not run again. If a call is cut off, the call is *in doubt* and
//!   is never repeated silently.
//! - **At least once**, with [`OnInterrupt::rerun`]: if a call was cut off, the next caller runs its body again.
//! - **Exactly once**, with `tx = conn`: the effect and the record commit in the same SQLite transaction.
//! - **One at a time.** Duplicates never run side by side, in one process or in several. The others wait for the result
//!   of the one that runs.
//! - **Durable.** If a call returns `Ok`, its record is synced to disk. Inside your own open transaction, the record is
//!   part of that transaction.
//!
//! # What is not promised
//!
//! - Exactly once outside of a shared transaction. The table above lists what helps for each kind of effect.
//! - Background work. An interrupted call continues only if a caller makes it again or a person settles it.
//! - Work that the body hands elsewhere. The claim does not cover a spawned task or thread.
//! - Detection of all damage. Damage that SQLite itself cannot see, such as a lost WAL, can hide a record.
//!
//! # Further tasks
//!
//! | task | items |
//! |---|---|
//! | read an error, answer over HTTP, acknowledge a message | [`Error`], and the table of [`ErrorKind`] |
//! | let an async body finish without its caller | [`Call::detach`], [`drain`] |
//! | find out whether an answer is a replay | [`observe`] |
//! | find calls in doubt | [`Store::list`] with [`Filter::status`] |
//! | end such a call | [`settle`], [`Store::forget`], [`Store::steal`] |
//! | keep the records in the database of the application | [`StoreBuilder::shared`] |
//! | write tests | [`Store::temporary`], [`with_store`], [`StoreBuilder::clock`] |
//!
//! # Terms
//!
//! - A **record** is all that the store keeps about one call. [`Snapshot`] shows a record.
//! - A **store** is the database with the records, and the open handle to it.
//! - An **owner** is one open store in one process. The kernel frees the lock of an owner when its process ends.
//! - A **duplicate** is a call whose name and key have a record already.
//!
//! # Features
//!
//! - `bundled` (default) compiles SQLite in. Without this feature, the build links your own library, 3.51.3 or newer.
//! - `bincode` (default) stores results compactly. Without this feature, results are JSON. [`Codec`] compares the two.
//! - `tokio` (default) adds [`Call::detach`]. Everything else works on any executor.
//! - `tx` adds `tx = conn`. rusqlite becomes part of the public interface.
//! - `tracing` emits events with names, keys and attempts, never arguments or results. A subscriber must not call the
//!   store, because the subscriber may run on the thread that writes.

// Each module names only the modules above it.

// Lifetimes, and the meaning of an `Err` and of an interruption.
mod policy;
// Keys, digests, fingerprints and stored results from values. Pure.
mod encoding;
// Records, their changes, and the decision about a found record. Pure.
mod protocol;
// Events for `tracing` subscribers.
mod event;
// The error type, its kinds and its advice.
mod error;
// Clocks, paths and private files of the operating system.
mod host;
// Locking after a panic, waking tasks, computing deadlines.
mod sync;
// Waiting for a value, a deadline or a running call.
mod waiting;
// The interface between the engine and the database.
mod backend;
// Kernel file locks: live owners, and the turn to write.
mod locks;
// Tables, statements, connections and commits of SQLite.
mod sqlite;
// One open store: its shared state, its queue and its writer thread.
mod engine;
// Bounds of the public interface, with their compile errors.
mod bounds;
// The handle of a store, and snapshots of records.
mod store;
// The store in scope, the running call, the interception of a call.
mod scope;
// Opening a store and registering its owner.
mod open;
// Policies for the `Err` of a body.
pub mod on_err;
// Building, acquiring, running, recovering and inspecting a call.
mod call;
// Calls whose record is in a transaction of the user.
#[cfg(feature = "tx")]
mod tx;
// Operations on a store: list, forget, steal, purge, verify.
mod admin;

pub use bounds::{Argument, ErrorValue, FromError, IntoError, KeyValue, Outcome, Value};
#[cfg(feature = "tokio")]
pub use call::detach::{Detached, DetachedRecovered, drain};
pub use call::inspect::{observe, observe_async, peek, peek_async, settle, settle_async};
pub use call::recover::{IntoVerdict, Recovered};
pub use call::run_async::RunAsync;
pub use call::{Call, call};
pub use encoding::codec::Codec;
pub use error::{Error, ErrorKind, Ran};
pub use host::clock::{Clock, SystemClock};
pub use idem_macros::idempotent;
pub use open::StoreBuilder;
pub use policy::{Lifetime, OnErr, OnInterrupt};
pub use protocol::record::Status;
pub use scope::active_call::CurrentCall;
pub use scope::context::{current, with_store, with_store_async};
pub use scope::default_store::{init, init_with};
pub use scope::interception::{Seen, Settled, Verdict};
pub use store::snapshot::{Filter, Snapshot};
pub use store::{Stats, Store};
#[cfg(feature = "tx")]
pub use tx::{TxCall, install};

/// Compiles and runs the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
