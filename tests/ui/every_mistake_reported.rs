use idem_runtime::{Error, idempotent};

#[idempotent(key = "order", tll = "30d", wait = "soon", skip(gatewy))]
fn charge(order: u64, gateway: &str) -> Result<u64, Error> {
    Ok(order + gateway.len() as u64)
}

fn main() {
    // The function still exists, so no error is about it.
    let _ = charge(1, "gateway");
}
