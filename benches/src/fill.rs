//! Stores with millions of finished records, in minutes.
//!
//! Each record is made by a call of its own, through [`tx`](idem_runtime::Call::tx): the same code writes the same row as
//! for any other call, and only the commit is shared. A call alone costs two commits, and 10⁷ of them half an hour.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use idem_runtime::{Error, Store, call};

use crate::contender::by_hand::connect;
use crate::{Outcome, key, result};

/// The name of the calls that fill.
pub const NAME: &str = "bench.fill";
/// Records in one transaction: few commits, and a log that stays below a gigabyte.
const COMMIT_EVERY: usize = 500_000;

/// Adds finished records to a store that nobody has open. Without a lifetime they are kept for ever.
///
/// # Errors
/// The first error of a call.
pub fn fill(path: &Path, keys: Range<u64>, ttl: Option<Duration>) -> Outcome<()> {
    // Makes the tables.
    Store::open(path)?.close()?;
    // Slots come in no order: with the pages of their index in memory each is written once in a commit.
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
