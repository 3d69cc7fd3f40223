//! Assertions for the tests of shapes.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use idem_runtime::{Store, with_store};
use idem_tests::deadline;
use idem_tests::form::tokio_alone;

/// A number that no other run gets: two calls that give the same one ran once.
pub(crate) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1_000, Ordering::Relaxed)
}

/// Calls with 1, 1 and 2: the second call is a replay of the first, the third is not.
pub(crate) fn runs_once<T: Debug + PartialEq, E: Debug>(mut call: impl FnMut(u64) -> Result<T, E>) {
    deadline::start();
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let first = call(1).unwrap();
        assert_eq!(call(1).unwrap(), first, "the second call is a replay");
        assert_ne!(call(2).unwrap(), first, "another key runs");
    });
}

/// The same for async functions.
pub(crate) fn runs_once_async<T, E, F>(mut call: impl FnMut(u64) -> F)
where
    T: Debug + PartialEq,
    E: Debug,
    F: Future<Output = Result<T, E>>,
{
    let runtime = tokio_alone();
    runs_once(|n| runtime.block_on(call(n)));
}
