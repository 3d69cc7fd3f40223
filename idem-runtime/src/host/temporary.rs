//! Folders for temporary stores.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// The number of names that are tried.
const TRIES_MAX: u32 = 16;

/// Creates a private folder with an unguessable name.
pub(crate) fn folder() -> Result<PathBuf, Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut last = None;
    for _ in 0..TRIES_MAX {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The hasher's keys are random.
        let random = RandomState::new().hash_one((std::process::id(), count));
        let path = std::env::temp_dir().join(format!("idem-{random:016x}"));
        match crate::host::platform::private_folder().create(&path) {
            Ok(()) => return Ok(path),
            Err(error) => last = Some(error),
        }
    }
    let error = Error::store(format!(
        "no temporary folder can be created under `{}`",
        std::env::temp_dir().display()
    ));
    Err(match last {
        Some(cause) => error.because(cause),
        None => error,
    })
}
