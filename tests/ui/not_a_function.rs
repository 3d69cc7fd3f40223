use idem_runtime::{Error, idempotent};

#[idempotent(key = id)]
struct Order {
    id: u64,
}

#[idempotent(key = self.id)]
impl Order {
    fn charge(&self) -> Result<u64, Error> {
        Ok(self.id)
    }
}

#[idempotent(key = 1)]
const LIMIT: u64 = 1;

fn main() {
    let _ = (Order { id: LIMIT }).charge();
}
