use idem_runtime::{Error, idempotent};

use std::collections::HashSet;

#[idempotent(key = id)]
fn charge(id: u64, tags: HashSet<String>) -> Result<u64, Error> {
    Ok(id + tags.len() as u64)
}

#[idempotent(key = id, skip(tags))]
fn skipped(id: u64, tags: HashSet<String>) -> Result<u64, Error> {
    Ok(id + tags.len() as u64)
}

fn main() {
    let _ = skipped(1, HashSet::new());
}
