use idem_runtime::{Error, idempotent};

#[idempotent(key = id, tll = "1d")]
fn misspelt(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, retries = 3)]
fn unknown(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(id)]
fn bare(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent("shop.charge", key = id)]
fn text(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
