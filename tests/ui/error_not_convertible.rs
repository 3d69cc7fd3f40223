use idem_runtime::idempotent;

#[derive(Debug)]
struct PayError;

#[idempotent(key = id)]
fn charge(id: u64) -> Result<u64, PayError> {
    Ok(id)
}

#[idempotent(key = id)]
async fn refund(id: u64) -> Result<u64, PayError> {
    Ok(id)
}

#[idempotent(key = id, map_err = |_| PayError, on_err = remember)]
fn remembered(id: u64) -> Result<u64, PayError> {
    Ok(id)
}

fn main() {}
