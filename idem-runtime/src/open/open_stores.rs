//! The open stores of this process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use crate::error::{Advice, Error};
use crate::open::asked::Asked;
use crate::scope::context;
use crate::store::{Inner, Store};
use crate::sync::lock;

/// A store that is open, and the settings that its first open asked for.
type Known = (Weak<Inner>, Asked);

/// The open stores of this process, by the path of their database. One thread at a time opens a store.
static OPEN: Mutex<Option<HashMap<PathBuf, Known>>> = Mutex::new(None);

/// Returns the store that is open at `path`, or opens it.
///
/// Refuses a store that this process has inherited in a fork, and one that is open with other settings.
pub(super) fn find_or_open(
    path: &Path,
    asked: Asked,
    open: impl FnOnce() -> Result<Inner, Error>,
) -> Result<Store, Error> {
    let mut stores = lock(&OPEN);
    let stores = stores.get_or_insert_default();
    stores.retain(|_, (store, _)| store.strong_count() > 0);
    let known = stores.get(path).and_then(|(store, settings)| Some((store.upgrade()?, settings)));
    if let Some((inner, settings)) = known {
        if !inner.engine.state.is_of_this_process() {
            return Err(Error::forked());
        }
        if context::check_usable(&inner.engine.state).is_ok() {
            refuse_other_settings(path, &asked.differing(settings))?;
            return Ok(Store { inner });
        }
    }
    let inner = Arc::new(open()?);
    stores.insert(path.to_owned(), (Arc::downgrade(&inner), asked));
    Ok(Store { inner })
}

fn refuse_other_settings(path: &Path, differing: &[&str]) -> Result<(), Error> {
    if differing.is_empty() {
        return Ok(());
    }
    let (path, differing) = (path.display(), differing.join(", "));
    let message = format!("`{path}` is open in this process with other settings: {differing}");
    Err(Error::store(message).advise(Advice::SameSettings))
}
