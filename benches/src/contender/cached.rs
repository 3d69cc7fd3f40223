//! The crate `cached` with its disk store (redb). It has no claim, so two callers can run the body at once.

use std::path::Path;

use cached::{ConcurrentCached, RedbCache};

use super::Contender;
use crate::lap::Caller;
use crate::{Outcome, result};

/// A durable disk store, the default of the crate.
#[derive(Debug)]
pub struct Cached(RedbCache<String, String>);

impl Cached {
    /// Creates a database in `folder`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Outcome<Cached> {
        Ok(Cached(RedbCache::builder("calls").disk_dir(folder).durable(true).build()?))
    }
}

impl Contender for Cached {
    fn name(&self) -> &'static str {
        "cached 4 on disk (no claim)"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        Ok(Box::new(CachedCaller(&self.0)))
    }
}

struct CachedCaller<'a>(&'a RedbCache<String, String>);

impl Caller for CachedCaller<'_> {
    fn first(&mut self, key: &str) -> Outcome<()> {
        let key = key.to_owned();
        if self.0.cache_get(&key)?.is_some() {
            return Err("the key is taken".into());
        }
        self.0.cache_set(key, result())?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        self.0.cache_get(&key.to_owned())?.map(drop).ok_or_else(|| "there is no result".into())
    }
}
