use idem_runtime::{Error, idempotent};

#[idempotent(key = id, ttl = "0s")]
fn text(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = 0)]
fn number(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
