use idem_runtime::{Error, idempotent};

#[idempotent(key = id, skip(gatewy))]
fn misspelt(id: u64, gateway: &str) -> Result<u64, Error> {
    Ok(id + gateway.len() as u64)
}

#[idempotent(key = id, skip(self, note, note))]
fn unknown(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, skip(_))]
fn nameless(id: u64, _: &str) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, skip = note)]
fn assigned(id: u64, note: &str) -> Result<u64, Error> {
    Ok(id + note.len() as u64)
}

#[idempotent(key = id, skip())]
fn empty(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
