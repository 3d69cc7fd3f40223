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
    // The functions still exist, so no error is about them.
    let _ = (nothing(1), something(1));
}
