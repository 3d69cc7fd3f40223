use idem_runtime::{Error, idempotent};

#[idempotent(key = id, on_err = remembr)]
fn misspelt(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_err = retry(3))]
fn unknown(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_err = classify)]
fn unfinished(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, codec = postcard)]
fn codec(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
