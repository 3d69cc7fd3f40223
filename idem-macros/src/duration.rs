//! Durations. A literal such as `"30d"` is checked at compile time; any other value is an expression of type
//! `Duration`.

use syn::{Expr, Ident, Lit, LitInt, LitStr};

use crate::{
    errors::refuse,
    expr::{literal, word},
    values::Context,
};

const DAY_MS: u64 = 86_400_000;
/// The longest duration except `"forever"`.
const DAYS_MAX: u64 = 36_500;

/// The value of `ttl`, `keep_result` and `wait`.
pub(crate) enum Duration {
    Forever,
    Millis(u64),
    Expr(Expr),
}

impl Duration {
    /// Reads the lifetime of a record or of its result.
    pub(crate) fn lifetime(value: &Expr, context: &Context) -> syn::Result<Self> {
        let option = context.option;
        match (word(value), literal(value)) {
            (Some(word), _) if word == "forever" => {
                let message = format!("`forever` is a string: write `{option} = \"forever\"`");
                refuse(word, message)
            }
            (_, Some(literal)) => Self::literal(literal, option),
            _ => Ok(Self::Expr(value.clone())),
        }
    }

    /// Reads the longest time that a duplicate waits.
    pub(crate) fn wait(value: &Expr, context: &Context) -> syn::Result<Self> {
        match Self::lifetime(value, context)? {
            Self::Forever => {
                refuse(value, "a duplicate cannot wait forever: write a limit, for example `wait = \"5m\"`")
            }
            other => Ok(other),
        }
    }

    fn literal(value: &Lit, option: &Ident) -> syn::Result<Self> {
        match value {
            Lit::Str(text) if text.value() == "forever" => Ok(Self::Forever),
            Lit::Str(text) => millis(text, option).map(Self::Millis),
            // The rule `lifetimes_are_consistent` reports this zero.
            Lit::Int(number) if option == "ttl" && number.base10_digits() == "0" => Ok(Self::Millis(0)),
            Lit::Int(number) => Err(unit_missing(number, option)),
            other => {
                let message = format!(
                    "expected a duration: write a string such as `{option} = \"30s\"` \
                     or an expression of type `Duration`"
                );
                refuse(other, message)
            }
        }
    }
}

fn unit_missing(number: &LitInt, option: &Ident) -> syn::Error {
    let digits = number.base10_digits();
    let message = format!("`{number}` has no unit: write `{option} = \"{digits}s\"` for seconds");
    syn::Error::new_spanned(number, message)
}

/// Converts `"30d"` to milliseconds.
fn millis(text: &LitStr, option: &Ident) -> syn::Result<u64> {
    let written = text.value();
    let digits = written.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(written.len());
    let (number, unit) = written.split_at(digits);
    let unit_ms = unit_ms(unit).filter(|_| !number.is_empty()).ok_or_else(|| malformed(text, option))?;
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms <= DAYS_MAX * DAY_MS).ok_or_else(|| too_long(text, option))
}

fn unit_ms(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(DAY_MS),
        "w" => Some(7 * DAY_MS),
        _ => None,
    }
}

fn malformed(text: &LitStr, option: &Ident) -> syn::Error {
    let written = text.value();
    let forever = if option == "wait" { "" } else { ", or \"forever\"" };
    let message = format!(
        "`{written}` is not a duration: write a number and one of the units \
         `ms`, `s`, `m`, `h`, `d`, `w`, for example \"30d\"{forever}"
    );
    syn::Error::new_spanned(text, message)
}

fn too_long(text: &LitStr, option: &Ident) -> syn::Error {
    let written = text.value();
    let cure = if option == "wait" { "write a shorter time" } else { "write \"forever\"" };
    syn::Error::new_spanned(text, format_args!("`{written}` is longer than {DAYS_MAX} days: {cure}"))
}
