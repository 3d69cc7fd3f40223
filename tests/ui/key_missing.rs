use idem_runtime::{Error, idempotent};

#[idempotent]
fn nothing(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(ttl = "30d")]
fn something(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    // Both are still there to be called.
    let _ = (nothing(1), something(1));
}
