//! The open stores of this process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use crate::error::Error;
use crate::scope::context;
use crate::store::{Inner, Store};
use crate::sync::lock;

/// The open stores of this process, by the path of their database. One thread at a time opens a store.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Inner>>>> = Mutex::new(None);

/// Returns the store that is open at `path`, or opens it. Refuses a store that this process has inherited in a fork.
pub(super) fn find_or_open(path: &Path, open: impl FnOnce() -> Result<Inner, Error>) -> Result<Store, Error> {
    let mut stores = lock(&OPEN);
    let stores = stores.get_or_insert_default();
    stores.retain(|_, store| store.strong_count() > 0);
    if let Some(inner) = stores.get(path).and_then(Weak::upgrade) {
        if !inner.engine.state.is_of_this_process() {
            return Err(Error::forked());
        }
        if context::check_usable(&inner.engine.state).is_ok() {
            return Ok(Store { inner });
        }
    }
    let inner = Arc::new(open()?);
    stores.insert(path.to_owned(), Arc::downgrade(&inner));
    Ok(Store { inner })
}
