//! The attribute.
use proc_macro2::TokenStream;
use quote::quote;

use crate::{args::Args, errors::Errors, func::Func, plan::Plan};

mod args;
mod duration;
mod errors;
mod expand;
mod func;
mod mentions;
mod options;
mod plan;
mod rules;
mod shape;

/// Manual.
#[proc_macro_attribute]
pub fn idempotent(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expansion(args.into(), item.into()).into()
}

/// The expansion; or all mistakes and the untouched item, so that its callers do not report it as missing.
fn expansion(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let func = errors.take(syn::parse2::<Func>(item.clone()));
    let plan = func.and_then(|func| Plan::new(args, func, &mut errors));
    match errors.finish(plan) {
        Ok(Some(plan)) => expand::expand(&plan),
        Ok(None) => item,
        Err(errors) => quote! { #errors #item },
    }
}
