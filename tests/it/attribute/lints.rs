//! Generated code under every lint that a user can deny.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::pedantic,
    clippy::nursery,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::implicit_return,
    clippy::question_mark_used,
    clippy::let_underscore_untyped,
    clippy::let_underscore_must_use,
    clippy::shadow_reuse,
    clippy::shadow_same,
    clippy::shadow_unrelated,
    clippy::blanket_clippy_restriction_lints,
    clippy::absolute_paths,
    clippy::semicolon_outside_block,
    clippy::str_to_string,
    clippy::default_numeric_fallback,
    clippy::single_call_fn,
    clippy::min_ident_chars,
    clippy::pattern_type_mismatch,
    clippy::ref_patterns,
    clippy::redundant_type_annotations,
    clippy::exhaustive_structs,
    clippy::use_debug,
    clippy::std_instead_of_core
)]
#![allow(
    clippy::single_call_fn,
    clippy::needless_return,
    clippy::question_mark_used,
    reason = "about the user's own code here, not about what is generated"
)]

use core::time::Duration;

use idem_runtime::{Error, OnErr, OnInterrupt, Store, Verdict, idempotent, with_store};
use rusqlite::Connection;
use serde::Serialize;
use tokio::{runtime::Builder, task::yield_now};

#[derive(Clone, Debug, Serialize)]
struct Order {
    id: String,
    cents: u64,
}

impl Order {
    #[idempotent(name = "strict.total", key = self.id, keep_result = "0s")]
    fn total(&self, vat: u64) -> Result<u64, Error> {
        return Ok(self.cents.saturating_add(vat));
    }

    #[idempotent(name = "strict.rename", key = self.id, skip(self), on_interrupt = rerun(2))]
    async fn rename(&mut self, name: &str) -> Result<(), Error> {
        name.clone_into(&mut self.id);
        yield_now().await;
        return Ok(());
    }

    #[idempotent(name = "strict.consume", key = self.id, skip(self), store = store)]
    async fn consume(mut self, store: &Store) -> Result<u64, Error> {
        self.cents = self.cents.saturating_sub(1);
        yield_now().await;
        return Ok(self.cents);
    }
}

/// Everything at once.
#[idempotent(
    name = "strict.charge",
    was("strict.pay"),
    key = (tenant, order.id),
    ttl = "365d",
    keep_result = "120s",
    wait = Duration::from_secs(1),
    on_err = in_doubt,
    on_interrupt = OnInterrupt::Refuse,
    codec = json,
    map_err = |error| return error.to_string()
)]
fn charge(order: &Order, tenant: &str, _unused: u8, mut cents: u64) -> Result<u64, String> {
    cents = cents.checked_add(order.cents).ok_or_else(|| return tenant.to_owned())?;
    return Ok(cents);
}

#[idempotent(key = id)]
async fn unit(id: u64, #[cfg(unix)] extra: u64) -> Result<(), Error> {
    if id == extra {
        return Ok(());
    }
    yield_now().await;
    return Ok(());
}

#[idempotent(key = id)]
fn never_ends(id: u64) -> Result<u64, Error> {
    loop {
        if id > 0 {
            return Ok(id);
        }
    }
}

#[idempotent(key = id, skip(_permit))]
async fn permitted(id: u64, _permit: String) -> Result<u64, Error> {
    yield_now().await;
    return Ok(id);
}

#[idempotent(key = id, skip(_permit), detach, on_interrupt = recover(ask(id).await))]
async fn detached(id: u64, _permit: String) -> Result<u64, Error> {
    yield_now().await;
    return Ok(id);
}

async fn ask(id: u64) -> Verdict<u64> {
    yield_now().await;
    return Verdict::Done(id);
}

#[idempotent(
    key = id,
    store = store,
    on_err = classify(|error: &String| return judge(error)),
    on_interrupt = recover(Verdict::<u64>::Unknown)
)]
fn judged(store: &Store, id: u64) -> Result<u64, String> {
    return id.checked_sub(1).ok_or_else(|| return store.path().display().to_string());
}

const fn judge(error: &str) -> OnErr {
    return if error.is_empty() { OnErr::InDoubt } else { OnErr::Remember };
}

#[idempotent(key = (id, &*why), on_interrupt = rerun(3), detach)]
async fn again(id: u64, why: String) -> Result<(), Error> {
    yield_now().await;
    drop((id, why));
    return Ok(());
}

#[idempotent(key = id, tx = conn, fingerprint = (id, "v1"))]
fn within(conn: &Connection, id: u64) -> Result<u64, Error> {
    return Ok(conn.changes().saturating_add(id));
}

#[test]
fn no_lint_fires_in_generated_code() -> Result<(), Error> {
    let store = Store::temporary()?;
    let order = Order { id: "o1".to_owned(), cents: 100 };
    let runtime = Builder::new_current_thread().build().map_err(|_error| return never());
    let memory = Connection::open_in_memory().map_err(|_error| return never());
    return with_store(&store, || {
        assert_eq!(charge(&order, "eu", 1, 1), Ok(101));
        assert_eq!(order.total(7)?, 107);
        assert_eq!(never_ends(1)?, 1);
        return runtime?.block_on(async {
            unit(1, 2).await?;
            permitted(1, "permit".to_owned()).await?;
            detached(1, "permit".to_owned()).await?;
            again(1, "late".to_owned()).await?;
            assert_eq!(judged(&store, 1), Ok(0));
            assert!(judged(&store, 0).is_err());
            assert!(memory.and_then(|conn| return within(&conn, 1)).is_err(), "there are no tables");
            order.clone().rename("o2").await?;
            order.clone().consume(&store).await?;
            return Ok(());
        });
    });
}

fn never() -> Error {
    unreachable!("a runtime starts")
}
