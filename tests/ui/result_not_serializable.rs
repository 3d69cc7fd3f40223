use idem_runtime::{Error, idempotent};

struct Receipt;

#[derive(serde::Serialize)]
struct OneWay;

#[idempotent(key = id)]
fn plain(id: u64) -> Result<Receipt, Error> {
    let _ = id;
    Ok(Receipt)
}

#[idempotent(key = id)]
async fn written_only(id: u64) -> Result<OneWay, Error> {
    let _ = id;
    Ok(OneWay)
}

fn main() {}
