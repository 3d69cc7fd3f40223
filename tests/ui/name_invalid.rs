use idem_runtime::{Error, idempotent};

#[idempotent(name = "", key = id)]
fn empty(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(name = "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x", key = id)]
fn over_long(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(name = format!("shop.{id}"), key = id)]
fn changing(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(name = 7, key = id)]
fn number(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(name = "shop.pay", was("shop.pay", "", "shop.old", "shop.old"), key = id)]
fn earlier(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
