use idem_runtime::{Error, idempotent};

#[idempotent(key = id, skip(note), fingerprint = id)]
fn charge(id: u64, note: &str) -> Result<u64, Error> {
    Ok(id + note.len() as u64)
}

fn main() {}
