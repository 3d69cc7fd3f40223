//! The bounds of a call on its types, with compile errors of their own.
//!
//! Each trait stands for a serde bound and has one blanket implementation, marked `do_not_recommend`. If the bound fails,
//! the compiler prints the message below instead of a list of serde's types.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// An argument that is compared with the argument of the first call of the same key.
///
/// Implemented for everything that is [`Serialize`].
#[diagnostic::on_unimplemented(
    message = "an argument of type `{Self}` cannot be compared: `{Self}` is not `Serialize`",
    label = "this argument is compared with the one of the first call",
    note = "to leave it out, add `skip(…)` with the argument's name",
    note = "to compare something else, add `fingerprint = …`, for example `fingerprint = order.id`",
    note = "to compare it, derive `serde::Serialize` for its type; for an `Arc` or `Rc`, switch on serde's feature `rc`"
)]
pub trait Argument: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Argument for T {}

/// A key, or a part of one.
///
/// Implemented for everything that is [`Serialize`]. A value that cannot be a key (a float, a map, `None`, blank text) is
/// refused when the call is made.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key: it is not `Serialize`",
    label = "this must be text, an integer, a UUID, or a tuple or struct of these",
    note = "name the fields that identify the call, for example `key = (tenant, order.id)`",
    note = "or turn it into text, for example `key = order.id.to_string()`",
    note = "for an `Arc` or `Rc`, write `&**id`, or switch on serde's feature `rc`"
)]
pub trait KeyValue: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyValue for T {}

/// A result that can be stored and replayed.
///
/// Implemented for everything that is [`Serialize`] and [`DeserializeOwned`].
#[diagnostic::on_unimplemented(
    message = "a result of type `{Self}` cannot be stored: it is not `Serialize` and `DeserializeOwned`",
    label = "this result is stored, so that later calls can be answered with it",
    note = "derive both for it: `#[derive(serde::Serialize, serde::Deserialize)]`; \
            for an `Arc` or `Rc`, switch on serde's feature `rc`",
    note = "or return what identifies the result, for example its id; a type that borrows cannot be read back"
)]
pub trait Value: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Value for T {}

/// An error that can be stored and replayed, which `on_err = remember` needs.
///
/// Implemented for everything that is [`Serialize`] and [`DeserializeOwned`].
#[diagnostic::on_unimplemented(
    message = "an error of type `{Self}` cannot be remembered: it is not `Serialize` and `DeserializeOwned`",
    label = "`on_err = remember` stores this error, so that later calls can be answered with it",
    note = "derive both for it: `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "or let an error free the key (`on_err = release`) or leave the call in doubt (`on_err = in_doubt`)"
)]
pub trait ErrorValue: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> ErrorValue for T {}

/// The return type of an idempotent function: a `Result` whose `Ok` value can be stored.
///
/// Implemented for [`Result`] alone, also under an alias.
// The one implementation stays recommended: if a function returns a `Result`, the value inside fails the bound.
#[diagnostic::on_unimplemented(
    message = "an idempotent function must return a `Result`, not `{Self}`",
    label = "this must be `Result<_, _>`",
    note = "the call itself can fail: the store cannot be written, or the call is in doubt",
    note = "return a `Result<_, idem_runtime::Error>`, or use an error type that is `From<idem_runtime::Error>`",
    note = "if the function returns a future, make it an `async fn`"
)]
pub trait Outcome {
    /// The value that is stored.
    type Ok: Value;
    /// The error, which can also hold an [`Error`] of this crate.
    type Err;

    /// Converts the outcome into a plain `Result`.
    ///
    /// # Errors
    /// The error that the body returned.
    fn into_result(self) -> Result<Self::Ok, Self::Err>;

    /// Converts a plain `Result` into the outcome.
    fn from_result(result: Result<Self::Ok, Self::Err>) -> Self;
}

impl<T: Value, E> Outcome for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}

/// A conversion from the [`Error`] of this crate into the `E` of the function.
///
/// Implemented by [`FromError`], the default, and by every function from [`Error`] to `E`.
#[diagnostic::on_unimplemented(
    message = "an `idem_runtime::Error` cannot be returned as `{E}`",
    label = "the call itself can fail, and `{E}` has no room for that",
    note = "add `impl From<idem_runtime::Error> for {E}`",
    note = "or say how: `map_err = |error| …`, a function from `idem_runtime::Error` to `{E}`"
)]
pub trait IntoError<E> {
    /// Converts `error` into the error of the function.
    #[expect(clippy::wrong_self_convention, reason = "the argument is converted, not `self`")]
    fn into_error(&self, error: Error) -> E;
}

/// Converts an [`Error`] with the `From<Error>` of the function's error. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct FromError;

#[diagnostic::do_not_recommend]
impl<E: From<Error>> IntoError<E> for FromError {
    fn into_error(&self, error: Error) -> E {
        E::from(error)
    }
}

#[diagnostic::do_not_recommend]
impl<E, F: Fn(Error) -> E> IntoError<E> for F {
    fn into_error(&self, error: Error) -> E {
        self(error)
    }
}
