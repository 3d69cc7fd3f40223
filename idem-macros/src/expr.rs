//! What an expression says on its face: a literal, a word, `word(…)`.

use syn::{Expr, ExprCall, Ident, Lit};

/// A literal, also one that a `macro_rules!` fragment or parentheses wrap.
pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        Expr::Reference(reference) => literal(&reference.expr),
        _ => None,
    }
}

/// A single name such as `rerun`.
pub(crate) fn word(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Path(path) if path.qself.is_none() => path.path.get_ident(),
        Expr::Group(group) => word(&group.expr),
        _ => None,
    }
}

/// The name behind `conn`, `&conn`, `&mut *conn`: an expression that is an argument itself.
pub(crate) fn root(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Reference(reference) => root(&reference.expr),
        Expr::Unary(unary) => root(&unary.expr),
        Expr::Paren(paren) => root(&paren.expr),
        _ => word(value),
    }
}

/// `name` or `name(…)`
pub(crate) fn mode(value: &Expr) -> Option<(Ident, Option<&ExprCall>)> {
    match value {
        Expr::Call(call) => Some((word(&call.func)?.clone(), Some(call))),
        _ => Some((word(value)?.clone(), None)),
    }
}
