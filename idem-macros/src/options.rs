//! What the value of an option means, checked as far as one option alone can be wrong.

use syn::{Expr, ExprCall, Ident, Lit, LitStr, Path, ext::IdentExt};

use crate::{
    args::{Args, Opt, closest},
    duration::Duration,
    errors::Errors,
    expr::{literal, mode, root, word},
    func::Func,
};

/// A name longer than this is refused; so does the runtime.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// Every option, understood.
pub(crate) struct Options {
    pub(crate) key: Option<Opt<Expr>>,
    pub(crate) name: Option<Opt<Expr>>,
    pub(crate) was: Option<Opt<Vec<LitStr>>>,
    pub(crate) skip: Option<Opt<Vec<Ident>>>,
    pub(crate) fingerprint: Option<Opt<Fingerprint>>,
    pub(crate) ttl: Option<Opt<Duration>>,
    pub(crate) keep_result: Option<Opt<Duration>>,
    pub(crate) wait: Option<Opt<Duration>>,
    pub(crate) on_err: Option<Opt<OnErr>>,
    pub(crate) on_interrupt: Option<Opt<OnInterrupt>>,
    pub(crate) tx: Option<Opt<Expr>>,
    pub(crate) detach: Option<Opt<()>>,
    pub(crate) codec: Option<Opt<Codec>>,
    pub(crate) store: Option<Opt<Expr>>,
    pub(crate) map_err: Option<Opt<Expr>>,
    pub(crate) krate: Option<Opt<Path>>,
    pub(crate) key_is_begun: bool,
}

/// `on_err = …`
pub(crate) enum OnErr {
    Release,
    Remember,
    InDoubt,
    Classify(Expr),
}

/// `on_interrupt = …`
pub(crate) enum OnInterrupt {
    Refuse,
    Rerun,
    RerunAtMost(Expr),
    RerunUnlimited,
    Recover(Expr),
    Expr(Expr),
}

/// `codec = …`
pub(crate) enum Codec {
    Bincode,
    Json,
}

/// `fingerprint = …`
pub(crate) enum Fingerprint {
    None,
    Expr(Expr),
}

impl Options {
    pub(crate) fn new(args: Args, func: &Func, errors: &mut Errors) -> Self {
        let is_argument = |name: &Ident| func.bindings().any(|binding| binding == name);
        Self {
            key: args.key,
            name: args.name,
            was: args.was,
            skip: args.skip,
            fingerprint: understood(args.fingerprint, |value, _| Ok(Fingerprint::new(value)), errors),
            ttl: understood(args.ttl, Duration::lifetime, errors),
            keep_result: understood(args.keep_result, Duration::lifetime, errors),
            wait: understood(args.wait, Duration::wait, errors),
            on_err: understood(args.on_err, |value, _| OnErr::new(&value), errors),
            on_interrupt: understood(
                args.on_interrupt,
                |value, _| OnInterrupt::new(value, is_argument),
                errors,
            ),
            tx: args.tx,
            detach: args.detach,
            codec: understood(args.codec, |value, _| Codec::new(&value), errors),
            store: args.store,
            map_err: args.map_err,
            krate: args.krate,
            key_is_begun: args.key_is_begun,
        }
    }

    /// Whether an argument counts: not with `skip`, and not when it is the connection or the store itself.
    pub(crate) fn compares(&self, argument: &Ident) -> bool {
        let skipped = self.skip.iter().flat_map(|skip| &skip.value);
        let places = [&self.tx, &self.store].into_iter().flatten().filter_map(|place| root(&place.value));
        !skipped.chain(places).any(|name| name.unraw() == argument.unraw())
    }
}

fn understood<T>(
    option: Option<Opt<Expr>>,
    understand: impl FnOnce(Expr, &Ident) -> syn::Result<T>,
    errors: &mut Errors,
) -> Option<Opt<T>> {
    let Opt { name, value } = option?;
    let value = errors.take(understand(value, &name))?;
    Some(Opt { name, value })
}

impl OnErr {
    pub(crate) fn new(value: &Expr) -> syn::Result<Self> {
        match mode(value) {
            Some((name, None)) if name == "release" => Ok(Self::Release),
            Some((name, None)) if name == "remember" => Ok(Self::Remember),
            Some((name, None)) if name == "in_doubt" => Ok(Self::InDoubt),
            Some((name, Some(call))) if name == "classify" => only_argument(call, &name).map(Self::Classify),
            Some((name, None)) if name == "classify" => Err(syn::Error::new_spanned(
                name,
                "`classify` needs a function of the error: write `on_err = classify(|error: &MyError| …)`",
            )),
            _ => Err(unknown_mode(
                value,
                "on_err",
                &["release", "remember", "in_doubt", "classify"],
                "`release`, `remember`, `in_doubt` and `classify(…)`",
            )),
        }
    }
}

impl OnInterrupt {
    /// Anything that is no mode is an expression. `is_argument` tells whether a name is an argument's.
    pub(crate) fn new(value: Expr, is_argument: impl Fn(&Ident) -> bool) -> syn::Result<Self> {
        match mode(&value) {
            Some((name, _)) if is_argument(&name) => Ok(Self::Expr(value)),
            Some((name, None)) if name == "refuse" => Ok(Self::Refuse),
            Some((name, None)) if name == "rerun" => Ok(Self::Rerun),
            Some((name, Some(call))) if name == "rerun" => Self::rerun(only_argument(call, &name)?),
            Some((name, Some(call))) if name == "recover" => only_argument(call, &name).map(Self::Recover),
            Some((name, None)) if name == "recover" => Err(syn::Error::new_spanned(
                name,
                "`recover` needs what finds out: write `on_interrupt = recover(ask_provider(order))`",
            )),
            Some((name, None)) if name.to_string().starts_with(char::is_lowercase) => Err(unknown_mode(
                &value,
                "on_interrupt",
                &["refuse", "rerun", "recover"],
                "`refuse`, `rerun`, `rerun(n)`, `recover(…)`, or an expression of type `OnInterrupt`",
            )),
            _ => Ok(Self::Expr(value)),
        }
    }

    fn rerun(attempts: Expr) -> syn::Result<Self> {
        if word(&attempts).is_some_and(|word| word == "unlimited") {
            return Ok(Self::RerunUnlimited);
        }
        match literal(&attempts) {
            Some(Lit::Int(number)) if matches!(number.base10_parse::<u32>()?, 0 | 1) => {
                Err(syn::Error::new_spanned(
                    number,
                    format_args!(
                        "`rerun({number})` never runs again: the number counts all attempts, the first included; \
                         write `refuse`, or 2 or more"
                    ),
                ))
            }
            _ => Ok(Self::RerunAtMost(attempts)),
        }
    }
}

impl Codec {
    pub(crate) fn new(value: &Expr) -> syn::Result<Self> {
        match mode(value) {
            Some((name, None)) if name == "bincode" => Ok(Self::Bincode),
            Some((name, None)) if name == "json" => Ok(Self::Json),
            _ => Err(unknown_mode(value, "codec", &["bincode", "json"], "`bincode` and `json`")),
        }
    }
}

impl Fingerprint {
    pub(crate) fn new(value: Expr) -> Self {
        match word(&value) {
            Some(word) if word == "none" => Self::None,
            _ => Self::Expr(value),
        }
    }
}

/// A name that identifies calls for years, so it has to be fixed when the program is built.
pub(crate) fn check_name(option: &Opt<Expr>) -> syn::Result<()> {
    match (&option.value, literal(&option.value)) {
        (_, Some(Lit::Str(text))) => check_name_text(text),
        (Expr::Path(_) | Expr::Macro(_), None) => Ok(()),
        _ => Err(syn::Error::new_spanned(
            &option.value,
            "`name` must be fixed: write a text, `name = \"shop.charge\"`, or a constant; \
             what changes from call to call belongs in `key`",
        )),
    }
}

pub(crate) fn check_name_text(text: &LitStr) -> syn::Result<()> {
    let bytes = text.value().len();
    if text.value().trim().is_empty() {
        return Err(syn::Error::new_spanned(
            text,
            "a name cannot be empty: write for example `\"shop.charge\"`",
        ));
    }
    if bytes > NAME_BYTES_MAX {
        let message =
            format!("this name has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed: shorten it");
        return Err(syn::Error::new_spanned(text, message));
    }
    Ok(())
}

fn only_argument(call: &ExprCall, mode: &Ident) -> syn::Result<Expr> {
    match (call.args.first(), call.args.len()) {
        (Some(argument), 1) => Ok(argument.clone()),
        (_, count) => {
            let message = format!("`{mode}(…)` takes one argument, not {count}");
            Err(syn::Error::new_spanned(call, message))
        }
    }
}

fn unknown_mode(value: &Expr, option: &str, modes: &[&str], listed: &str) -> syn::Error {
    let meant = mode(value).and_then(|(name, _)| closest(&name.to_string(), modes));
    let message = match meant {
        Some(meant) => format!("`{option}` has no such mode; did you mean `{meant}`? There are {listed}"),
        None => format!("`{option}` has no such mode; there are {listed}"),
    };
    syn::Error::new_spanned(value, message)
}
