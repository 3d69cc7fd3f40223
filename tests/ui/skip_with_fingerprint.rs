use idem_runtime::{Error, idempotent};

#[idempotent(key = id, skip(note), fingerprint = id)]
fn charge(id: u64, note: &str) -> Result<usize, Error> {
    Ok(note.len())
}

fn main() {}
