use std::{future::Future, pin::Pin};

use idem_runtime::{Error, idempotent};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[idempotent(key = id)]
fn boxed(id: &u64) -> BoxFuture<'_, Result<u64, Error>> {
    Box::pin(async move { Ok(*id) })
}

#[idempotent(key = id)]
fn alias(id: u64) -> Task<Result<u64, Error>> {
    Box::pin(async move { Ok(id) })
}

fn main() {}
