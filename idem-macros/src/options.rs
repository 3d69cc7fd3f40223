//! The list of options of `#[idempotent(…)]`, and their reader.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Expr, Ident, LitStr, Path, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
    token::Paren,
};

use crate::{
    duration::Duration,
    errors::{Errors, refuse},
    expr::{root, ungrouped},
    func::Func,
    spelling::closest,
    values::{Codec, Context, Fingerprint, OnErr, OnInterrupt},
};

/// An option: its name, for messages and spans, and its value.
pub(crate) struct Opt<T> {
    pub(crate) name: Ident,
    pub(crate) value: T,
}

/// Defines `Options`, its reader and its examples from the one list of options.
///
/// Each line contains the option, its field and type, the form of the written value, and an example. `as` names the
/// check that turns the written value into the type.
macro_rules! options {
    ($($option:literal $field:ident: $type:ty = $form:ident $(as $check:path)?, $example:literal;)*) => {
        /// The options of one attribute. An option that is absent or wrong is `None`.
        #[derive(Default)]
        pub(crate) struct Options {
            $(pub(crate) $field: Option<Opt<$type>>,)*
            /// Whether `key` is named at all: a wrong `key` is not reported as missing.
            pub(crate) key_is_named: bool,
        }

        /// Every option with an example, in the order of the manual.
        const EXAMPLES: &[(&str, &str)] = &[$(($option, $example)),*];

        impl Reader<'_> {
            /// Reads the value of the option `name`. An error means that the value has another form.
            fn value(&mut self, name: Ident, input: ParseStream) -> syn::Result<()> {
                match name.to_string().as_str() {
                    $($option => {
                        let value = $form(input, &name)?;
                        if self.is_first(&name) {
                            $(let value = $check(&value, &self.context(&name));
                            let Some(value) = self.errors.take(value) else { return Ok(()) };)?
                            self.options.$field = Some(Opt { name, value });
                        }
                    })*
                    _ => return Err(unknown(&name)),
                }
                Ok(())
            }
        }
    };
}

options! {
    "key"          key:          Expr        = assigned,                         "key = order.id";
    "name"         name:         Expr        = assigned,                         "name = \"shop.charge\"";
    "was"          was:          Vec<LitStr> = texts,                            "was(\"shop.pay\")";
    "same_for_types" same_for_types: ()      = nothing,                          "same_for_types";
    "skip"         skip:         Vec<Ident>  = names,                            "skip(gateway)";
    "fingerprint"  fingerprint:  Fingerprint = assigned as Fingerprint::new,     "fingerprint = order.total";
    "ttl"          ttl:          Duration    = assigned as Duration::lifetime,   "ttl = \"365d\"";
    "keep_result"  keep_result:  Duration    = assigned as Duration::lifetime,   "keep_result = \"30d\"";
    "wait"         wait:         Duration    = assigned as Duration::wait,       "wait = \"30s\"";
    "on_err"       on_err:       OnErr       = assigned as OnErr::new,           "on_err = remember";
    "on_interrupt" on_interrupt: OnInterrupt = assigned as OnInterrupt::new,     "on_interrupt = rerun";
    "tx"           tx:           Expr        = assigned,                         "tx = conn";
    "detach"       detach:       ()          = nothing,                          "detach";
    "codec"        codec:        Codec       = assigned as Codec::new,           "codec = json";
    "store"        store:        Expr        = assigned,                         "store = self.store";
    "map_err"      map_err:      Expr        = assigned,                         "map_err = MyError::Idempotency";
    "crate"        krate:        Path        = path,                             "crate = idem";
}

impl Options {
    /// Reads all options and adds every mistake to `errors`. `func` is `None` if the item is no function.
    pub(crate) fn parse(tokens: TokenStream, func: Option<&Func>, errors: &mut Errors) -> Self {
        let mut reader = Reader { options: Self::default(), func, given: Vec::new(), errors };
        let read = (|input: ParseStream| {
            while !input.is_empty() {
                reader.option(input);
            }
            Ok(())
        })
        .parse2(tokens);
        reader.errors.take(read);
        reader.options
    }

    /// Whether an argument is compared: `skip` does not list it, and it is neither the connection nor the store.
    pub(crate) fn compares(&self, argument: &Ident) -> bool {
        let skipped = self.skip.iter().flat_map(|skip| &skip.value);
        let places = [&self.tx, &self.store].into_iter().flatten().filter_map(|place| root(&place.value));
        !skipped.chain(places).any(|name| name.unraw() == argument.unraw())
    }
}

/// The options read so far.
struct Reader<'a> {
    options: Options,
    func: Option<&'a Func>,
    /// The names of the options whose values could be read.
    given: Vec<Ident>,
    errors: &'a mut Errors,
}

impl Reader<'_> {
    /// Reads one option and its comma. If one of them cannot be read, skips to the next option.
    fn option(&mut self, input: ParseStream) {
        let read = self.name(input).and_then(|name| self.value(name, input));
        let is_read = self.errors.take(read).is_some();
        let goes_on = is_read && (self.errors.take(comma(input)).is_some() || starts_an_option(input));
        if !goes_on {
            skip_to_next_option(input);
        }
    }

    fn name(&mut self, input: ParseStream) -> syn::Result<Ident> {
        let name = input.call(Ident::parse_any).map_err(|error| {
            syn::Error::new(error.span(), "expected an option, for example `key = order.id`")
        })?;
        self.options.key_is_named |= name == "key";
        Ok(name)
    }

    /// Whether the option `name` is given for the first time. Another time is a mistake.
    fn is_first(&mut self, name: &Ident) -> bool {
        let is_first = !self.given.contains(name);
        if is_first {
            self.given.push(name.clone());
        } else {
            self.errors.at(name, format_args!("`{name}` is given twice: remove one of them"));
        }
        is_first
    }

    fn context<'a>(&'a self, option: &'a Ident) -> Context<'a> {
        Context { option, func: self.func }
    }
}

/// Reads `= VALUE`.
fn assigned(input: ParseStream, name: &Ident) -> syn::Result<Expr> {
    if !input.peek(Token![=]) {
        return Err(malformed(name, "needs a value"));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(malformed(name, "needs a value"));
    }
    input.parse().map(ungrouped)
}

/// Reads `= PATH`.
fn path(input: ParseStream, name: &Ident) -> syn::Result<Path> {
    match assigned(input, name)? {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        _ => Err(malformed(name, "takes a path without quotes")),
    }
}

/// Reads `("a", "b")`.
fn texts(input: ParseStream, name: &Ident) -> syn::Result<Vec<LitStr>> {
    list(input, name, Parse::parse)
}

/// Reads `(a, self)`.
fn names(input: ParseStream, name: &Ident) -> syn::Result<Vec<Ident>> {
    list(input, name, |input| match input.parse::<Option<Token![_]>>()? {
        Some(underscore) => refuse(underscore, "an argument `_` is never compared: remove it"),
        None => Ident::parse_any(input),
    })
}

fn list<T>(
    input: ParseStream,
    name: &Ident,
    element: fn(ParseStream) -> syn::Result<T>,
) -> syn::Result<Vec<T>> {
    if !input.peek(Paren) {
        return Err(malformed(name, "takes a list"));
    }
    let content;
    syn::parenthesized!(content in input);
    let elements = Punctuated::<T, Token![,]>::parse_terminated_with(&content, element)?;
    if elements.is_empty() {
        return Err(malformed(name, "is empty"));
    }
    Ok(elements.into_iter().collect())
}

/// Reads no value.
fn nothing(input: ParseStream, name: &Ident) -> syn::Result<()> {
    if input.is_empty() || input.peek(Token![,]) { Ok(()) } else { Err(malformed(name, "takes no value")) }
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

/// Skips the rest of a malformed option. The value may contain commas, so only a known name ends it.
fn skip_to_next_option(input: ParseStream) {
    while !input.is_empty() {
        let after_comma = input.parse::<Option<Token![,]>>().is_ok_and(|comma| comma.is_some());
        if after_comma && starts_an_option(input) {
            return;
        }
        if !after_comma && input.parse::<TokenTree>().is_err() {
            return;
        }
    }
}

fn starts_an_option(input: ParseStream) -> bool {
    let fork = input.fork();
    let Ok(name) = Ident::parse_any(&fork) else { return false };
    let assigned = fork.peek(Token![=]) && !fork.peek(Token![==]);
    let known = EXAMPLES.iter().any(|(option, _)| name == option);
    assigned || (known && (fork.is_empty() || fork.peek(Token![,]) || fork.peek(Paren)))
}

fn malformed(name: &Ident, problem: &str) -> syn::Error {
    let example = EXAMPLES.iter().find(|(option, _)| name == option).map_or("", |(_, example)| example);
    syn::Error::new_spanned(name, format_args!("`{name}` {problem}: write `{example}`"))
}

fn unknown(name: &Ident) -> syn::Error {
    let options: Vec<&str> = EXAMPLES.iter().map(|(option, _)| *option).collect();
    let message = match closest(&name.to_string(), &options) {
        Some(option) => format!("unknown option `{name}`: did you mean `{option}`?"),
        None => format!("unknown option `{name}`: the options are `{}`", options.join("`, `")),
    };
    syn::Error::new_spanned(name, message)
}
