//! The form of an expression: a literal, a word, `word(…)`, an argument.

use syn::{
    Expr, ExprCall, ExprParen, ExprReference, ExprTuple, Ident, Lit,
    spanned::Spanned,
    token::{And, Paren},
};

/// Returns a literal, also from inside parentheses or a `macro_rules!` fragment.
pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        Expr::Reference(reference) => literal(&reference.expr),
        _ => None,
    }
}

/// Returns the content of a string literal.
pub(crate) fn text(value: &Expr) -> Option<String> {
    match literal(value)? {
        Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

/// Returns a single name such as `rerun`.
pub(crate) fn word(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Path(path) if path.qself.is_none() => path.path.get_ident(),
        Expr::Group(group) => word(&group.expr),
        _ => None,
    }
}

/// Returns the name in `conn`, `&conn` and `&mut *conn`.
pub(crate) fn root(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Reference(reference) => root(&reference.expr),
        Expr::Unary(unary) => root(&unary.expr),
        Expr::Paren(paren) => root(&paren.expr),
        _ => word(value),
    }
}

/// Returns the name in `name` and `name(…)`, and the call.
pub(crate) fn mode(value: &Expr) -> Option<(&Ident, Option<&ExprCall>)> {
    match value {
        Expr::Call(call) => Some((word(&call.func)?, Some(call))),
        _ => Some((word(value)?, None)),
    }
}

/// Returns a reference to the expression. The elements of a tuple are borrowed one by one, so that none is moved.
pub(crate) fn borrowed(value: &Expr) -> Expr {
    let target = match value {
        Expr::Paren(paren) => return borrowed(&paren.expr),
        Expr::Reference(reference) if reference.mutability.is_none() => return value.clone(),
        Expr::Tuple(tuple) => {
            let elems = tuple.elems.iter().map(borrowed).collect();
            Expr::Tuple(ExprTuple { elems, ..tuple.clone() })
        }
        // `&` binds more tightly than these. The parentheses have the span of the expression, for messages.
        Expr::Binary(_) | Expr::Cast(_) | Expr::Range(_) | Expr::Closure(_) | Expr::Assign(_) => {
            let paren_token = Paren(value.span());
            Expr::Paren(ExprParen { attrs: Vec::new(), paren_token, expr: Box::new(value.clone()) })
        }
        _ => value.clone(),
    };
    Expr::Reference(ExprReference {
        attrs: Vec::new(),
        and_token: And { spans: [value.span()] },
        mutability: None,
        expr: Box::new(target),
    })
}
