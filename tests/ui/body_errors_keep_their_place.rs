use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
fn mismatched(id: u64) -> Result<String, Error> {
    Ok("literal")
}

#[idempotent(key = id)]
async fn mismatched_async(id: u64) -> Result<String, Error> {
    Ok("literal")
}

#[idempotent(key = id)]
fn without_tail(id: u64) -> Result<u64, Error> {
    let _ = id;
}

#[idempotent(key = id)]
async fn without_tail_async(id: u64) -> Result<u64, Error> {
    let _ = id;
}

#[idempotent(key = (id, other))]
fn unknown_name(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id)]
async fn question_mark(id: u64) -> Result<u64, Error> {
    let text = String::from_utf8(Vec::new())?;
    Ok(id + text.len() as u64)
}

#[idempotent(key = id, ttl = 30 + 1)]
fn option_value(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id)]
fn moved_twice(id: String) -> Result<String, Error> {
    drop(id);
    Ok(id)
}

fn main() {}
