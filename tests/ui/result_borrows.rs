use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
fn borrowed(id: &str) -> Result<&str, Error> {
    Ok(id)
}

#[idempotent(key = id)]
async fn inside(id: &str) -> Result<Vec<&'static str>, Error> {
    let _ = id;
    Ok(Vec::new())
}

fn main() {}
