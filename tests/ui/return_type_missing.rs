use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
fn nothing(id: u64) {
    let _ = id;
}

#[idempotent(key = id)]
fn never(id: u64) -> ! {
    panic!("{id}")
}

#[idempotent(key = id)]
fn unnamed(id: u64) -> Result<impl ToString, Error> {
    Ok(id)
}

#[idempotent(key = id)]
fn future(id: u64) -> impl Future<Output = Result<u64, Error>> {
    async move { Ok(id) }
}

#[idempotent(key = id)]
fn boxed(id: u64) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, Error>>>> {
    let future = async move { Ok(id) };
    Box::pin(future)
}

fn main() {}
