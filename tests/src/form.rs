//! One test for every way a call is made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use idem_runtime::on_err::ErrPolicy;
use idem_runtime::{Call, Error, ErrorKind, IntoError, Outcome, Seen, observe};

use crate::{deadline, plain};

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `run`, on the caller's thread.
    Sync,
    /// `run_async`, on tokio.
    Tokio,
    /// `run_async`, on the executor of [`plain`].
    Plain,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 3] = [Form::Sync, Form::Tokio, Form::Plain];

    /// Makes the call with a body that, where it is async, is polled twice.
    pub fn make<R, P, M>(self, call: Call<P, M>, body: impl FnOnce() -> R) -> R
    where
        R: Outcome,
        P: ErrPolicy<R::Err>,
        M: IntoError<R::Err>,
    {
        match self {
            Form::Sync => call.run(body),
            Form::Tokio => tokio_alone().block_on(call.run_async(|| soon(body))),
            Form::Plain => plain::block_on(call.run_async(|| soon(body))),
        }
    }

    /// Makes the call with a body that panics: it is in doubt from then on.
    ///
    /// # Panics
    /// If the call does not panic, because its body did not run.
    pub fn cut_off<P, M>(self, call: Call<P, M>)
    where
        P: ErrPolicy<String>,
        M: IntoError<String>,
    {
        let body = || -> Result<u32, String> { panic!("cut off on purpose") };
        let cut = catch_unwind(AssertUnwindSafe(|| self.make(call, body)));
        assert!(cut.is_err(), "the body did not run: {cut:?}");
    }

    /// Makes the call on a thread of its own, and observes it.
    pub fn spawn<R, P, M>(
        self,
        call: Call<P, M>,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<(R, Option<Seen>)>
    where
        R: Outcome + Send + 'static,
        P: ErrPolicy<R::Err> + Send + 'static,
        M: IntoError<R::Err> + Send + 'static,
        Call<P, M>: Send,
    {
        thread::spawn(move || observe(|| self.make(call, body)))
    }
}

/// The kind of an error, for `map_err`.
#[allow(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
pub fn kind(error: Error) -> ErrorKind {
    error.kind()
}

async fn soon<R>(body: impl FnOnce() -> R) -> R {
    plain::yield_now().await;
    body()
}

/// A tokio runtime on this thread.
///
/// # Panics
/// If there can be none.
pub fn tokio_alone() -> tokio::runtime::Runtime {
    deadline::start();
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs the test once for every form, each on a thread of its own so that a failure names the form.
///
/// # Panics
/// If the test does.
pub fn in_every_form(test: impl Fn(Form) + Send + Sync + 'static) {
    deadline::start();
    let test = Arc::new(test);
    for form in Form::ALL {
        let test = Arc::clone(&test);
        let thread = thread::Builder::new().name(format!("{form:?}")).spawn(move || {
            deadline::start();
            test(form);
        });
        assert!(thread.expect("a thread").join().is_ok(), "failed in the form {form:?}");
    }
}
