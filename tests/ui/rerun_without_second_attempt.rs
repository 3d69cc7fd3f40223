use idem_runtime::{Error, idempotent};

#[idempotent(key = id, on_interrupt = rerun(0))]
fn zero(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = rerun(1))]
fn one(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
