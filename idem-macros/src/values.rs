//! The meaning of an option's value, and the checks that need no other option.

use syn::{Expr, ExprCall, Ident, Lit, LitStr};

use crate::{
    errors::refuse,
    expr::{literal, mode, word},
    func::Func,
    mentions,
    spelling::closest,
};

/// The longest name in bytes. The runtime has the same limit.
const NAME_BYTES_MAX: usize = 200;

/// The place of a value: its option, and the function under the attribute.
pub(crate) struct Context<'a> {
    pub(crate) option: &'a Ident,
    /// `None` if the item is no function.
    pub(crate) func: Option<&'a Func>,
}

/// The value of `fingerprint`.
pub(crate) enum Fingerprint {
    None,
    Expr(Expr),
}

/// The value of `on_err`.
pub(crate) enum OnErr {
    Release,
    Remember,
    InDoubt,
    Classify(Expr),
}

/// The value of `on_interrupt`.
pub(crate) enum OnInterrupt {
    Refuse,
    Rerun,
    RerunAtMost(Expr),
    RerunUnlimited,
    Recover(Expr),
    Expr(Expr),
}

/// The value of `codec`.
pub(crate) enum Codec {
    Bincode,
    Json,
}

impl Fingerprint {
    #[expect(clippy::unnecessary_wraps, reason = "every check of a value has this signature")]
    pub(crate) fn new(value: &Expr, _: &Context) -> syn::Result<Self> {
        let is_none = word(value).is_some_and(|word| word == "none");
        Ok(if is_none { Self::None } else { Self::Expr(value.clone()) })
    }
}

impl OnErr {
    pub(crate) fn new(value: &Expr, context: &Context) -> syn::Result<Self> {
        match mode(value) {
            Some((name, None)) if name == "release" => Ok(Self::Release),
            Some((name, None)) if name == "remember" => Ok(Self::Remember),
            Some((name, None)) if name == "in_doubt" => Ok(Self::InDoubt),
            Some((name, Some(call))) if name == "classify" => only_argument(call, name).map(Self::Classify),
            Some((name, None)) if name == "classify" => refuse(
                name,
                "`classify` takes a function of the error: write `on_err = classify(|error: &MyError| …)`",
            ),
            _ => unknown(
                value,
                context,
                &["release", "remember", "in_doubt", "classify"],
                "`release`, `remember`, `in_doubt` and `classify(…)`",
            ),
        }
    }
}

impl OnInterrupt {
    /// Reads a mode. A value that does not look like a mode, or that names an argument, is an expression.
    pub(crate) fn new(value: &Expr, context: &Context) -> syn::Result<Self> {
        let is_argument =
            |name: &Ident| context.func.is_none_or(|func| func.bindings().any(|own| own == name));
        match mode(value) {
            Some((name, _)) if is_argument(name) => Ok(Self::Expr(value.clone())),
            Some((name, None)) if name == "refuse" => Ok(Self::Refuse),
            Some((name, None)) if name == "rerun" => Ok(Self::Rerun),
            Some((name, Some(call))) if name == "rerun" => Self::rerun(only_argument(call, name)?),
            Some((name, Some(call))) if name == "recover" => Self::recover(only_argument(call, name)?),
            Some((name, None)) if name == "recover" => refuse(
                name,
                "`recover` takes an expression that asks for the outcome: \
                 write `on_interrupt = recover(ask_provider(order))`",
            ),
            Some((name, None)) if name.to_string().starts_with(char::is_lowercase) => unknown(
                value,
                context,
                &["refuse", "rerun", "recover"],
                "`refuse`, `rerun`, `rerun(n)`, `recover(…)` and expressions of type `OnInterrupt`",
            ),
            _ => Ok(Self::Expr(value.clone())),
        }
    }

    /// Reads the hook. A `?` in it leaves the hook, so the value of the hook must be a `Result`.
    fn recover(hook: Expr) -> syn::Result<Self> {
        match &hook {
            Expr::Try(hook) => refuse(
                hook.question_token,
                "a recovery hook ends with a verdict: remove this `?`, because `recover` also takes a `Result` of a \
                 `Verdict`",
            ),
            Expr::Call(call) if mentions::names(&call.func).contains("Verdict") => {
                match mentions::question_mark(&call.args) {
                    Some(mark) => refuse(
                        mark,
                        "a recovery hook ends with a verdict: move the question to a function that returns \
                         `Result<Verdict<_>, _>`",
                    ),
                    None => Ok(Self::Recover(hook)),
                }
            }
            _ => Ok(Self::Recover(hook)),
        }
    }

    fn rerun(attempts: Expr) -> syn::Result<Self> {
        if word(&attempts).is_some_and(|word| word == "unlimited") {
            return Ok(Self::RerunUnlimited);
        }
        match literal(&attempts) {
            Some(Lit::Int(number)) if matches!(number.base10_parse::<u32>()?, 0 | 1) => {
                let message = format!(
                    "`rerun({number})` allows no second attempt, because the number includes the first: \
                     write `refuse`, or at least 2"
                );
                refuse(number, message)
            }
            _ => Ok(Self::RerunAtMost(attempts)),
        }
    }
}

impl Codec {
    pub(crate) fn new(value: &Expr, context: &Context) -> syn::Result<Self> {
        match mode(value) {
            Some((name, None)) if name == "bincode" => Ok(Self::Bincode),
            Some((name, None)) if name == "json" => Ok(Self::Json),
            _ => unknown(value, context, &["bincode", "json"], "`bincode` and `json`"),
        }
    }
}

/// Checks that a name is fixed at compile time: it identifies calls for years.
pub(crate) fn check_name(name: &Expr) -> syn::Result<()> {
    match (name, literal(name)) {
        (_, Some(Lit::Str(text))) => check_name_text(text),
        (Expr::Path(_) | Expr::Macro(_), None) => Ok(()),
        _ => refuse(
            name,
            "`name` takes a string literal or a constant: write for example `name = \"shop.charge\"`, \
             and put what differs from call to call in `key`",
        ),
    }
}

/// Checks the length of a name.
pub(crate) fn check_name_text(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    if text.trim().is_empty() {
        return refuse(name, "the name is blank: write for example `\"shop.charge\"`");
    }
    if text.len() > NAME_BYTES_MAX {
        let message =
            format!("the name has {} bytes, more than the limit of {NAME_BYTES_MAX}: shorten it", text.len());
        return refuse(name, message);
    }
    Ok(())
}

fn only_argument(call: &ExprCall, mode: &Ident) -> syn::Result<Expr> {
    match (call.args.first(), call.args.len()) {
        (Some(argument), 1) => Ok(argument.clone()),
        (_, count) => refuse(call, format_args!("`{mode}(…)` takes one argument, not {count}")),
    }
}

fn unknown<T>(value: &Expr, context: &Context, modes: &[&str], listed: &str) -> syn::Result<T> {
    let option = context.option;
    let meant = mode(value).and_then(|(name, _)| closest(&name.to_string(), modes));
    let cure = match meant {
        Some(meant) => format!("did you mean `{meant}`? The values are {listed}"),
        None => format!("the values are {listed}"),
    };
    refuse(value, format_args!("unknown value of `{option}`: {cure}"))
}
