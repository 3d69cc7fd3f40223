use idem_runtime::{Error, idempotent};

#[idempotent(key = id, ttl = 30, keep_result = "3 weeks", wait = "soon")]
fn units(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = "99999999999999999999d", keep_result = "40000d", wait = "9999999w")]
fn overflow(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = forever, keep_result = 1.5, wait = "forever")]
fn forever(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, ttl = "", keep_result = "-1s", wait = "s")]
fn numbers(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
