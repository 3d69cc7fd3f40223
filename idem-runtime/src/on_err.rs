//! The meaning of an `Err`: [`Release`], [`Remember`], [`InDoubt`], or [`Classify`] to decide for each error.

use crate::bounds::ErrorValue;
use crate::encoding::codec;
use crate::encoding::codec::{Codec, Stored};
use crate::policy::OnErr;

/// An `Err` releases the key: the effect did not happen. The default.
///
/// Do not release after a timeout: the effect may have happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Release;

/// An `Err` is final: it is stored and replayed like an `Ok`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remember;

/// An `Err` puts the call in doubt: the effect may have happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct InDoubt;

/// A function decides for each `Err`: `Fn(&E) -> OnErr`, or `Fn(&E) -> Unstored` if the error cannot be stored.
///
/// ```
/// use idem_runtime::{OnErr, Store, on_err::Classify};
///
/// let store = Store::temporary()?;
/// let classify = Classify(|error: &String| if error.contains("declined") { OnErr::Remember } else { OnErr::InDoubt });
/// let paid: Result<u32, String> =
///     idem_runtime::call("docs.classified").store(&store).key("A-17").on_err(classify).run(|| Err("declined".into()));
/// assert_eq!(paid, Err("declined".to_owned()));
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Classify<F>(pub F);

/// The meaning of an `Err` that is never stored, for [`Classify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstored {
    /// The effect did not happen; see [`OnErr::Release`].
    Release,
    /// The effect is unknown; see [`OnErr::InDoubt`].
    InDoubt,
}

const REMEMBERS_NONE: &str = "the record holds an error, and this call's `on_err` reads none";

/// The rule by which a call decides about its `Err`. The types of this module implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what an `Err` of type `{E}` means",
    label = "this must be `release`, `remember`, `in_doubt` or `classify(…)`",
    note = "the function in `classify(…)` takes `&{E}` and gives `idem_runtime::OnErr`"
)]
pub trait ErrPolicy<E> {
    #[doc(hidden)]
    fn judge(&self, error: &E) -> OnErr;

    /// The stored form of the error and the error read back from it; `None` if it cannot be stored.
    #[doc(hidden)]
    fn encode(&self, _error: &E, _codec: Option<Codec>, _bytes_max: usize) -> Option<(Stored, E)> {
        None
    }

    /// Decodes a stored error.
    ///
    /// # Errors
    /// A clause that says why the error cannot be decoded.
    #[doc(hidden)]
    fn decode(&self, _stored: Stored<&[u8]>) -> Result<E, String> {
        Err(REMEMBERS_NONE.to_owned())
    }
}

impl<E> ErrPolicy<E> for Release {
    fn judge(&self, _error: &E) -> OnErr {
        OnErr::Release
    }
}

impl<E> ErrPolicy<E> for InDoubt {
    fn judge(&self, _error: &E) -> OnErr {
        OnErr::InDoubt
    }
}

impl<E: ErrorValue> ErrPolicy<E> for Remember {
    fn judge(&self, _error: &E) -> OnErr {
        OnErr::Remember
    }

    fn encode(&self, error: &E, codec: Option<Codec>, bytes_max: usize) -> Option<(Stored, E)> {
        encode(error, codec, bytes_max)
    }

    fn decode(&self, stored: Stored<&[u8]>) -> Result<E, String> {
        decode(stored)
    }
}

impl<E, J: Judgement<E>, F: Fn(&E) -> J> ErrPolicy<E> for Classify<F> {
    fn judge(&self, error: &E) -> OnErr {
        (self.0)(error).on_err()
    }

    fn encode(&self, error: &E, codec: Option<Codec>, bytes_max: usize) -> Option<(Stored, E)> {
        J::encode(error, codec, bytes_max)
    }

    fn decode(&self, stored: Stored<&[u8]>) -> Result<E, String> {
        J::decode(stored)
    }
}

/// The return type of the function in [`Classify`]: [`OnErr`], or [`Unstored`] for errors that cannot be stored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not judge an error of type `{E}`",
    label = "the function in `classify(…)` gives `OnErr`, or `on_err::Unstored`",
    note = "`OnErr` can be `Remember`, so `{E}` must be `Serialize` and `DeserializeOwned` for it",
    note = "for an error that is not, give `idem_runtime::on_err::Unstored::{{Release, InDoubt}}`"
)]
pub trait Judgement<E> {
    #[doc(hidden)]
    fn on_err(self) -> OnErr;

    #[doc(hidden)]
    fn encode(_error: &E, _codec: Option<Codec>, _bytes_max: usize) -> Option<(Stored, E)> {
        None
    }

    /// Decodes a stored error.
    ///
    /// # Errors
    /// A clause that says why the error cannot be decoded.
    #[doc(hidden)]
    fn decode(_stored: Stored<&[u8]>) -> Result<E, String> {
        Err(REMEMBERS_NONE.to_owned())
    }
}

#[diagnostic::do_not_recommend]
impl<E: ErrorValue> Judgement<E> for OnErr {
    fn on_err(self) -> OnErr {
        self
    }

    fn encode(error: &E, codec: Option<Codec>, bytes_max: usize) -> Option<(Stored, E)> {
        encode(error, codec, bytes_max)
    }

    fn decode(stored: Stored<&[u8]>) -> Result<E, String> {
        decode(stored)
    }
}

impl<E> Judgement<E> for Unstored {
    fn on_err(self) -> OnErr {
        match self {
            Unstored::Release => OnErr::Release,
            Unstored::InDoubt => OnErr::InDoubt,
        }
    }
}

fn encode<E: ErrorValue>(error: &E, codec: Option<Codec>, bytes_max: usize) -> Option<(Stored, E)> {
    let encoded = codec::encode(error, codec, bytes_max).ok()?;
    Some((encoded.stored, encoded.value_read_back))
}

fn decode<E: ErrorValue>(stored: Stored<&[u8]>) -> Result<E, String> {
    codec::decode(stored).map_err(|undecodable| undecodable.to_string())
}
