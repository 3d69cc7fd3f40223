use idem_runtime::{Error, idempotent};

trait Pay {
    #[idempotent(name = "pay", key = id)]
    fn pay(&self, id: u64) -> Result<u64, Error>;
}

fn main() {}
