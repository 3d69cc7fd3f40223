//! Mistakes are collected, so that one build shows all of them.

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The mistakes found so far, each under the tokens it is about.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds a mistake under `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, or `None` and one more mistake.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// `value` when nothing was wrong, all mistakes otherwise.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, TokenStream> {
        self.0.map_or(Ok(value), |errors| Err(errors.into_compile_error()))
    }
}
