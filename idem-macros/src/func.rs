//! The annotated function.
//!
//! The body stays raw tokens and is never parsed. So spans survive, editors can complete code in an unfinished body,
//! and the body stands in the expansion once.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{
    Attribute, FnArg, Ident, Pat, PatType, Receiver, ReceiverKind, ReturnType, Signature, Token, Type,
    Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
};

use crate::{
    errors::refuse,
    mentions::{self, Borrow},
};

/// A function with its attributes, visibility, signature and raw body.
pub(crate) struct Func {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) params: Vec<Param>,
    /// The body with its braces.
    pub(crate) body: Group,
}

/// A parameter, `self` included.
pub(crate) struct Param {
    /// The `#[cfg(…)]` attributes. All code generated for the parameter carries them.
    pub(crate) cfgs: Vec<Attribute>,
    /// The names that the pattern binds; none for `_`.
    pub(crate) bindings: Vec<Ident>,
    /// The type; `None` for a plain `self`.
    pub(crate) ty: Option<Type>,
    /// Whether the name is bound to a reference, as `x` in `x: &T`.
    pub(crate) is_reference: bool,
    /// The borrow in the type.
    pub(crate) borrow: Borrow,
}

impl Parse for Func {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        refuse_other_items(input)?;
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            return refuse(
                &sig.ident,
                format_args!(
                    "`{}` has no body: put `#[idempotent]` on the method of each implementation, \
                     or write a default body",
                    sig.ident
                ),
            );
        }
        let (inner, body) = split_body(body_group(input)?)?;
        attrs.extend(inner);
        let params = sig.inputs.iter().map(Param::new).collect();
        Ok(Self { attrs, vis, sig, params, body })
    }
}

impl Func {
    /// Returns the declared return type.
    pub(crate) fn output(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Type(_, ty) => Some(ty),
            ReturnType::Default => None,
        }
    }

    /// Returns the names of all arguments as the body writes them.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = &Ident> {
        self.params.iter().flat_map(|param| &param.bindings)
    }

    /// Returns the names of all arguments, raw identifiers without `r#`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.bindings().map(|name| name.unraw().to_string()).collect()
    }
}

impl Param {
    fn new(arg: &FnArg) -> Self {
        match arg {
            FnArg::Receiver(receiver) => Self::receiver(receiver),
            FnArg::Typed(typed) => Self::typed(typed),
        }
    }

    fn receiver(receiver: &Receiver) -> Self {
        let (ty, is_reference, borrow) = match &receiver.kind {
            ReceiverKind::Typed(_, ty) => (Some((**ty).clone()), is_reference(ty), mentions::borrow(ty)),
            ReceiverKind::Reference(_, _, None) => (None, true, Borrow::Shared),
            ReceiverKind::Reference(..) => (None, true, Borrow::Mut),
            _ => (None, false, Borrow::Nothing),
        };
        let bindings = vec![Ident::new("self", receiver.self_token.span)];
        Self { cfgs: cfgs(&receiver.attrs), bindings, ty, is_reference, borrow }
    }

    fn typed(typed: &PatType) -> Self {
        let mut bindings = Vec::new();
        bind(&typed.pat, &mut bindings);
        let is_plain = matches!(&*typed.pat, Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none());
        Self {
            cfgs: cfgs(&typed.attrs),
            bindings,
            ty: Some((*typed.ty).clone()),
            is_reference: is_plain && is_reference(&typed.ty),
            borrow: mentions::borrow(&typed.ty),
        }
    }
}

fn is_reference(ty: &Type) -> bool {
    match ty {
        Type::Reference(_) => true,
        Type::Paren(inner) => is_reference(&inner.elem),
        Type::Group(inner) => is_reference(&inner.elem),
        _ => false,
    }
}

/// Adds the names that a pattern binds, in order.
fn bind(pat: &Pat, names: &mut Vec<Ident>) {
    match pat {
        Pat::Ident(pat) => {
            names.push(pat.ident.clone());
            pat.subpat.iter().for_each(|(_, pat)| bind(pat, names));
        }
        Pat::Paren(pat) => bind(&pat.pat, names),
        Pat::Reference(pat) => bind(&pat.pat, names),
        Pat::Type(pat) => bind(&pat.pat, names),
        Pat::Slice(pat) => pat.elems.iter().for_each(|pat| bind(pat, names)),
        Pat::Tuple(pat) => pat.elems.iter().for_each(|pat| bind(pat, names)),
        Pat::TupleStruct(pat) => pat.elems.iter().for_each(|pat| bind(pat, names)),
        Pat::Struct(pat) => pat.fields.iter().for_each(|field| bind(&field.pat, names)),
        // Each case of an or-pattern binds the same names.
        Pat::Or(pat) => pat.cases.first().into_iter().for_each(|pat| bind(pat, names)),
        _ => {}
    }
}

fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect()
}

fn refuse_other_items(input: ParseStream) -> syn::Result<()> {
    let names_a_function = input.peek(Token![fn]) || input.peek2(Token![fn]) || input.peek3(Token![fn]);
    if names_a_function || input.fork().parse::<Signature>().is_ok() {
        return Ok(());
    }
    let on_methods = input.peek(Token![impl]) || input.peek(Token![trait]);
    let cure = if on_methods { "put it on each method that must run once" } else { "put it on a `fn`" };
    Err(input.error(format_args!("`#[idempotent]` applies to functions only: {cure}")))
}

/// Reads the body with its braces. A `macro_rules!` fragment wraps them in an invisible group.
fn body_group(input: ParseStream) -> syn::Result<Group> {
    match input.parse()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group),
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => body_group.parse2(group.stream()),
        other => refuse(other, "expected a function body"),
    }
}

/// Moves inner attributes such as `#![allow(…)]` out of the body, because a closure cannot have them.
fn split_body(body: Group) -> syn::Result<(Vec<Attribute>, Group)> {
    let split = |input: ParseStream| {
        let attrs = input.call(Attribute::parse_inner)?;
        Ok((attrs, input.parse::<TokenStream>()?))
    };
    let (mut attrs, tokens) = split.parse2(body.stream())?;
    if attrs.is_empty() {
        return Ok((attrs, body));
    }
    for attr in &mut attrs {
        attr.style = syn::AttrStyle::Outer;
    }
    let mut rest = Group::new(Delimiter::Brace, tokens);
    rest.set_span(body.span());
    Ok((attrs, rest))
}
