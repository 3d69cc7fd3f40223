use std::future::Future;

use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
fn of_type<T: Default>(id: u64) -> Result<u64, Error> {
    let _ = T::default();
    Ok(id)
}

#[idempotent(key = id)]
fn of_constant<const N: usize>(id: u64) -> Result<u64, Error> {
    Ok(id)
}

// Correct: the argument mentions `T`, and the key contains `N`.
#[idempotent(key = (N, id))]
fn mentioned<T: serde::Serialize, const N: usize>(id: T) -> Result<u64, Error> {
    let _ = id;
    Ok(1)
}

// Correct: the bound of `F`, which an argument mentions, mentions `Fut`, and its bound mentions `T`.
#[idempotent(key = id, skip(body))]
async fn bounds<F, Fut, T>(id: u64, body: F) -> Result<u64, Error>
where
    F: FnOnce(u64) -> Fut,
    Fut: Future<Output = T>,
{
    body(id).await;
    Ok(1)
}

// Correct: the function says so.
#[idempotent(key = id, same_for_types)]
fn same<T: Default>(id: u64) -> Result<u64, Error> {
    let _ = T::default();
    Ok(id)
}

fn main() {
    let _ = mentioned::<u64, 1>(1);
    let _ = same::<u64>(1);
    let _ = bounds(1, |id| async move { id });
}
