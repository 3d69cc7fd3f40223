use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
const fn constant(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id)]
extern "C" fn foreign(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
