//! The form of an expression: a literal, a word, `word(…)`, an argument.

use proc_macro2::Span;
use syn::{
    Expr, ExprArray, ExprCall, ExprParen, ExprPath, ExprReference, ExprTuple, Ident, Lit, Path, PathSegment,
    Token, UnOp,
    spanned::Spanned,
    token::{And, Paren},
};

/// Returns the expression without the invisible group that a `macro_rules!` fragment puts around it.
pub(crate) fn ungrouped(value: Expr) -> Expr {
    match value {
        Expr::Group(group) if group.attrs.is_empty() => ungrouped(*group.expr),
        other => other,
    }
}

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
        Expr::Group(group) => root(&group.expr),
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

/// Returns a reference to the expression. The parts of a tuple, an array and a struct literal are lent one by one, so
/// that no argument is moved.
pub(crate) fn borrowed(value: &Expr, is_argument: &dyn Fn(&Ident) -> bool) -> Expr {
    match value {
        Expr::Group(group) => borrowed(&group.expr, is_argument),
        Expr::Paren(paren) => borrowed(&paren.expr, is_argument),
        Expr::Reference(reference) if reference.mutability.is_none() => value.clone(),
        _ => referenced(value, is_argument),
    }
}

fn referenced(value: &Expr, is_argument: &dyn Fn(&Ident) -> bool) -> Expr {
    let target = match value {
        Expr::Group(group) => return referenced(&group.expr, is_argument),
        Expr::Paren(paren) => return referenced(&paren.expr, is_argument),
        Expr::Tuple(tuple) => {
            let elems = tuple.elems.iter().map(|elem| borrowed(elem, is_argument)).collect();
            Expr::Tuple(ExprTuple { elems, ..tuple.clone() })
        }
        // The elements have one type, so each gets a reference, also one that is a reference.
        Expr::Array(array) => {
            let elems = array.elems.iter().map(|elem| referenced(elem, is_argument)).collect();
            Expr::Array(ExprArray { elems, ..array.clone() })
        }
        Expr::Struct(_) | Expr::Call(_) => cloned(value, is_argument),
        value => parenthesized(value),
    };
    reference(value, target)
}

/// Returns an expression of the same type that moves no argument: the fields of a struct have fixed types, so they
/// cannot be references.
fn cloned(value: &Expr, is_argument: &dyn Fn(&Ident) -> bool) -> Expr {
    let part = |value: &Expr| cloned(value, is_argument);
    match value {
        Expr::Group(group) => part(&group.expr),
        Expr::Paren(ExprParen { expr, .. }) => part(expr),
        Expr::Tuple(tuple) => {
            Expr::Tuple(ExprTuple { elems: tuple.elems.iter().map(part).collect(), ..tuple.clone() })
        }
        Expr::Array(array) => {
            Expr::Array(ExprArray { elems: array.elems.iter().map(part).collect(), ..array.clone() })
        }
        Expr::Struct(literal) => {
            let mut literal = literal.clone();
            for field in &mut literal.fields {
                field.colon_token = Some(Token![:](field.span()));
                field.expr = part(&field.expr);
            }
            literal.rest = literal.rest.map(|rest| Box::new(part(&rest)));
            Expr::Struct(literal)
        }
        Expr::Call(call) if is_constructor(call) => {
            Expr::Call(ExprCall { args: call.args.iter().map(part).collect(), ..call.clone() })
        }
        place if owner(place).is_some_and(is_argument) => clone_of(place),
        other => other.clone(),
    }
}

/// Returns `::core::clone::Clone::clone(&place)`.
fn clone_of(place: &Expr) -> Expr {
    let at = Span::call_site().located_at(place.span());
    let segment = |name| PathSegment::from(Ident::new(name, at));
    let segments = ["core", "clone", "Clone", "clone"].into_iter().map(segment).collect();
    let path = Path { leading_colon: Some(Token![::](at)), segments };
    Expr::Call(ExprCall {
        attrs: Vec::new(),
        func: Box::new(Expr::Path(ExprPath { attrs: Vec::new(), qself: None, path })),
        paren_token: Paren(at),
        args: std::iter::once(reference(place, place.clone())).collect(),
    })
}

fn reference(value: &Expr, target: Expr) -> Expr {
    Expr::Reference(ExprReference {
        attrs: Vec::new(),
        and_token: And { spans: [value.span()] },
        mutability: None,
        expr: Box::new(target),
    })
}

/// Whether the call is that of a tuple struct or of a variant, such as `OrderId(id)`.
fn is_constructor(call: &ExprCall) -> bool {
    let Expr::Path(path) = &*call.func else { return false };
    let name = path.path.segments.last().map(|segment| segment.ident.to_string());
    name.is_some_and(|name| name.starts_with(char::is_uppercase))
}

/// Returns `order` of the places `order`, `order.id`, `order[0]` and `*order`.
fn owner(place: &Expr) -> Option<&Ident> {
    match place {
        Expr::Field(field) => owner(&field.base),
        Expr::Index(index) => owner(&index.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => owner(&unary.expr),
        Expr::Paren(paren) => owner(&paren.expr),
        _ => word(place),
    }
}

/// Returns the expression in parentheses if `&` binds more tightly than its operator. The parentheses have the span of
/// the expression, for messages.
fn parenthesized(value: &Expr) -> Expr {
    match value {
        Expr::Binary(_) | Expr::Cast(_) | Expr::Range(_) | Expr::Closure(_) | Expr::Assign(_) => {
            let paren_token = Paren(value.span());
            Expr::Paren(ExprParen { attrs: Vec::new(), paren_token, expr: Box::new(value.clone()) })
        }
        _ => value.clone(),
    }
}
