use idem_runtime::{Error, Verdict, idempotent};

async fn ask(id: &u64) -> Result<Verdict<u64>, Error> {
    let _ = id;
    Ok(Verdict::Unknown)
}

fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.parse()
}

#[idempotent(key = id, on_interrupt = recover(ask(&id).await?))]
async fn at_the_end(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = recover(Verdict::Done(parse(id)?)), map_err = |error| error.to_string())]
fn inside(id: &str) -> Result<u64, String> {
    Ok(id.len() as u64)
}

// Correct: the hook gives a `Result`, so it may use `?`.
#[idempotent(key = id, on_interrupt = recover(ask(&id).await))]
async fn whole(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent(key = id, on_interrupt = recover({
    let verdict = ask(&id).await?;
    Ok::<_, Error>(verdict)
}))]
async fn block(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
