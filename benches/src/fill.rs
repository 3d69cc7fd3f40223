//! Stores with millions of finished records.
//!
//! One call through [`tx`](idem_runtime::Call::tx) makes each record. The product's own code writes the row, and many
//! calls share one commit. With two commits per call, 10⁷ records would take half an hour.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use idem_runtime::{Error, Store, call};

use crate::contender::by_hand::connect;
use crate::{Outcome, key, result};

/// The name of the calls that fill a store.
pub const NAME: &str = "bench.fill";
/// Records in one transaction: few commits, and a WAL below one gigabyte.
const COMMIT_EVERY: usize = 500_000;

/// Adds finished records to a store that is not open. Without `ttl`, the records never expire.
///
/// # Errors
/// The first error of a call.
pub fn fill(path: &Path, keys: Range<u64>, ttl: Option<Duration>) -> Outcome<()> {
    // Creates the tables.
    Store::open(path)?.close()?;
    // Slots are in random order. If all pages of their index fit in memory, a commit writes each page once.
    let conn = connect(path, "PRAGMA cache_size = -2000000")?;
    let keys: Vec<_> = keys.collect();
    for keys in keys.chunks(COMMIT_EVERY) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        for n in keys {
            let call = call(NAME).key(&key(*n));
            let call = if let Some(ttl) = ttl { call.ttl(ttl) } else { call };
            let _made: String = call.tx(&conn).run(|| Ok::<_, Error>(result()))?;
        }
        conn.execute_batch("COMMIT")?;
    }
    Ok(())
}
