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

type Name<'a> = Result<&'a str, Error>;
type Named<T> = Result<T, Error>;

#[idempotent(key = id)]
fn behind_an_alias(id: &str) -> Name<'_> {
    Ok(id)
}

#[idempotent(key = id)]
async fn in_an_alias(id: &str) -> Named<&str> {
    Ok(id)
}

// Correct: the alias borrows nothing.
#[idempotent(key = id)]
fn owned(id: &str) -> Named<String> {
    Ok(id.to_owned())
}

fn main() {}
