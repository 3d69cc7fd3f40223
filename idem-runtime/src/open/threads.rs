//! The threads of an open store: the writer thread and the watcher.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::engine::Engine;
use crate::engine::state::StoreState;
use crate::error::Error;
use crate::host::store_path::StorePath;
use crate::store::Inner;

type WriterThread = JoinHandle<Result<(), Error>>;

/// Starts the threads of a store. If a thread cannot start, the store is closed.
pub(crate) fn start(engine: Arc<Engine>, path: &StorePath) -> Result<Inner, Error> {
    let threads = spawn(&engine).inspect_err(|_| {
        engine.state.watcher.close();
        drop(engine.take_writer());
    });
    let (writer, watcher) =
        threads.map_err(|error| Error::store("a thread of the store cannot be started").because(error))?;
    Ok(Inner::new(engine, path.database().to_owned(), writer, watcher))
}

fn spawn(engine: &Arc<Engine>) -> io::Result<(WriterThread, JoinHandle<()>)> {
    let (of_writer, of_watcher) = (Arc::clone(engine), Arc::clone(engine));
    let thread = |name: &str| Builder::new().name(name.to_owned());
    let watcher = thread("idem-watch").spawn(move || run_watcher(&of_watcher.state))?;
    let writer = thread("idem-writer").spawn(move || run_writer(&of_writer))?;
    Ok((writer, watcher))
}

/// Runs the watcher until the store closes. After a panic the watcher runs again: tasks rely on it for their deadlines.
fn run_watcher(state: &StoreState) {
    let run = || state.watcher.run(|claims| state.poll(claims));
    while catch_unwind(AssertUnwindSafe(run)).is_err() {}
}

/// Runs the writer until the store closes. After a panic every waiting caller gets an error.
pub(crate) fn run_writer(engine: &Engine) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| engine.run())).unwrap_or_else(|_| Err(engine.abort()))
}
