//! The names that tokens mention. Only identifiers are read, because a macro cannot see types.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, Punct, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{LitStr, ext::IdentExt};

/// Returns the names that `tokens` mention, except those of fields, methods and lifetimes.
///
/// Inline captures are included: `format!("{id}")` mentions `id`.
pub(crate) fn names(tokens: impl ToTokens) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(tokens.into_token_stream(), &mut names);
    names
}

/// The borrow in a type, as far as its tokens show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Borrow {
    Nothing,
    Shared,
    Mut,
}

/// Returns the strongest borrow in a type.
///
/// `Pin<&mut T>` borrows mutably; `fn(&mut T)` and `&'static T` borrow nothing.
pub(crate) fn borrow(ty: impl ToTokens) -> Borrow {
    let tokens: Vec<TokenTree> = ty.into_token_stream().into_iter().collect();
    let texts: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    let text = |index: usize| texts.get(index).map_or("", String::as_str);
    let borrows = tokens.iter().enumerate().map(|(index, token)| {
        let before = index.checked_sub(1).map_or("", text);
        match token {
            TokenTree::Group(_) if matches!(before, "fn" | "Fn" | "FnMut" | "FnOnce") => Borrow::Nothing,
            TokenTree::Group(group) => borrow(group.stream()),
            TokenTree::Ident(ident) if ident == "mut" && before != "*" => Borrow::Mut,
            TokenTree::Punct(punct) if punct.as_char() == '&' && text(index + 1) != "'" => Borrow::Shared,
            TokenTree::Punct(punct) if punct.as_char() == '\'' && text(index + 1) != "static" => {
                Borrow::Shared
            }
            _ => Borrow::Nothing,
        }
    });
    borrows.max().unwrap_or(Borrow::Nothing)
}

/// Whether a type contains a reference of any lifetime.
pub(crate) fn has_reference(ty: impl ToTokens) -> bool {
    ty.into_token_stream().into_iter().any(|token| match token {
        TokenTree::Group(group) => has_reference(group.stream()),
        TokenTree::Punct(punct) => punct.as_char() == '&',
        _ => false,
    })
}

/// Returns the first `?` that leaves the expression; `None` if it contains a closure or an async block, which a `?` may
/// leave instead.
pub(crate) fn question_mark(expression: impl ToTokens) -> Option<Punct> {
    let leaves = leaves(expression.into_token_stream());
    let is_scope = |token: &TokenTree| match token {
        TokenTree::Ident(ident) => ident == "async",
        TokenTree::Punct(punct) => punct.as_char() == '|',
        _ => false,
    };
    if leaves.iter().any(is_scope) {
        return None;
    }
    leaves.into_iter().find_map(|token| match token {
        TokenTree::Punct(punct) if punct.as_char() == '?' => Some(punct),
        _ => None,
    })
}

fn leaves(tokens: TokenStream) -> Vec<TokenTree> {
    let inner = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => leaves(group.stream()),
        leaf => vec![leaf],
    });
    inner.collect()
}

fn collect(tokens: TokenStream, names: &mut BTreeSet<String>) {
    // The two characters before the current token distinguish `.field`, `..end`, `'lifetime` and `name!`.
    let mut before = (' ', ' ');
    for token in tokens {
        let this = match &token {
            TokenTree::Punct(punct) => punct.as_char(),
            _ => ' ',
        };
        match token {
            TokenTree::Ident(ident) => {
                let is_member = before.1 == '.' && before.0 != '.';
                if !is_member && before.1 != '\'' {
                    names.insert(ident.unraw().to_string());
                }
            }
            TokenTree::Group(group) if before.1 == '!' => collect_macro(&group, names),
            TokenTree::Group(group) => collect(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        before = (before.1, this);
    }
}

fn collect_macro(group: &Group, names: &mut BTreeSet<String>) {
    collect(group.stream(), names);
    if group.delimiter() == Delimiter::None {
        return;
    }
    for token in group.stream() {
        if let Ok(text) = syn::parse2::<LitStr>(token.into()) {
            collect_captures(&text.value(), names);
        }
    }
}

/// Adds the names captured by a format string: `"{id:>width$} {{no}}"` mentions `id` and `width`.
fn collect_captures(text: &str, names: &mut BTreeSet<String>) {
    let text = text.replace("{{", "").replace("}}", "");
    for placeholder in text.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        let (name, spec) = placeholder.split_once(':').unwrap_or((placeholder, ""));
        let widths =
            spec.split('$').rev().skip(1).filter_map(|part| {
                part.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
            });
        for name in widths.chain([name.trim()]).filter(|name| !name.is_empty()) {
            names.insert(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Borrow, borrow, names};

    #[test]
    fn fields_and_lifetimes_are_no_names() {
        for (tokens, expected) in [
            ("order.id", "order"),
            ("self.tenant", "self"),
            ("(tenant, &order.id)", "order tenant"),
            ("[0..n]", "n"),
            ("r#type", "type"),
            ("&'a Order", "Order"),
            ("format!(\"{id}\")", "format id"),
            ("format!(\"{id:>width$.prec$} {{no}} {}\", x)", "format id prec width x"),
            ("fetch(id)?.len", "fetch id"),
            ("\"{id}\"", ""),
            ("std::format!(\"{}\", a.b)", "a format std"),
        ] {
            let tokens: proc_macro2::TokenStream = tokens.parse().unwrap();
            let found: Vec<_> = names(&tokens).into_iter().collect();
            assert_eq!(found.join(" "), expected, "{tokens}");
        }
    }

    #[test]
    fn borrows_inside_types_are_found() {
        for (ty, expected) in [
            ("String", Borrow::Nothing),
            ("&str", Borrow::Shared),
            ("&'static str", Borrow::Nothing),
            ("&'a str", Borrow::Shared),
            ("Cow<'static, str>", Borrow::Nothing),
            ("Cow<'a, str>", Borrow::Shared),
            ("Option<&'a mut Vec<u8>>", Borrow::Mut),
            ("(u8, &mut T)", Borrow::Mut),
            ("fn(&mut T) -> u8", Borrow::Nothing),
            ("impl Fn(&T)", Borrow::Nothing),
            ("*mut T", Borrow::Nothing),
        ] {
            let tokens: proc_macro2::TokenStream = ty.parse().unwrap();
            assert_eq!(borrow(&tokens), expected, "{ty}");
        }
    }
}
