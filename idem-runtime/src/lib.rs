//! Functions that run once: `#[idempotent]` over an embedded `SQLite` store.

// In reading order. The pure core: no I/O, no clock, no SQLite.
mod canonical;
mod key;
mod digest;
mod fingerprint;
mod timeline;
mod policy;
mod record;
mod decide;
mod bounds;
mod error;
pub mod on_err;
// How it is kept.
mod codec;
mod fault;
mod schema;
mod queries;
mod readers;
mod queue;
mod writer;
mod purge;
// Where it is kept.
mod platform;
mod path_problem;
mod mounts;
mod files;
mod sidecar;
mod identity;
mod gate;
mod high_water;
mod temporary;
// Who holds it.
mod clock;
mod times;
mod owner;
mod prober;
mod signal;
mod watch;
mod flight;
mod claim;
mod core;
// What a user calls.
mod open;
mod store;
mod snapshot;
mod global;
mod context;
mod intent;
mod look;
mod call;
mod refuse;
mod negotiate;
mod finish;
mod run;
mod recover;
#[cfg(feature = "tokio")]
mod detach;
#[cfg(feature = "tx")]
mod transaction;
#[cfg(feature = "tx")]
mod tx;
mod event;

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

