//! The program's store.

use once_cell::sync::OnceCell;

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::scope::context;
use crate::store::Store;

static GLOBAL: OnceCell<Store> = OnceCell::new();

/// Makes `store` the store of every call that names none. Once per program; the same store again is fine.
///
/// ```no_run
/// let store = idem_runtime::Store::open("idem.db")?;
/// idem_runtime::init(store.clone())?;
/// // … the program …
/// store.close()?;
/// # Ok::<(), idem_runtime::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Store`] if there is another one already.
#[expect(clippy::needless_pass_by_value, reason = "the program hands its store over, and may keep a clone")]
pub fn init(store: Store) -> Result<(), Error> {
    let known = GLOBAL.get_or_init(|| store.clone());
    if known.same_as(&store) {
        return Ok(());
    }
    let message = format!("`init` was called with another store before: `{}`", known.path().display());
    Err(Error::store(message).advise(Advice::SecondStore))
}

/// The same, opening the store only if there is none yet; gives the program's store.
///
/// ```
/// let store = idem_runtime::init_with(idem_runtime::Store::temporary)?;
/// assert_eq!(store.path(), idem_runtime::init_with(idem_runtime::Store::temporary)?.path());
/// # Ok::<(), idem_runtime::Error>(())
/// ```
///
/// # Errors
/// What `open` says; the next call tries again.
pub fn init_with(open: impl FnOnce() -> Result<Store, Error>) -> Result<Store, Error> {
    GLOBAL.get_or_try_init(open).cloned()
}

/// The store in scope, else the program's.
pub(crate) fn store() -> Result<Store, Error> {
    let scope = context::scope();
    scope.store.as_ref().or_else(|| GLOBAL.get()).cloned().ok_or_else(|| {
        Error::new(ErrorKind::NotInitialised, Ran::No, "the call names no store and the program set none")
    })
}
