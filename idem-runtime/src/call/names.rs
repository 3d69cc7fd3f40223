//! The names that functions of this program took.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Ran};

/// The place in the source of each named function. A few comparisons find it sooner than a hash.
static NAMES: RwLock<BTreeMap<String, &'static str>> = RwLock::new(BTreeMap::new());

/// Two functions with one name would share records: the second one is refused.
pub(crate) fn check(name: &str, site: &'static str) -> Result<(), Error> {
    let other = {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names.get(name).copied()
    };
    let known = other.unwrap_or_else(|| {
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        *names.entry(name.to_owned()).or_insert(site)
    });
    if known == site {
        return Ok(());
    }
    let message = format!("the functions at {known} and {site} share this name");
    Err(Error::new(ErrorKind::DuplicateName, Ran::No, message).about_name(name))
}
