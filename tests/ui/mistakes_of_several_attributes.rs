use idem_runtime::{Error, idempotent};

#[idempotent(key = "order")]
#[idempotent(key = order, wait = "soon")]
#[idempotent(key = order, skip(gatewy))]
fn charge(order: u64, gateway: &str) -> Result<u64, Error> {
    Ok(order + gateway.len() as u64)
}

fn main() {
    let _ = charge(1, "gateway");
}
