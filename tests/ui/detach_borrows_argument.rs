use idem_runtime::{Error, idempotent};

use std::borrow::Cow;

#[idempotent(key = id, detach)]
fn blocking(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, detach = true)]
async fn valued(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = order, detach)]
async fn borrowing(order: &str, tenant: Cow<'_, str>, shop: &'static str) -> Result<u64, Error> {
    Ok((order.len() + tenant.len() + shop.len()) as u64)
}

#[derive(serde::Serialize)]
struct Shop;

impl Shop {
    #[idempotent(name = "shop.detached", key = id, detach)]
    async fn method(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

fn main() {}
