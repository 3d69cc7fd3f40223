use idem_runtime::{Error, idempotent};

#[idempotent(key = id, ttl = "1d", key = id, ttl = "2d")]
fn charge(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
