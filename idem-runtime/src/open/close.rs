//! Closing a store through one of its handles.

use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::scope::context;
use crate::store::{Store, inner};

impl Store {
    /// Closes the store, after its running calls have ended and their outcomes are written.
    ///
    /// `close` closes every handle of the store, and waits 30 s at most for running calls and pending writes. If the
    /// store is closed already, `close` does nothing. A program can open the database again afterwards.
    ///
    /// # Errors
    /// - [`ErrorKind::Running`](crate::ErrorKind::Running) if calls still run after 30 s, and at once inside of a call of
    ///   the same store. The store stays open.
    /// - [`ErrorKind::NotRecorded`](crate::ErrorKind::NotRecorded) if an outcome could not be written within 30 s.
    /// - [`ErrorKind::Store`](crate::ErrorKind::Store) if the database could not be closed in good order.
    pub fn close(&self) -> Result<(), Error> {
        let store_id = &self.inner.engine.state.settings.store_id;
        if context::scope().call.as_ref().is_some_and(|call| call.is_of_store(store_id)) {
            let message = "the store cannot be closed inside of one of its own calls";
            return Err(Error::new(ErrorKind::Running, Ran::No, message).advise(Advice::CloseOutside));
        }
        self.inner.close(inner::CLOSE_WAIT)
    }
}
