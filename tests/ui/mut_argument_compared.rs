use idem_runtime::{Error, idempotent};

use std::pin::Pin;

struct Buffer;

impl Buffer {
    #[idempotent(name = "buffer.fill", key = id)]
    fn fill(&mut self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[idempotent(name = "buffer.pinned", key = id)]
    fn pinned(self: Pin<&mut Self>, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

#[idempotent(key = id)]
fn charge(id: u64, log: &mut Vec<u64>) -> Result<u64, Error> {
    log.push(id);
    Ok(id)
}

fn main() {}
