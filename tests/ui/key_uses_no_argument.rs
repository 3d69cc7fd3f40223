use idem_runtime::{Error, idempotent};

const KEY: &str = "daily";

#[idempotent(key = "order")]
fn text(order: u64) -> Result<u64, Error> {
    Ok(order)
}

#[idempotent(key = "order-{order}")]
fn unformatted(order: u64) -> Result<u64, Error> {
    Ok(order)
}

#[idempotent(key = KEY)]
fn constant(order: u64) -> Result<u64, Error> {
    Ok(order)
}

#[idempotent(key = other.order)]
fn field_of_another(order: u64) -> Result<u64, Error> {
    Ok(order)
}

#[idempotent(key = idd)]
fn misspelt(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = "")]
fn empty() -> Result<u64, Error> {
    Ok(1)
}

// Correct: a capture uses its argument, and a function without arguments cannot use one.
#[idempotent(key = format!("order-{order}"))]
fn captured(order: u64) -> Result<u64, Error> {
    Ok(order)
}

#[idempotent(key = KEY)]
fn without() -> Result<u64, Error> {
    Ok(1)
}

fn main() {
    let _ = (captured(1), without());
}
