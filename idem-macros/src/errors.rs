//! The mistakes of one attribute, collected so that one build reports all of them.

use proc_macro2::TokenStream;
use quote::ToTokens;

/// Returns a mistake with the span of `tokens`.
pub(crate) fn refuse<T>(tokens: impl ToTokens, message: impl std::fmt::Display) -> syn::Result<T> {
    Err(syn::Error::new_spanned(tokens, message))
}

/// The mistakes found so far, each with the span of the tokens at fault.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds a mistake with the span of `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds a mistake.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// Returns the value, or adds the mistake and returns `None`.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Returns `value` if no mistake was found, else one `compile_error!` for each mistake.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, TokenStream> {
        self.0.map_or(Ok(value), |errors| Err(errors.into_compile_error()))
    }
}
