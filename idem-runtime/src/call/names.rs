//! The names of functions in this process: one name, one function.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Ran};

/// The place in the source of each named function. For short maps, comparisons are faster than a hash.
static NAMES: RwLock<BTreeMap<String, &'static str>> = RwLock::new(BTreeMap::new());

/// Refuses a second function with the same name, because the two functions would share records.
pub(crate) fn check(name: &str, site: &'static str) -> Result<(), Error> {
    let known = {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names.get(name).copied()
    };
    let known = known.unwrap_or_else(|| {
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        *names.entry(name.to_owned()).or_insert(site)
    });
    if known == site {
        return Ok(());
    }
    let message = format!("the functions at {known} and {site} share this name");
    Err(Error::new(ErrorKind::DuplicateName, Ran::No, message).about_name(name))
}
