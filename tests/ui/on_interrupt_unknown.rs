use idem_runtime::{Error, idempotent};

#[idempotent(key = id, on_interrupt = reruns)]
fn misspelt(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = ignore)]
fn unknown(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = recover)]
fn unfinished(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = rerun(2, 3))]
fn two(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = rerun("3"))]
fn text(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
