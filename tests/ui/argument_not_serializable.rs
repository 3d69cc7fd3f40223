use idem_runtime::{Error, idempotent};

struct Gateway;

#[idempotent(key = id)]
fn charge(gateway: &Gateway, id: u64) -> Result<u64, Error> {
    let _ = gateway;
    Ok(id)
}

#[idempotent(key = id)]
async fn refund(gateway: Gateway, id: u64) -> Result<u64, Error> {
    let _ = gateway;
    Ok(id)
}

#[idempotent(key = text.as_ref())]
fn generic(text: impl AsRef<str>) -> Result<u64, Error> {
    Ok(text.as_ref().len() as u64)
}

#[idempotent(key = id, fingerprint = gateway)]
fn fingerprinted(gateway: &Gateway, id: u64) -> Result<u64, Error> {
    let _ = gateway;
    Ok(id)
}

#[idempotent(key = gateway, skip(gateway))]
fn keyed(gateway: &Gateway) -> Result<u64, Error> {
    let _ = gateway;
    Ok(1)
}

fn main() {}
