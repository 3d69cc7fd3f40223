//! Functions that run once.
//!
//! Put [`#[idempotent]`](macro@idempotent) on a function and name what identifies a call. A second call with the same key
//! gets the first one's result: in other threads and tasks, in other processes, after a crash. The records live in one
//! SQLite file; there is no service to start.
//!
//! ```
//! use idem_runtime::{Error, ErrorKind, Store, idempotent};
//!
//! #[idempotent(name = "shop.charge", key = order)]
//! fn charge(order: &str, cents: u64) -> Result<u64, Error> {
//!     // … the effect that must happen once …
//!     Ok(cents)
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let store = Store::temporary()?; // in a program: Store::open("idem.db")
//! idem_runtime::with_store(&store, || { // in a program: idem_runtime::init(store)
//!     assert_eq!(charge("A-17", 500)?, 500); // runs
//!     assert_eq!(charge("A-17", 500)?, 500); // is replayed
//!     assert_eq!(charge("A-17", 999).unwrap_err().kind(), ErrorKind::Mismatch);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! A call is named by **name + key**. While its record is kept:
//!
//! - **At most once, by default.** A finished call is not run again. One that was cut off midway (crash, kill, power loss,
//!   panic, dropped future) is *in doubt* and is never repeated silently. One that returned `Err` counts as not done
//!   unless [`on_err`](Call::on_err) says otherwise; a timeout is not an `Err` you may release.
//! - **At least once**, where repeating is safe: [`OnInterrupt::rerun`].
//! - **Exactly once**, where the effect is written in the same SQLite transaction as the record: `tx = conn` (feature `tx`).
//! - Duplicates never run side by side, in one process or in several on the machine: one runs, the others get its result.
//! - `Ok` means that the record has been forced to disk; in your own open transaction it means recorded in it.
//!
//! # What is not
//!
//! Nothing outside of a shared transaction can be exactly once. What is offered instead: a
//! [token](CurrentCall::token) for services that take an idempotency key, a [recovery hook](Call::recover) for those that
//! can be asked, and records in doubt that a person or a program [settles](settle). A body's claim covers what the body
//! does itself: what it hands elsewhere (a spawned task) is out of sight. Damage that SQLite itself cannot see, such as a
//! lost write-ahead log, can hide a record; it is made rare and noticed where that is possible.
//!
//! # Nouns
//!
//! - A **call** is one use of a function, named by name and key; [`call`] builds one without the attribute.
//! - A **record** is what the store knows of a call; [`Snapshot`] shows one, [`Store::list`] finds them.
//! - A **store** is one open file; its process is the **owner** of the calls it runs, by a kernel lock that dies with it.
//! - **In doubt** is a call that was cut off: nobody knows whether its effect happened.
//!
//! # In other situations
//!
//! - Async: the same attribute on an `async fn`. Any executor will do; only [`detach`](Call::detach) needs tokio.
//! - Tests: [`Store::temporary`] and [`with_store`]; [`StoreBuilder::clock`] for lifetimes.
//! - Was it replayed? [`observe`].
//! - Answering over HTTP, or acknowledging a message: the table of [`ErrorKind`].
//! - Stuck calls: [`Store::list`] with [`Filter::status`], then [`settle`], [`Store::forget`] or [`Store::steal`].
//! - The records in the application's own database: [`StoreBuilder::shared`].
//!
//! # Features
//!
//! - `bundled` (default) compiles SQLite in. Switch it off to link your own, 3.51.3 or newer.
//! - `bincode` (default) stores results compactly; see [`Codec`] for why one may not want it.
//! - `tokio` (default) adds [`detach`](Call::detach). Everything else runs without it.
//! - `tx` adds `tx = conn`, and with it rusqlite to the public interface.
//! - `tracing` sends events to `tracing` subscribers: names, keys, attempts; never arguments or results.
//!   A subscriber must not call the store it hears of: the thread that tells it may be the one that writes.

// In dependency order: each module names only those above it.
// What a call asks for.
mod policy;
// Values to keys, digests and bytes. Pure.
mod encoding;
// What a record is and what may happen to it. Pure.
mod protocol;
// `tracing` events.
mod event;
// The one error type.
mod error;
// Clocks, paths, private files.
mod host;
// Locks, wakers, deadlines.
mod sync;
// Waiting for a value, a deadline, a running call.
mod waiting;
// The seam: what the engine asks of the database below it.
mod backend;
// Kernel file locks.
mod locks;
// Tables, statements, connections.
mod sqlite;
// One open store at work.
mod engine;
// Bounds with messages of their own.
mod bounds;
// The handle.
mod store;
// The store in scope, the running call.
mod scope;
// Opening a store.
mod open;
// What an `Err` means.
pub mod on_err;
// Making a call.
mod call;
// A call in a transaction of the caller's.
#[cfg(feature = "tx")]
mod tx;
// What an operator does.
mod admin;

pub use bounds::{Argument, ErrorValue, FromError, IntoError, KeyValue, Outcome, Value};
#[cfg(feature = "tokio")]
pub use call::detach::{Detached, DetachedRecovered, drain};
pub use call::inspect::{observe, observe_async, peek, peek_async, settle, settle_async};
pub use call::recover::{IntoVerdict, Recovered};
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

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
