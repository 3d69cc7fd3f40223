//! `#[idempotent]` above and below `#[tracing::instrument]` and among other attributes.

use async_trait::async_trait;
use idem_runtime::{Error, idempotent};
use tokio::task::yield_now;
use tracing::instrument;

use crate::support::runs_once::{fresh, runs_once, runs_once_async};

#[test]
fn above_instrument() {
    #[idempotent(name = "instrument.sync", key = id)]
    #[instrument(err, ret, skip_all, fields(id))]
    fn sync(id: u64, note: &str) -> Result<u64, Error> {
        Ok(fresh() + id - id + u64::from(note.is_empty()))
    }
    #[idempotent(name = "instrument.asynchronous", key = id)]
    #[instrument(err, ret)]
    async fn asynchronous(id: u64, note: String) -> Result<u64, Error> {
        yield_now().await;
        drop(note);
        Ok(fresh() + id - id)
    }
    runs_once(|n| sync(n, "note"));
    runs_once_async(|n| asynchronous(n, "note".to_owned()));
}

#[test]
fn below_instrument() {
    #[instrument(err, ret, skip_all, fields(id))]
    #[idempotent(name = "instrument.sync_below", key = id)]
    fn sync_below(id: u64, note: &str) -> Result<u64, Error> {
        Ok(fresh() + id - id + u64::from(note.is_empty()))
    }
    #[instrument(err, ret, level = "debug")]
    #[idempotent(name = "instrument.asynchronous_below", key = id)]
    async fn asynchronous_below(id: u64, note: String) -> Result<u64, Error> {
        yield_now().await;
        drop(note);
        Ok(fresh() + id - id)
    }
    runs_once(|n| sync_below(n, "note"));
    runs_once_async(|n| asynchronous_below(n, "note".to_owned()));
}

#[async_trait]
trait Pay: Sync {
    async fn above(&self, id: u64) -> Result<u64, Error>;
    async fn below(&self, id: u64) -> Result<u64, Error>;
}

struct Card;

#[async_trait]
impl Pay for Card {
    #[idempotent(name = "instrumented.above", key = id, skip(self))]
    #[instrument(err, ret, skip(self))]
    async fn above(&self, id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + id - id)
    }

    #[instrument(err, ret, skip(self))]
    #[idempotent(name = "instrumented.below", key = id, skip(self))]
    async fn below(&self, id: u64) -> Result<u64, Error> {
        yield_now().await;
        Ok(fresh() + id - id)
    }
}

#[test]
fn with_async_trait() {
    runs_once_async(|n| Card.above(n));
    runs_once_async(|n| Card.below(n));
}

#[test]
fn other_attributes_are_kept() {
    /// A doc comment.
    #[idempotent(name = "instrument.annotated", key = id)]
    #[deprecated = "for the test"]
    #[must_use]
    #[inline(never)]
    #[cfg(not(miri))]
    fn annotated(id: u64) -> Result<u64, Error> {
        Ok(fresh() + id - id)
    }
    #[allow(deprecated)]
    runs_once(annotated);
}
