use idem_runtime::{Error, idempotent};

#[idempotent(key)]
fn without_value(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key =, ttl = "1d")]
fn half_typed(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id ttl = "1d")]
fn without_comma(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, was = "shop.pay")]
fn list(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, was("shop.pay", 7))]
fn list_element(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, crate = "renamed")]
fn quoted(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
