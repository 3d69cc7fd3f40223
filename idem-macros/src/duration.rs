//! Durations: literals such as `"30d"` are checked when the program is built, everything else is an expression
//! of type `Duration`.

use syn::{Expr, Ident, Lit, LitInt, LitStr};

use crate::expr::{literal, word};

const DAY_MS: u64 = 86_400_000;
/// Longer lifetimes are spelt `"forever"`.
const DAYS_MAX: u64 = 36_500;

/// `"30d"`, `"forever"` or an expression.
pub(crate) enum Duration {
    Forever,
    Millis(u64),
    Expr(Expr),
}

impl Duration {
    /// A lifetime: of the record or of its result.
    pub(crate) fn lifetime(value: Expr, name: &Ident) -> syn::Result<Self> {
        match word(&value) {
            Some(word) if word == "forever" => {
                Err(syn::Error::new_spanned(word, format_args!("write `{name} = \"forever\"`, in quotes")))
            }
            _ => Self::parse(value, name),
        }
    }

    /// How long a duplicate waits.
    pub(crate) fn wait(value: Expr, name: &Ident) -> syn::Result<Self> {
        match Self::lifetime(value.clone(), name)? {
            Self::Forever => Err(syn::Error::new_spanned(
                value,
                "a duplicate cannot wait forever: write how long its caller can, as in `wait = \"5m\"`",
            )),
            other => Ok(other),
        }
    }

    fn parse(value: Expr, name: &Ident) -> syn::Result<Self> {
        match literal(&value) {
            Some(Lit::Str(text)) if text.value() == "forever" => Ok(Self::Forever),
            Some(Lit::Str(text)) => millis(text, name).map(Self::Millis),
            // Its own rule says what is wrong with it.
            Some(Lit::Int(number)) if name == "ttl" && number.base10_digits() == "0" => Ok(Self::Millis(0)),
            Some(Lit::Int(number)) => Err(unit_missing(number, name)),
            Some(other) => Err(syn::Error::new_spanned(
                other,
                format_args!(
                    "a duration is a text such as `{name} = \"30s\"` or an expression of type `Duration`"
                ),
            )),
            None => Ok(Self::Expr(value)),
        }
    }
}

fn unit_missing(number: &LitInt, name: &Ident) -> syn::Error {
    let digits = number.base10_digits();
    let message = format!("`{number}` has no unit: write `{name} = \"{digits}s\"` for seconds");
    syn::Error::new_spanned(number, message)
}

/// `"30d"` in milliseconds.
fn millis(text: &LitStr, name: &Ident) -> syn::Result<u64> {
    let written = text.value();
    let digits = written.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(written.len());
    let (number, unit) = written.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => 0,
    };
    if number.is_empty() || unit_ms == 0 {
        let forever = if name == "wait" { "" } else { ", or \"forever\"" };
        let message = format!(
            "`{written}` is not a duration: write a number and one of the units \
             `ms`, `s`, `m`, `h`, `d`, `w`, as in \"30d\"{forever}"
        );
        return Err(syn::Error::new_spanned(text, message));
    }
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms <= DAYS_MAX * DAY_MS).ok_or_else(|| {
        let cure = if name == "wait" { "write less" } else { "write \"forever\"" };
        syn::Error::new_spanned(text, format_args!("`{written}` is longer than {DAYS_MAX} days: {cure}"))
    })
}
