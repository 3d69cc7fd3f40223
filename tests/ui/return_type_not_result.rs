use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
fn number(id: u64) -> u64 {
    id
}

#[idempotent(key = id)]
async fn option(id: u64) -> Option<u64> {
    Some(id)
}

#[idempotent(key = id)]
fn unit(id: u64) -> () {
    let _ = id;
}

fn main() {
    let _: Option<Error> = None;
}
