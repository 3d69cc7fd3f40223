//! Our calls, from threads and from tasks.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use idem_runtime::{Error, OnInterrupt, Store, idempotent, install};
use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

use super::Contender;
use super::by_hand::connect;
use crate::lap::{Caller, Lap};
use crate::{Outcome, key, result};

#[idempotent(name = "bench.charge", key = key, skip(store), store = store)]
fn charge(store: &Store, key: &str) -> Result<String, Error> {
    Ok(result())
}

#[idempotent(name = "bench.charge_with", key = key, skip(store, mode), store = store, on_interrupt = mode)]
fn charge_with(store: &Store, key: &str, mode: OnInterrupt) -> Result<String, Error> {
    Ok(result())
}

#[idempotent(name = "bench.charge_tx", key = key, skip(conn), tx = conn)]
fn charge_tx(conn: &Connection, key: &str) -> Result<String, Error> {
    Ok(result())
}

#[idempotent(name = "bench.charge_async", key = key, skip(store), store = store)]
async fn charge_async(store: &Store, key: &str) -> Result<String, Error> {
    Ok(result())
}

/// The mode of `on_interrupt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The default.
    AtMostOnce,
    /// `on_interrupt = rerun`.
    Rerun,
}

/// Sync calls with one thread per caller.
#[derive(Debug)]
pub struct Threads {
    store: Store,
    mode: Mode,
}

impl Threads {
    /// Creates a store in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path, mode: Mode) -> Outcome<Threads> {
        Ok(Threads { store: Store::open(folder.join("ours.db"))?, mode })
    }

    /// Uses an open store.
    #[must_use]
    pub fn over(store: Store) -> Threads {
        Threads { store, mode: Mode::AtMostOnce }
    }
}

impl Contender for Threads {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::AtMostOnce => "idempotent, threads",
            Mode::Rerun => "idempotent, threads, rerun",
        }
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(ThreadCaller(self)))
    }
}

struct ThreadCaller<'a>(&'a Threads);

impl Caller for ThreadCaller<'_> {
    fn first(&mut self, key: &str) -> Outcome<()> {
        match self.0.mode {
            Mode::AtMostOnce => charge(&self.0.store, key)?,
            Mode::Rerun => charge_with(&self.0.store, key, OnInterrupt::rerun())?,
        };
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        self.first(key)
    }
}

/// Calls in the transaction of a user's connection.
#[derive(Debug)]
pub struct InTransaction(Mutex<Connection>);

impl InTransaction {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<InTransaction> {
        let conn = connect(&folder.join("ours-tx.db"), "")?;
        install(&conn)?;
        Ok(InTransaction(Mutex::new(conn)))
    }
}

impl Contender for InTransaction {
    fn name(&self) -> &'static str {
        "idempotent, tx"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(TransactionCaller(self)))
    }
}

struct TransactionCaller<'a>(&'a InTransaction);

impl Caller for TransactionCaller<'_> {
    fn first(&mut self, key: &str) -> Outcome<()> {
        let conn = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        charge_tx(&conn, key)?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        self.first(key)
    }
}

/// Async calls with one task per caller, on a tokio runtime with two workers.
#[derive(Debug)]
pub struct Tasks {
    store: Store,
    runtime: Runtime,
}

impl Tasks {
    /// Creates a store in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Tasks> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        Ok(Tasks { store: Store::open(folder.join("ours-async.db"))?, runtime })
    }
}

impl Contender for Tasks {
    fn name(&self) -> &'static str {
        "idempotent, tasks"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(TaskCaller(self)))
    }

    fn first_calls(&self, callers: usize, keys: Range<u64>) -> Outcome<Lap> {
        if callers == 1 {
            return super::threads(vec![self.caller()?], keys);
        }
        self.runtime.block_on(tasks(&self.store, callers, keys))
    }

    fn replays(&self, n: u64, times: usize) -> Outcome<Lap> {
        let key = key(n);
        self.runtime.block_on(async {
            charge_async(&self.store, &key).await?;
            let begun = Instant::now();
            for _ in 0..times {
                charge_async(&self.store, &key).await?;
            }
            let elapsed = begun.elapsed();
            Ok(Lap { elapsed, latencies: vec![elapsed / u32::try_from(times)?; times] })
        })
    }
}

async fn tasks(store: &Store, callers: usize, keys: Range<u64>) -> Outcome<Lap> {
    let ready = Arc::new(Barrier::new(callers + 1));
    let tasks: Vec<_> = (keys.start..)
        .take(callers)
        .map(|first| {
            let (store, ready, end) = (store.clone(), Arc::clone(&ready), keys.end);
            tokio::spawn(async move {
                let keys: Vec<_> = (first..end).step_by(callers).map(key).collect();
                let mut latencies = Vec::with_capacity(keys.len());
                ready.wait().await;
                for key in keys {
                    let begun = Instant::now();
                    charge_async(&store, &key).await?;
                    latencies.push(begun.elapsed());
                }
                Ok::<_, Error>(latencies)
            })
        })
        .collect();
    ready.wait().await;
    let begun = Instant::now();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(Lap { elapsed: begun.elapsed(), latencies })
}

/// A caller that makes one async call at a time.
struct TaskCaller<'a>(&'a Tasks);

impl Caller for TaskCaller<'_> {
    fn first(&mut self, key: &str) -> Outcome<()> {
        self.0.runtime.block_on(charge_async(&self.0.store, key))?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        self.first(key)
    }
}
