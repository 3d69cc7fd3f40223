//! Functions that run once: `#[idempotent]` over an embedded `SQLite` store.

// In reading order. The pure core: no I/O, no clock, no SQLite.
mod bounds;
mod canonical;
mod decide;
mod digest;
mod error;
mod fingerprint;
mod key;
pub mod on_err;
mod policy;
mod record;
mod timeline;
// How it is kept.
mod codec;
mod fault;
mod purge;
mod queries;
mod queue;
mod readers;
mod schema;
mod writer;
// Where it is kept.
mod files;
mod gate;
mod high_water;
mod identity;
mod mounts;
mod path_problem;
mod platform;
mod sidecar;
mod temporary;
// Who holds it.
mod claim;
mod clock;
mod core;
mod flight;
mod owner;
mod prober;
mod signal;
mod times;
mod watch;
// What a user calls.
mod call;
mod context;
#[cfg(feature = "tokio")]
mod detach;
mod event;
mod finish;
mod global;
mod intent;
mod look;
mod negotiate;
mod open;
mod recover;
mod refuse;
mod register;
mod run;
mod snapshot;
mod store;
#[cfg(feature = "tx")]
mod transaction;
#[cfg(feature = "tx")]
mod tx;

pub use bounds::{Argument, ErrorValue, FromError, IntoError, KeyValue, Outcome, Value};
pub use call::{Call, call};
pub use clock::{Clock, SystemClock};
pub use codec::Codec;
pub use context::{CurrentCall, current, with_store, with_store_async};
#[cfg(feature = "tokio")]
pub use detach::{Detached, DetachedRecovered, drain};
pub use error::{Error, ErrorKind, Ran};
pub use global::{init, init_with};
pub use idem_macros::idempotent;
pub use intent::{Seen, Settled, Verdict, observe, observe_async, peek, peek_async, settle, settle_async};
pub use open::StoreBuilder;
pub use policy::{Lifetime, OnErr, OnInterrupt};
pub use record::Status;
pub use recover::{IntoVerdict, Recovered};
pub use snapshot::{Filter, Snapshot};
pub use store::{Stats, Store};
#[cfg(feature = "tx")]
pub use tx::{TxCall, install};
