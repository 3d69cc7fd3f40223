//! The default store of the program.

use once_cell::sync::OnceCell;

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::scope::context;
use crate::store::Store;

/// The default stores, in the order of `init`: the last one counts. Closed stores stay in the list, so that a call
/// reads the last store without a lock.
static FIRST: OnceCell<Box<Node>> = OnceCell::new();

#[derive(Debug)]
struct Node {
    store: Store,
    next: OnceCell<Box<Node>>,
}

impl Node {
    fn new(store: Store) -> Node {
        Node { store, next: OnceCell::new() }
    }

    /// The last store that `init` was given.
    fn last() -> Option<&'static Node> {
        let mut last = FIRST.get()?;
        while let Some(next) = last.next.get() {
            last = next;
        }
        Some(last)
    }

    /// The place of the default store: that of the open store, or a free place behind the closed stores.
    fn place() -> &'static OnceCell<Box<Node>> {
        let mut place = &FIRST;
        while let Some(closed) = place.get().filter(|node| node.store.is_closed()) {
            place = &closed.next;
        }
        place
    }
}

/// Makes `store` the default store of the program.
///
/// The store serves every call that names no store and is in no scope of [`with_store`](crate::with_store). A second
/// call with the same store does nothing. Once the default store is closed, another one can take its place.
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
/// [`ErrorKind::Store`] if the program has another default store that is open.
#[expect(clippy::needless_pass_by_value, reason = "the program hands its store over, and may keep a clone")]
pub fn init(store: Store) -> Result<(), Error> {
    let known = &Node::place().get_or_init(|| Box::new(Node::new(store.clone()))).store;
    if known.same_as(&store) {
        return Ok(());
    }
    let message = format!("`init` was called with another store before: `{}`", known.path().display());
    Err(Error::store(message).advise(Advice::SecondStore))
}

/// Returns the default store of the program, and opens it with `open` if there is none yet.
///
/// ```
/// let store = idem_runtime::init_with(idem_runtime::Store::temporary)?;
/// assert_eq!(store.path(), idem_runtime::init_with(idem_runtime::Store::temporary)?.path());
/// # Ok::<(), idem_runtime::Error>(())
/// ```
///
/// # Errors
/// The error of `open`. The next call tries again.
pub fn init_with(open: impl FnOnce() -> Result<Store, Error>) -> Result<Store, Error> {
    Node::place().get_or_try_init(|| open().map(Node::new).map(Box::new)).map(|node| node.store.clone())
}

/// The store in scope, else the default store of the program.
pub(crate) fn store() -> Result<Store, Error> {
    let scope = context::scope();
    scope.store.as_ref().or_else(|| Node::last().map(|node| &node.store)).cloned().ok_or_else(|| {
        Error::new(ErrorKind::NotInitialised, Ran::No, "the call names no store and the program set none")
    })
}
