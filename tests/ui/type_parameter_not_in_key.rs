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

fn main() {
    let _ = mentioned::<u64, 1>(1);
}
