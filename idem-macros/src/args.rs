//! The grammar of `#[idempotent(…)]`: which options were written, and where. What they mean is for `options`,
//! whether they fit together is for `plan`.

use proc_macro2::TokenStream;
use syn::{
    Expr, Ident, LitStr, Path, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

use crate::errors::Errors;

/// An option as written: its name, for messages and spans, and its value.
pub(crate) struct Opt<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

/// Everything between the parentheses of the attribute.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) key: Option<Opt<Expr>>,
    pub(crate) name: Option<Opt<Expr>>,
    pub(crate) was: Option<Opt<Vec<LitStr>>>,
    pub(crate) skip: Option<Opt<Vec<Ident>>>,
    pub(crate) fingerprint: Option<Opt<Expr>>,
    pub(crate) ttl: Option<Opt<Expr>>,
    pub(crate) keep_result: Option<Opt<Expr>>,
    pub(crate) wait: Option<Opt<Expr>>,
    pub(crate) on_err: Option<Opt<Expr>>,
    pub(crate) on_interrupt: Option<Opt<Expr>>,
    pub(crate) tx: Option<Opt<Expr>>,
    pub(crate) detach: Option<Opt<()>>,
    pub(crate) codec: Option<Opt<Expr>>,
    pub(crate) store: Option<Opt<Expr>>,
    pub(crate) map_err: Option<Opt<Expr>>,
    pub(crate) krate: Option<Opt<Path>>,
    /// Whether `key` was begun, be it wrongly: then it is not missing as well.
    pub(crate) key_is_begun: bool,
}

/// Every option with an example, in the order of the manual.
const OPTIONS: [(&str, &str); 16] = [
    ("key", "key = order.id"),
    ("name", "name = \"shop.charge\""),
    ("was", "was(\"shop.pay\")"),
    ("skip", "skip(gateway)"),
    ("fingerprint", "fingerprint = order.total"),
    ("ttl", "ttl = \"365d\""),
    ("keep_result", "keep_result = \"30d\""),
    ("wait", "wait = \"30s\""),
    ("on_err", "on_err = remember"),
    ("on_interrupt", "on_interrupt = rerun"),
    ("tx", "tx = conn"),
    ("detach", "detach"),
    ("codec", "codec = json"),
    ("store", "store = self.store"),
    ("map_err", "map_err = MyError::Idempotency"),
    ("crate", "crate = idem"),
];

impl Args {
    /// Reads all options. After one that cannot be read it goes on with the next.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let parser = |input: ParseStream| {
            while !input.is_empty() {
                let read = args.option(input, errors);
                let goes_on = match errors.take(read) {
                    Some(()) => errors.take(comma(input)).is_some() || starts_an_option(input),
                    None => false,
                };
                if !goes_on {
                    skip_to_next_option(input);
                }
            }
            Ok(())
        };
        let read = parser.parse2(tokens);
        errors.take(read);
        args
    }

    fn option(&mut self, input: ParseStream, errors: &mut Errors) -> syn::Result<()> {
        let name = input.call(Ident::parse_any).map_err(|error| {
            syn::Error::new(error.span(), "expected an option, for example `key = order.id`")
        })?;
        self.key_is_begun |= name == "key";
        match name.to_string().as_str() {
            "key" => set_once(&mut self.key, equals(input, &name)?, name, errors),
            "name" => set_once(&mut self.name, equals(input, &name)?, name, errors),
            "was" => set_once(&mut self.was, list(input, &name)?, name, errors),
            "skip" => set_once(&mut self.skip, idents(input, &name)?, name, errors),
            "fingerprint" => set_once(&mut self.fingerprint, equals(input, &name)?, name, errors),
            "ttl" => set_once(&mut self.ttl, equals(input, &name)?, name, errors),
            "keep_result" => set_once(&mut self.keep_result, equals(input, &name)?, name, errors),
            "wait" => set_once(&mut self.wait, equals(input, &name)?, name, errors),
            "on_err" => set_once(&mut self.on_err, equals(input, &name)?, name, errors),
            "on_interrupt" => set_once(&mut self.on_interrupt, equals(input, &name)?, name, errors),
            "tx" => set_once(&mut self.tx, equals(input, &name)?, name, errors),
            "detach" => set_once(&mut self.detach, flag(input, &name)?, name, errors),
            "codec" => set_once(&mut self.codec, equals(input, &name)?, name, errors),
            "store" => set_once(&mut self.store, equals(input, &name)?, name, errors),
            "map_err" => set_once(&mut self.map_err, equals(input, &name)?, name, errors),
            "crate" => set_once(&mut self.krate, path(input, &name)?, name, errors),
            _ => return Err(unknown(&name)),
        }
        Ok(())
    }
}

fn set_once<T>(slot: &mut Option<Opt<T>>, value: T, name: Ident, errors: &mut Errors) {
    if slot.is_some() {
        errors.at(&name, format_args!("`{name}` is given twice; keep one of them"));
    } else {
        *slot = Some(Opt { name, value });
    }
}

/// `= VALUE`
fn equals<T: Parse>(input: ParseStream, name: &Ident) -> syn::Result<T> {
    if !input.peek(Token![=]) {
        return Err(misspelt(name, "needs a value"));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(misspelt(name, "needs a value"));
    }
    input.parse()
}

/// `= PATH`
fn path(input: ParseStream, name: &Ident) -> syn::Result<Path> {
    if input.peek(Token![=]) && input.peek2(LitStr) {
        return Err(misspelt(name, "takes a path, without quotes"));
    }
    equals(input, name)
}

/// `(A, B)`
fn list<T: Parse>(input: ParseStream, name: &Ident) -> syn::Result<Vec<T>> {
    parenthesized(input, name, T::parse)
}

/// `(a, self)`
fn idents(input: ParseStream, name: &Ident) -> syn::Result<Vec<Ident>> {
    parenthesized(input, name, |input| match input.parse::<Option<Token![_]>>()? {
        Some(underscore) => Err(syn::Error::new_spanned(underscore, "`_` is not compared anyway; remove it")),
        None => Ident::parse_any(input),
    })
}

fn parenthesized<T>(
    input: ParseStream,
    name: &Ident,
    element: fn(ParseStream) -> syn::Result<T>,
) -> syn::Result<Vec<T>> {
    if !input.peek(syn::token::Paren) {
        return Err(misspelt(name, "takes a list"));
    }
    let content;
    syn::parenthesized!(content in input);
    let elements = Punctuated::<T, Token![,]>::parse_terminated_with(&content, element)?;
    if elements.is_empty() {
        return Err(misspelt(name, "is empty"));
    }
    Ok(elements.into_iter().collect())
}

/// Nothing at all.
fn flag(input: ParseStream, name: &Ident) -> syn::Result<()> {
    if input.is_empty() || input.peek(Token![,]) { Ok(()) } else { Err(misspelt(name, "takes no value")) }
}

fn misspelt(name: &Ident, problem: &str) -> syn::Error {
    let example = OPTIONS.iter().find(|(option, _)| name == option).map_or("", |(_, example)| example);
    syn::Error::new_spanned(name, format_args!("`{name}` {problem}: write `{example}`"))
}

fn unknown(name: &Ident) -> syn::Error {
    let options = OPTIONS.map(|(option, _)| option);
    let written = name.to_string();
    let message = match closest(&written, &options) {
        Some(option) => format!("unknown option `{name}`; did you mean `{option}`?"),
        None => format!("unknown option `{name}`; the options are `{}`", options.join("`, `")),
    };
    syn::Error::new_spanned(name, message)
}

/// The name that was probably meant: at most two letters away, and not all of it.
pub(crate) fn closest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let best = names.iter().map(|name| (distance(written, name), *name)).min()?;
    (best.0 <= 2 && best.0 < best.1.len() / 2 + 1).then_some(best.1)
}

/// Levenshtein's distance between two short names.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut diagonal = index;
        for (cell, other) in row.iter_mut().zip(std::iter::once('\0').chain(to.chars())).skip(1) {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn comma(input: ParseStream) -> syn::Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    let found = input.cursor().span();
    input
        .parse::<Option<Token![,]>>()?
        .map(drop)
        .ok_or_else(|| syn::Error::new(found, "expected a comma between two options"))
}

/// Skips what is left of a broken option. Its value may contain commas, so only a known name ends it.
fn skip_to_next_option(input: ParseStream) {
    while !input.is_empty() {
        let after_comma = input.parse::<Option<Token![,]>>().is_ok_and(|comma| comma.is_some());
        if after_comma && starts_an_option(input) {
            return;
        }
        if !after_comma && input.parse::<proc_macro2::TokenTree>().is_err() {
            return;
        }
    }
}

fn starts_an_option(input: ParseStream) -> bool {
    let fork = input.fork();
    let Ok(name) = Ident::parse_any(&fork) else { return false };
    let assigned = fork.peek(Token![=]) && !fork.peek(Token![==]);
    let known = OPTIONS.iter().any(|(option, _)| name == option);
    assigned || (known && (fork.is_empty() || fork.peek(Token![,]) || fork.peek(syn::token::Paren)))
}
