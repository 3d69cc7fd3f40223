use idem_runtime::{Error, idempotent};

#[idempotent(key = id, ttl = "1d", keep_result = "25h")]
fn longer(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = "1d", keep_result = "forever")]
fn forever(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = "1d", keep_result = "24h")]
fn equal(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    let _ = equal(1);
}
