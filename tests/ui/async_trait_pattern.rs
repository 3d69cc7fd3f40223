use async_trait::async_trait;
use idem_runtime::{Error, idempotent};

#[async_trait]
trait Pay {
    async fn pay(&self, id: u64, point: (u64, u64)) -> Result<u64, Error>;
}

struct Card;

#[async_trait]
impl Pay for Card {
    #[idempotent(name = "card.pay", key = id, skip(self))]
    async fn pay(&self, id: u64, (x, y): (u64, u64)) -> Result<u64, Error> {
        Ok(id + x + y)
    }
}

fn main() {}
