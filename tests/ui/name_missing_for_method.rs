use idem_runtime::{Error, idempotent};

#[derive(serde::Serialize)]
struct Shop {
    id: u64,
}

impl Shop {
    #[idempotent(key = self.id)]
    fn by_reference(&self) -> Result<u64, Error> {
        Ok(1)
    }

    #[idempotent(key = shop.id)]
    fn mentions_self(shop: &Self) -> Result<u64, Error> {
        Ok(shop.id)
    }
}

fn main() {}
