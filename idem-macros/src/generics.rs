//! The type and const parameters of a function: whether arguments determine them, and whether the key contains them.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Expr, ExprPath, GenericParam, Ident, Type, WherePredicate, ext::IdentExt};

use crate::{func::Func, mentions};

/// Returns the type and const parameters that neither the key nor an argument mentions. An argument mentions what the
/// bounds of its own parameters mention: `F: FnOnce() -> Fut` mentions `Fut`.
pub(crate) fn unmentioned<'a>(func: &'a Func, key: &Expr) -> Vec<&'a GenericParam> {
    let mut mentioned = mentions::names(key);
    func.params.iter().for_each(|param| mentioned.extend(mentions::names(&param.ty)));
    let bounds = bounds(func);
    loop {
        let before = mentioned.len();
        for (bounded, names) in &bounds {
            if !bounded.is_disjoint(&mentioned) {
                mentioned.extend(names.iter().cloned());
            }
        }
        if mentioned.len() == before {
            break;
        }
    }
    parameters(func).filter(|(_, ident)| !mentioned.contains(&text(ident))).map(|(param, _)| param).collect()
}

/// Whether the key contains a constant of every type parameter, and every const parameter: `(T::KIND, N, id)`.
///
/// An anonymous type (`impl Trait`) has no constant.
pub(crate) fn key_contains_all(func: &Func, key: &Expr) -> bool {
    let is_anonymous = func.params.iter().any(|param| mentions::names(&param.ty).contains("impl"));
    let mut parameters = parameters(func).peekable();
    !is_anonymous && parameters.peek().is_some() && parameters.all(|(_, ident)| contains(key, ident))
}

/// The names that each bound restricts, and the names that it mentions.
fn bounds(func: &Func) -> Vec<(BTreeSet<String>, BTreeSet<String>)> {
    let names =
        |bounded: TokenStream, bounds: TokenStream| (mentions::names(bounded), mentions::names(bounds));
    let inline = func.sig.generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(ty) => Some(names(ty.ident.to_token_stream(), ty.bounds.to_token_stream())),
        _ => None,
    });
    let predicates = func.sig.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let clause = predicates.filter_map(|predicate| match predicate {
        WherePredicate::Type(ty) => Some(names(ty.bounded_ty.to_token_stream(), ty.bounds.to_token_stream())),
        _ => None,
    });
    inline.chain(clause).collect()
}

fn parameters(func: &Func) -> impl Iterator<Item = (&GenericParam, &Ident)> {
    func.sig.generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(ty) => Some((param, &ty.ident)),
        GenericParam::Const(constant) => Some((param, &constant.ident)),
        GenericParam::Lifetime(_) => None,
    })
}

fn contains(key: &Expr, parameter: &Ident) -> bool {
    match key {
        Expr::Tuple(tuple) => tuple.elems.iter().any(|elem| contains(elem, parameter)),
        Expr::Array(array) => array.elems.iter().any(|elem| contains(elem, parameter)),
        Expr::Group(group) => contains(&group.expr, parameter),
        Expr::Paren(paren) => contains(&paren.expr, parameter),
        Expr::Reference(reference) => contains(&reference.expr, parameter),
        Expr::Path(path) => is_constant_of(path, parameter),
        _ => false,
    }
}

/// Whether the path is `T::KIND`, `<T as Trait>::KIND` or the const parameter `N`.
fn is_constant_of(path: &ExprPath, parameter: &Ident) -> bool {
    match &path.qself {
        Some(qself) => matches!(&*qself.ty, Type::Path(ty) if ty.path.is_ident(parameter)),
        None => path.path.segments.first().is_some_and(|first| first.ident == *parameter),
    }
}

fn text(ident: &Ident) -> String {
    ident.unraw().to_string()
}
