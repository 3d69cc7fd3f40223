//! Methods that `#[async_trait]` has boxed before `#[idempotent]` sees them.

use std::sync::Arc;

use async_trait::async_trait;
use idem_runtime::{Error, idempotent};
use serde::Serialize;
use tokio::task::yield_now;

use crate::support::runs_once::{fresh, runs_once_async};

#[derive(Clone, Serialize)]
struct Order {
    id: u64,
}

#[async_trait]
trait Pay: Sync {
    async fn pay(&self, order: &Order, note: String) -> Result<u64, Error>;

    async fn generic<T: Serialize + Send + Sync>(&self, id: u64, value: T) -> Result<T, Error>
    where
        T: serde::de::DeserializeOwned,
        Self: Sized;

    async fn owned(self: Arc<Self>, id: u64) -> Result<u64, Error>;

    #[idempotent(name = "boxed.refund", key = order.id, skip(self))]
    async fn refund(&self, order: Order) -> Result<u64, Error> {
        yield_now().await;
        let Order { id } = order;
        Ok(fresh() + id - id)
    }
}

struct Card {
    fee: u64,
}

#[async_trait]
impl Pay for Card {
    #[idempotent(name = "boxed.pay", key = (self.fee, order.id), skip(self), on_err = in_doubt)]
    async fn pay(&self, order: &Order, mut note: String) -> Result<u64, Error> {
        note.push('!');
        if order.id == u64::MAX {
            return self.refund(order.clone()).await;
        }
        yield_now().await;
        Ok(fresh() + self.fee)
    }

    #[idempotent(name = "boxed.generic", key = id, skip(self))]
    async fn generic<T: Serialize + Send + Sync>(&self, id: u64, value: T) -> Result<T, Error>
    where
        T: serde::de::DeserializeOwned,
    {
        yield_now().await;
        let _ = id;
        Ok(value)
    }

    #[idempotent(name = "boxed.owned", key = id, skip(self))]
    async fn owned(self: Arc<Self>, id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + self.fee + id - id)
    }
}

struct Local;

#[async_trait(?Send)]
trait Wait {
    async fn wait(&mut self, id: u64) -> Result<u64, Error>;
}

#[async_trait(?Send)]
impl Wait for Local {
    #[idempotent(name = "boxed.wait", key = id, skip(self))]
    async fn wait(&mut self, id: u64) -> Result<u64, Error> {
        let local = std::rc::Rc::new(id);
        yield_now().await;
        Ok(fresh() + *local - id)
    }
}

#[test]
fn boxed_methods_run_once() {
    let card = Arc::new(Card { fee: 7 });
    runs_once_async(|n| {
        let card = Arc::clone(&card);
        async move { card.pay(&Order { id: n }, "note".to_owned()).await }
    });
    runs_once_async(|n| card.refund(Order { id: n }));
    runs_once_async(|n| card.generic(n, n));
    runs_once_async(|n| Arc::clone(&card).owned(n));
    runs_once_async(|n| async move { Local.wait(n).await });
}

#[test]
fn boxed_methods_work_behind_dyn() {
    #[async_trait]
    trait Charge: Send + Sync {
        async fn charge(&self, id: u64) -> Result<u64, Error>;
    }
    struct Bank;
    #[async_trait]
    impl Charge for Bank {
        #[idempotent(name = "boxed.charge", key = id, skip(self))]
        async fn charge(&self, id: u64) -> Result<u64, Error> {
            Ok(fresh() + id - id)
        }
    }
    let bank: Arc<dyn Charge> = Arc::new(Bank);
    runs_once_async(|n| {
        let bank = Arc::clone(&bank);
        async move { bank.charge(n).await }
    });
}
