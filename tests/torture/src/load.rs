//! Part 9: load. Live traffic while everything else goes on; memory, threads and files stay bounded.

mod footprint;
mod herd;
mod snapshot;
mod tasks;
mod traffic;
mod waiters;

use std::time::Duration;

use idem_runtime::{Error, Store};

use crate::frame::{Options, Report, fast_folder};
use crate::shared::call;

const NAME: &str = "load.effect";
const LONG: Duration = Duration::from_secs(120);
/// A thousand threads with the default stack would measure stacks.
const STACK_BYTES: usize = 256 << 10;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    vec![
        traffic::run(options),
        snapshot::run(options),
        tasks::run(options),
        waiters::run(options),
        herd::run(options),
    ]
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = fast_folder();
    let store = Store::open(folder.path().join("idem.db")).expect("a store");
    (folder, store)
}

fn make(store: &Store, key: &str, body: impl FnOnce() -> Result<u64, Error>) -> Result<u64, Error> {
    call(NAME).store(store).key(key).wait(LONG).run(body)
}
