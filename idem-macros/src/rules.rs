//! The rules: options that exclude each other, or that do not fit the function. Each has a case in `tests/ui`.

use proc_macro2::Span;
use syn::{GenericParam, Ident, ext::IdentExt};

use crate::{
    duration::Duration,
    errors::Errors,
    expr::text,
    func::{Func, Param},
    generics,
    mentions::{self, Borrow},
    options::{Opt, Options},
    shape,
    spelling::closest,
    values::{OnErr, OnInterrupt, check_name, check_name_text},
};

pub(crate) fn check(options: &Options, func: &Func, errors: &mut Errors) {
    function_is_supported(func, errors);
    key_is_given(options, errors);
    key_uses_an_argument(options, func, errors);
    key_uses_type_parameters(options, func, errors);
    name_is_given_for_methods(options, func, errors);
    name_is_constant(options, func, errors);
    earlier_names_are_distinct(options, errors);
    skipped_arguments_exist(options, func, errors);
    fingerprint_excludes_skip(options, errors);
    compared_arguments_are_not_mut(options, func, errors);
    compared_arguments_have_a_name(options, func, errors);
    lifetimes_are_consistent(options, errors);
    tx_excludes_other_options(options, func, errors);
    detached_body_owns_its_arguments(options, func, errors);
}

fn function_is_supported(func: &Func, errors: &mut Errors) {
    let sig = &func.sig;
    let name = &sig.ident;
    if let Some(token) = &sig.constness {
        errors.at(token, format_args!("a `const fn` cannot use a store: remove `const` from `{name}`"));
    }
    if let Some(abi) = &sig.abi {
        let message = format!(
            "an `extern fn` cannot be idempotent: put `#[idempotent]` on a function that `{name}` calls"
        );
        errors.at(abi, message);
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "variadic arguments cannot be compared: name each argument");
    }
}

fn key_is_given(options: &Options, errors: &mut Errors) {
    if options.key.is_none() && !options.key_is_named {
        errors.push(syn::Error::new(
            Span::call_site(),
            "`key` is missing: write what identifies a call, for example `key = order.id`",
        ));
    }
}

fn key_uses_an_argument(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(Opt { value: key, .. }) = &options.key else { return };
    let text = text(key);
    if text.as_deref().is_some_and(str::is_empty) {
        errors.at(key, "an empty key identifies no call: name the argument that does");
        return;
    }
    let mentioned = mentions::names(key);
    let arguments = func.names();
    if arguments.is_empty() || arguments.iter().any(|argument| mentioned.contains(argument)) {
        return;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let meant = mentioned.iter().find_map(|name| closest(name, &arguments));
    let cure = match (text, meant) {
        (None, Some(meant)) => format!("did you mean `{meant}`?"),
        (Some(text), _) if text.contains('{') => {
            format!("write `format!({text:?})`, because a string literal is not formatted")
        }
        _ => format!("name an argument that identifies the call, for example `key = {}`", example(func)),
    };
    let message = format!(
        "this key uses no argument of `{}`, so all calls would share one record: {cure}",
        func.sig.ident
    );
    errors.at(key, message);
}

fn key_uses_type_parameters(options: &Options, func: &Func, errors: &mut Errors) {
    let (Some(Opt { value: key, .. }), None) = (&options.key, &options.same_for_types) else { return };
    for parameter in generics::unmentioned(func, key) {
        let (ident, part) = match parameter {
            GenericParam::Type(ty) => (&ty.ident, format!("{}::KIND", ty.ident)),
            GenericParam::Const(constant) => (&constant.ident, constant.ident.to_string()),
            GenericParam::Lifetime(_) => continue,
        };
        let message = format!(
            "no argument mentions `{ident}`, so `{}` would share one record between different `{ident}`: \
             distinguish them in the key, for example `key = ({part}, {})`, or add `same_for_types`",
            func.sig.ident,
            example(func)
        );
        errors.at(ident, message);
    }
}

fn name_is_given_for_methods(options: &Options, func: &Func, errors: &mut Errors) {
    if options.name.is_some() {
        return;
    }
    let name = &func.sig.ident;
    let cure = format!("write for example `name = \"shop.{}\"`", name.unraw());
    let why = "the macro cannot see its type, and two types would share their records";
    if let Some(receiver) = func.sig.receiver() {
        errors.at(receiver.self_token, format_args!("a method needs a `name`, because {why}: {cure}"));
    } else if mentions::names(&func.sig).contains("Self") {
        errors.at(name, format_args!("`{name}` mentions `Self` and needs a `name`, because {why}: {cure}"));
    }
}

fn name_is_constant(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(option) = &options.name else { return };
    errors.take(check_name(&option.value));
    let mentioned = mentions::names(&option.value);
    if let Some(argument) = func.bindings().find(|name| mentioned.contains(&name.unraw().to_string())) {
        let message = format!(
            "`name` cannot use an argument, because it is the same for every call: put `{argument}` in `key`"
        );
        errors.at(&option.value, message);
    }
}

fn earlier_names_are_distinct(options: &Options, errors: &mut Errors) {
    let mut seen: Vec<String> = options.name.iter().filter_map(|name| text(&name.value)).collect();
    for name in options.was.iter().flat_map(|was| &was.value) {
        errors.take(check_name_text(name));
        if seen.contains(&name.value()) {
            errors.at(name, "this name is already given: remove it from `was`");
        }
        seen.push(name.value());
    }
}

fn skipped_arguments_exist(options: &Options, func: &Func, errors: &mut Errors) {
    let arguments = func.names();
    let names: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut seen: Vec<&Ident> = Vec::new();
    for skipped in options.skip.iter().flat_map(|skip| &skip.value) {
        let written = skipped.unraw().to_string();
        if seen.contains(&skipped) {
            errors.at(skipped, format_args!("`{written}` is skipped twice: remove one of them"));
        } else if !arguments.contains(&written) {
            let cure = match closest(&written, &names) {
                Some(name) => format!("did you mean `{name}`?"),
                None if names.is_empty() => "it has no arguments".to_owned(),
                None => format!("its arguments are `{}`", names.join("`, `")),
            };
            let message = format!("`{}` has no argument `{written}`: {cure}", func.sig.ident);
            errors.at(skipped, message);
        }
        seen.push(skipped);
    }
}

fn fingerprint_excludes_skip(options: &Options, errors: &mut Errors) {
    if let (Some(skip), Some(_)) = (&options.skip, &options.fingerprint) {
        errors.at(
            &skip.name,
            "`skip` cannot be combined with `fingerprint`, which replaces the comparison of arguments: remove `skip`",
        );
    }
}

/// A replay does not repeat what the body wrote through a `&mut`.
fn compared_arguments_are_not_mut(options: &Options, func: &Func, errors: &mut Errors) {
    for (param, name) in compared(options, func).filter(|(param, _)| param.borrow == Borrow::Mut) {
        let message = format!(
            "`{name}` is `&mut`, but a replay does not repeat changes to it: \
             if that is acceptable, add `skip({name})`"
        );
        at_type(param, name, message, errors);
    }
}

/// `#[async_trait]` names a pattern by its position, which changes when an argument is added.
fn compared_arguments_have_a_name(options: &Options, func: &Func, errors: &mut Errors) {
    if !shape::is_boxed(func) {
        return;
    }
    for (_, name) in compared(options, func).filter(|(_, name)| name.to_string().starts_with("__arg")) {
        errors.at(
            name,
            "`#[async_trait]` replaces this pattern with a position: name the argument, and destructure it in the body",
        );
    }
}

fn lifetimes_are_consistent(options: &Options, errors: &mut Errors) {
    if let Some(Opt { name, value: Duration::Millis(0) }) = &options.ttl {
        errors.at(
            name,
            "a `ttl` of zero forgets the call at once, so a retry would run again: \
             write the time within which retries arrive, for example `ttl = \"30d\"`",
        );
    }
    let (Some(Opt { value: Duration::Millis(ttl_ms), .. }), Some(keep)) =
        (&options.ttl, &options.keep_result)
    else {
        return;
    };
    if matches!(keep.value, Duration::Forever) || matches!(keep.value, Duration::Millis(ms) if ms > *ttl_ms) {
        errors.at(
            &keep.name,
            "`keep_result` is longer than `ttl`, but a result expires with its record: \
             shorten `keep_result`, or lengthen `ttl`",
        );
    }
}

fn tx_excludes_other_options(options: &Options, func: &Func, errors: &mut Errors) {
    if options.tx.is_none() {
        return;
    }
    if let Some(token) = &func.sig.asyncness {
        errors.at(
            token,
            "`tx` cannot be combined with `async`, because an `.await` in the transaction would block all writers: \
             remove `async`",
        );
    }
    let mut excluded = |name: &Ident, option: &str, reason: &str| {
        errors.at(name, format_args!("`{option}` cannot be combined with `tx`, because {reason}: remove it"));
    };
    if let Some(Opt { name, .. }) = &options.detach {
        excluded(name, "detach", "the transaction ends with its caller");
    }
    if let Some(Opt { name, .. }) = &options.store {
        excluded(name, "store", "the record is kept in the database of the transaction");
    }
    if let Some(Opt { name, value: OnErr::InDoubt }) = &options.on_err {
        excluded(name, "on_err = in_doubt", "an `Err` rolls the effect back");
    }
    if let Some(Opt { name, .. }) =
        options.on_interrupt.as_ref().filter(|mode| !matches!(mode.value, OnInterrupt::Refuse))
    {
        excluded(name, "on_interrupt", "an interrupted transaction leaves no effect");
    }
}

fn detached_body_owns_its_arguments(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(detach) = &options.detach else { return };
    if func.sig.asyncness.is_none() && !shape::is_boxed(func) {
        if options.tx.is_none() {
            errors.at(
                &detach.name,
                "`detach` needs an `async fn`, because a blocked caller cannot go away: remove `detach`",
            );
        }
        return;
    }
    for param in func.params.iter().filter(|param| param.borrow != Borrow::Nothing) {
        let Some(name) = param.bindings.first() else { continue };
        let cure = if name == "self" { "take `self: Arc<Self>`" } else { "take it by value, or in an `Arc`" };
        let message = format!("a detached body outlives its caller and cannot borrow `{name}`: {cure}");
        at_type(param, name, message, errors);
    }
}

/// Returns each argument that is compared, with its parameter.
fn compared<'a>(options: &'a Options, func: &'a Func) -> impl Iterator<Item = (&'a Param, &'a Ident)> {
    let arguments = func.params.iter().flat_map(|param| param.bindings.iter().map(move |name| (param, name)));
    arguments.filter(|(_, name)| options.fingerprint.is_none() && options.compares(name))
}

/// Adds a mistake at the type of an argument; a plain `self` has none.
fn at_type(param: &Param, name: &Ident, message: String, errors: &mut Errors) {
    match &param.ty {
        Some(ty) => errors.at(ty, message),
        None => errors.at(name, message),
    }
}

/// Returns an argument for an example.
fn example(func: &Func) -> String {
    let named = func.bindings().find(|name| *name != "self");
    named.map_or_else(|| "self.id".to_owned(), ToString::to_string)
}
