//! Every shape of an async function runs once and is replayed.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
};

use idem_runtime::{Error, Store, idempotent, with_store};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::yield_now;

use crate::support::runs_once::{fresh, runs_once_async};

#[derive(Clone, Serialize)]
struct Order {
    id: String,
    cents: u64,
}

fn order(n: u64) -> Order {
    Order { id: format!("o{n}"), cents: 100 }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn plain_functions() {
    #[idempotent(name = "shapes_async.waits", key = id)]
    async fn waits(id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + id - id)
    }
    #[idempotent(name = "shapes_async.borrows", key = order.id)]
    async fn borrows(order: &Order, tenant: &str) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + order.cents + u64::from(tenant.is_empty()))
    }
    #[idempotent(name = "shapes_async.owns", key = (tenant, order.id))]
    async fn owns(order: Order, mut tenant: String) -> Result<u64, Error> {
        tenant.push('!');
        yield_now().await;
        drop((order, tenant));
        Ok(fresh())
    }
    #[idempotent(name = "shapes_async.early", key = n)]
    async fn early(n: u64) -> io::Result<u64> {
        let text = String::from_utf8(n.to_string().into_bytes()).map_err(io::Error::other)?;
        if text.is_empty() {
            return Err(io::Error::other("empty"));
        }
        yield_now().await;
        Ok(fresh())
    }
    #[idempotent(name = "shapes_async.awaited_key", key = number(text).await?, map_err = |error| error.to_string().into())]
    async fn awaited_key(text: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(fresh() + u64::from(text.is_empty()))
    }
    async fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
        yield_now().await;
        text.parse()
    }
    runs_once_async(|n| is_send(waits(n)));
    runs_once_async(|n| async move { is_send(borrows(&order(n), "eu")).await });
    runs_once_async(|n| is_send(owns(order(n), "eu".to_owned())));
    runs_once_async(|n| is_send(early(n)));
    runs_once_async(|n| async move { is_send(awaited_key(&n.to_string())).await });
}

#[test]
fn futures_that_are_not_send() {
    #[idempotent(name = "shapes_async.local", key = n, skip(log))]
    async fn local(n: u64, log: Rc<RefCell<Vec<u64>>>) -> Result<u64, Error> {
        log.borrow_mut().push(n);
        yield_now().await;
        Ok(fresh() + log.borrow().len() as u64)
    }
    let log = Rc::new(RefCell::new(Vec::new()));
    runs_once_async(|n| local(n, Rc::clone(&log)));
    assert_eq!(*log.borrow(), [1, 2]);
}

/// An argument may be `Send` without being `Sync`: it is moved into the body, not borrowed by it.
#[test]
fn arguments_that_are_not_sync() {
    #[idempotent(name = "shapes_async.celled", key = n, skip(cell))]
    async fn celled(n: u64, cell: Cell<u64>) -> Result<u64, Error> {
        cell.set(n);
        yield_now().await;
        Ok(fresh() + cell.get())
    }
    runs_once_async(|n| is_send(celled(n, Cell::new(0))));
}

#[test]
fn methods_with_every_receiver() {
    #[derive(Clone, Serialize)]
    struct Shop {
        id: u64,
        sold: u64,
    }
    impl Shop {
        #[idempotent(name = "async_shop.by_ref", key = self.id)]
        async fn by_ref(&self) -> Result<u64, Error> {
            yield_now().await;
            Ok(fresh() + self.sold)
        }
        #[idempotent(name = "async_shop.by_mut", key = self.id, skip(self))]
        async fn by_mut(&mut self) -> Result<u64, Error> {
            yield_now().await;
            self.sold += 1;
            Ok(fresh())
        }
        #[idempotent(name = "async_shop.by_value", key = self.id)]
        async fn by_value(mut self) -> Result<u64, Error> {
            yield_now().await;
            self.sold += 1;
            Ok(fresh() + self.sold)
        }
        #[idempotent(name = "async_shop.by_arc", key = self.id, skip(self))]
        async fn by_arc(self: Arc<Self>) -> Result<u64, Error> {
            yield_now().await;
            Ok(fresh() + self.sold)
        }
        #[idempotent(name = "async_shop.by_pin", key = self.id, skip(self))]
        async fn by_pin(mut self: Pin<&mut Self>) -> Result<u64, Error> {
            yield_now().await;
            self.as_mut().sold += 1;
            Ok(fresh())
        }
        #[idempotent(name = "async_shop.without", key = id)]
        async fn without(id: u64) -> Result<u64, Error> {
            Ok(fresh() + id - id)
        }
    }
    let shop = |id| Shop { id, sold: 0 };
    runs_once_async(|n| async move { is_send(shop(n).by_ref()).await });
    runs_once_async(|n| async move { is_send(shop(n).by_mut()).await });
    runs_once_async(|n| is_send(shop(n).by_value()));
    runs_once_async(|n| is_send(Arc::new(shop(n)).by_arc()));
    runs_once_async(|n| async move { is_send(Pin::new(&mut shop(n)).by_pin()).await });
    runs_once_async(Shop::without);
}

#[test]
fn methods_of_traits() {
    trait Pay {
        async fn pay(&self, id: u64) -> Result<u64, Error>;
        #[idempotent(name = "async_trait.refund", key = id, skip(self))]
        async fn refund(&self, id: u64) -> Result<u64, Error> {
            yield_now().await;
            Ok(fresh() + id - id)
        }
    }
    struct Card;
    impl Pay for Card {
        #[idempotent(name = "async_card.pay", key = id, skip(self))]
        async fn pay(&self, id: u64) -> Result<u64, Error> {
            yield_now().await;
            Ok(fresh() + id - id)
        }
    }
    runs_once_async(|n| async move { is_send(Card.pay(n)).await });
    runs_once_async(|n| async move { Card.refund(n).await });
}

#[test]
fn generics_patterns_and_cfg() {
    #[idempotent(name = "shapes_async.generic", key = value)]
    async fn generic<T: Serialize + Display>(value: T) -> Result<String, Error> {
        yield_now().await;
        Ok(format!("{value}{}", fresh()))
    }
    #[idempotent(name = "shapes_async.told_apart", key = (size_of::<T>(), n), same_for_types)]
    async fn told_apart<T: Default + Serialize + DeserializeOwned>(n: u64) -> Result<(T, u64), Error> {
        Ok((T::default(), fresh() + n - n))
    }
    #[idempotent(name = "shapes_async.impl_argument", key = text.as_ref(), skip(text))]
    async fn impl_argument(text: impl AsRef<str>) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + u64::from(text.as_ref().is_empty()))
    }
    #[idempotent(name = "shapes_async.taken_apart", key = (a, b))]
    async fn taken_apart<'a>((a, b): (u64, &'a str), _: &'a str) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + a - a + u64::from(b.is_empty()))
    }
    #[idempotent(name = "shapes_async.gated", key = id)]
    async fn gated(
        #[cfg(any(unix, windows))] id: u64,
        #[cfg(miri)] never: &Store,
        call: u8,
    ) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + u64::from(call))
    }
    #[idempotent(name = "shapes_async.recursive", key = n)]
    async fn recursive(n: u64) -> Result<u64, Error> {
        if n == 0 { Ok(fresh()) } else { Ok(Box::pin(recursive(n - 1)).await? + 1) }
    }
    runs_once_async(|n| is_send(generic(n)));
    runs_once_async(|n| is_send(told_apart::<u8>(n)));
    runs_once_async(|n| is_send(impl_argument(n.to_string())));
    runs_once_async(|n| is_send(taken_apart((n, "b"), "_")));
    runs_once_async(|n| is_send(gated(n, 1)));
    runs_once_async(|n| is_send(recursive(3 * n)));
}

#[test]
fn store_as_an_argument() {
    #[idempotent(name = "shapes_async.given", key = id, store = store)]
    async fn given(store: Store, id: u64) -> Result<u64, Error> {
        yield_now().await;
        drop(store);
        Ok(fresh() + id - id)
    }
    let store = Store::temporary().unwrap();
    runs_once_async(|n| is_send(given(store.clone(), n)));
}

/// The body drops its locals and then its arguments, as without the attribute.
#[test]
fn arguments_are_dropped_after_locals() {
    struct Noisy(&'static str, Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }
    #[idempotent(name = "shapes_async.annotated", key = n, skip(argument))]
    async fn annotated(n: u64, argument: Noisy) -> Result<u64, Error> {
        let _local = Noisy("local", Arc::clone(&argument.1));
        yield_now().await;
        Ok(n)
    }
    let log = Arc::new(Mutex::new(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    with_store(&Store::temporary().unwrap(), || {
        runtime.block_on(annotated(1, Noisy("argument", Arc::clone(&log)))).unwrap();
    });
    assert_eq!(*log.lock().unwrap(), ["local", "argument"]);
}
