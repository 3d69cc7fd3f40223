use idem_runtime::{Error, idempotent};

#[idempotent(key = id, skip(gatewy))]
fn misspelt(id: u64, gateway: &str) -> Result<usize, Error> {
    Ok(gateway.len())
}

#[idempotent(key = id, skip(self, note, note, _))]
fn unknown(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, skip = note)]
fn assigned(id: u64, note: &str) -> Result<usize, Error> {
    Ok(note.len())
}

#[idempotent(key = id, skip())]
fn empty(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
