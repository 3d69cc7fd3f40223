//! The rules: what must not be written together, or not on this function. Each has a case of its name in
//! `tests/ui`.

use proc_macro2::Span;
use syn::{GenericParam, Ident, Lit, ext::IdentExt};

use crate::{
    args::{Opt, closest},
    duration::Duration,
    errors::Errors,
    expr::literal,
    func::{Func, Param},
    mentions::{self, Borrow},
    options::{OnErr, OnInterrupt, Options, check_name, check_name_text},
    shape,
};

pub(crate) fn check(options: &Options, func: &Func, errors: &mut Errors) {
    function_is_ordinary(func, errors);
    key_is_given(options, errors);
    key_uses_an_argument(options, func, errors);
    key_tells_instances_apart(options, func, errors);
    name_is_given_for_methods(options, func, errors);
    name_is_fixed(options, func, errors);
    earlier_names_differ(options, errors);
    skipped_arguments_exist(options, func, errors);
    skip_or_fingerprint(options, errors);
    compared_arguments_stay(options, func, errors);
    compared_arguments_have_an_order(options, func, errors);
    compared_arguments_have_a_name(options, func, errors);
    lifetimes_are_sensible(options, errors);
    tx_stands_alone(options, func, errors);
    detached_body_owns_its_arguments(options, func, errors);
}

fn function_is_ordinary(func: &Func, errors: &mut Errors) {
    let sig = &func.sig;
    let name = &sig.ident;
    if let Some(token) = &sig.constness {
        errors.at(token, format_args!("a `const fn` cannot reach a store: remove `const` from `{name}`"));
    }
    if let Some(abi) = &sig.abi {
        let message = format!("`{name}` is called by foreign code: annotate a Rust function that it calls");
        errors.at(abi, message);
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "arguments without a name cannot be compared");
    }
}

fn key_is_given(options: &Options, errors: &mut Errors) {
    if options.key.is_none() && !options.key_is_begun {
        errors.push(syn::Error::new(
            Span::call_site(),
            "`key` is missing: say what identifies a call, for example `key = order.id`",
        ));
    }
}

fn key_uses_an_argument(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(Opt { value: key, .. }) = &options.key else { return };
    let text = literal(key).and_then(|literal| match literal {
        Lit::Str(text) => Some(text.value()),
        _ => None,
    });
    if text.as_deref().is_some_and(str::is_empty) {
        errors.at(key, "an empty key identifies nothing: name the argument that does");
        return;
    }
    let mentioned = mentions::names(key);
    let uses = func.bindings().any(|argument| mentioned.contains(&argument.unraw().to_string()));
    if uses || func.bindings().next().is_none() {
        return;
    }
    let arguments: Vec<String> = func.bindings().map(ToString::to_string).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let meant = mentioned.iter().find_map(|name| closest(name, &arguments));
    let cure = match (text, meant) {
        (None, Some(meant)) => format!("did you mean `{meant}`?"),
        (Some(text), _) if text.contains('{') => {
            format!("a text alone is not formatted, write `format!({text:?})`")
        }
        _ => format!("name what tells calls apart, for example `key = {}`", example(func)),
    };
    let message = format!(
        "this key uses no argument of `{}`, so all calls would share one record: {cure}",
        func.sig.ident
    );
    errors.at(key, message);
}

fn key_tells_instances_apart(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(Opt { value: key, .. }) = &options.key else { return };
    let mut mentioned = mentions::names(key);
    func.params.iter().for_each(|param| mentioned.extend(mentions::names(&param.ty)));
    for parameter in &func.sig.generics.params {
        let (ident, part) = match parameter {
            GenericParam::Type(ty) => (&ty.ident, format!("std::any::type_name::<{}>()", ty.ident)),
            GenericParam::Const(constant) => (&constant.ident, constant.ident.to_string()),
            GenericParam::Lifetime(_) => continue,
        };
        if !mentioned.contains(&ident.unraw().to_string()) {
            let name = &func.sig.ident;
            let message = format!(
                "no argument mentions `{ident}`, so `{name}` would share its records among all of them: \
                 put it in the key, for example `key = ({part}, {})`",
                example(func)
            );
            errors.at(ident, message);
        }
    }
}

fn name_is_given_for_methods(options: &Options, func: &Func, errors: &mut Errors) {
    if options.name.is_some() {
        return;
    }
    let name = &func.sig.ident;
    let cure = format!("write for example `name = \"shop.{}\"`", name.unraw());
    let why = "the macro cannot see which type it belongs to, and two types would share their records";
    if let Some(receiver) = func.sig.receiver() {
        errors.at(receiver.self_token, format_args!("a method needs a `name`, since {why}: {cure}"));
    } else if mentions::names(&func.sig).contains("Self") {
        errors.at(name, format_args!("`{name}` mentions `Self` and needs a `name`, since {why}: {cure}"));
    }
}

fn name_is_fixed(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(option) = &options.name else { return };
    errors.take(check_name(option));
    let mentioned = mentions::names(&option.value);
    if let Some(argument) = func.bindings().find(|name| mentioned.contains(&name.unraw().to_string())) {
        let message = format!("`name` is the same for every call: use `{argument}` in `key`");
        errors.at(&option.value, message);
    }
}

fn earlier_names_differ(options: &Options, errors: &mut Errors) {
    let earlier = options.was.iter().flat_map(|was| &was.value);
    let mut seen: Vec<String> = match options.name.as_ref().and_then(|name| literal(&name.value)) {
        Some(Lit::Str(name)) => vec![name.value()],
        _ => Vec::new(),
    };
    for name in earlier {
        errors.take(check_name_text(name));
        if seen.contains(&name.value()) {
            errors.at(name, "this name is given already: `was` lists the earlier ones");
        }
        seen.push(name.value());
    }
}

fn skipped_arguments_exist(options: &Options, func: &Func, errors: &mut Errors) {
    let arguments: Vec<String> = func.bindings().map(|name| name.unraw().to_string()).collect();
    let names: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut seen: Vec<&Ident> = Vec::new();
    for skipped in options.skip.iter().flat_map(|skip| &skip.value) {
        let written = skipped.unraw().to_string();
        if seen.contains(&skipped) {
            errors.at(skipped, format_args!("`{written}` is skipped twice; keep one of them"));
        } else if !arguments.contains(&written) {
            let cure = match closest(&written, &names) {
                Some(name) => format!("did you mean `{name}`?"),
                None if names.is_empty() => "it has none".to_owned(),
                None => format!("there are `{}`", names.join("`, `")),
            };
            let message = format!("`{}` has no argument `{written}`; {cure}", func.sig.ident);
            errors.at(skipped, message);
        }
        seen.push(skipped);
    }
}

fn skip_or_fingerprint(options: &Options, errors: &mut Errors) {
    if let (Some(skip), Some(_)) = (&options.skip, &options.fingerprint) {
        errors.at(
            &skip.name,
            "`skip` and `fingerprint` exclude each other: with `fingerprint` the arguments are not compared; \
             remove `skip`",
        );
    }
}

/// A replay cannot repeat what the body wrote through a `&mut`.
fn compared_arguments_stay(options: &Options, func: &Func, errors: &mut Errors) {
    for (param, name) in compared(options, func).filter(|(param, _)| param.borrow == Borrow::Mut) {
        let message = format!(
            "`{name}` is `&mut`: a replay returns the result but does not repeat the changes made through it; \
             where that is right, add `skip({name})`"
        );
        at_type(param, name, message, errors);
    }
}

fn compared_arguments_have_an_order(options: &Options, func: &Func, errors: &mut Errors) {
    for (param, name) in compared(options, func) {
        if mentions::names(&param.ty).contains("HashSet") {
            let message = format!(
                "`{name}` cannot be compared: two equal `HashSet`s may list their elements in another order; \
                 take a `BTreeSet`, or add `skip({name})`"
            );
            at_type(param, name, message, errors);
        }
    }
}

/// `#[async_trait]` turns patterns into positions, which change when an argument is added.
fn compared_arguments_have_a_name(options: &Options, func: &Func, errors: &mut Errors) {
    if !shape::is_boxed(func) {
        return;
    }
    for (_, name) in compared(options, func).filter(|(_, name)| name.to_string().starts_with("__arg")) {
        errors.at(
            name,
            "`#[async_trait]` hides this pattern: give the argument a name, and take it apart in the body",
        );
    }
}

fn lifetimes_are_sensible(options: &Options, errors: &mut Errors) {
    if let Some(Opt { name, value: Duration::Millis(0) }) = &options.ttl {
        errors.at(
            name,
            "a `ttl` of zero forgets the call at once, so that a retry would run again: give it the time within \
             which retries come, for example `ttl = \"30d\"`",
        );
    }
    let (Some(Opt { value: Duration::Millis(ttl_ms), .. }), Some(keep)) =
        (&options.ttl, &options.keep_result)
    else {
        return;
    };
    let longer = match keep.value {
        Duration::Forever => true,
        Duration::Millis(keep_ms) => keep_ms > *ttl_ms,
        Duration::Expr(_) => false,
    };
    if longer {
        errors.at(
            &keep.name,
            "`keep_result` is longer than `ttl`, but a result goes with its record: shorten it, or lengthen `ttl`",
        );
    }
}

fn tx_stands_alone(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(tx) = &options.tx else { return };
    if let Some(token) = &func.sig.asyncness {
        errors.at(
            token,
            "with `tx` the function cannot be `async`: SQLite lets nobody else write while it waits",
        );
    }
    if let Some(detach) = &options.detach {
        errors.at(&detach.name, "`tx` and `detach` exclude each other: the transaction ends with its caller");
    }
    if let Some(store) = &options.store {
        let message = "`tx` and `store` exclude each other: the record is kept where the transaction is";
        errors.at(&store.name, message);
    }
    if let Some(Opt { name, value: OnErr::InDoubt }) = &options.on_err {
        errors.at(
            name,
            "with `tx` an error leaves no doubt: it rolls the effect back; remove `on_err = in_doubt`",
        );
    }
    match &options.on_interrupt {
        None | Some(Opt { value: OnInterrupt::Refuse, .. }) => {}
        Some(Opt { name, .. }) => errors.at(
            name,
            format_args!(
                "`{}` makes `{name}` needless: a call cut off in a transaction left nothing; remove it",
                tx.name
            ),
        ),
    }
}

fn detached_body_owns_its_arguments(options: &Options, func: &Func, errors: &mut Errors) {
    let Some(detach) = &options.detach else { return };
    if func.sig.asyncness.is_none() && !shape::is_boxed(func) {
        if options.tx.is_some() {
            return;
        }
        let message = "`detach` is for `async fn`: a caller cannot go away from a function that blocks it";
        errors.at(&detach.name, message);
        return;
    }
    for param in func.params.iter().filter(|param| param.borrow != Borrow::Nothing) {
        let Some(name) = param.bindings.first() else { continue };
        let cure = if name == "self" { "take `self: Arc<Self>`" } else { "take it by value, or in an `Arc`" };
        let message =
            format!("with `detach` the body outlives its caller and cannot borrow `{name}`: {cure}");
        at_type(param, name, message, errors);
    }
}

fn compared<'a>(options: &'a Options, func: &'a Func) -> impl Iterator<Item = (&'a Param, &'a Ident)> {
    let arguments = func.params.iter().flat_map(|param| param.bindings.iter().map(move |name| (param, name)));
    arguments.filter(|(_, name)| options.fingerprint.is_none() && options.compares(name))
}

fn at_type(param: &Param, name: &Ident, message: String, errors: &mut Errors) {
    match &param.ty {
        Some(ty) => errors.at(ty, message),
        None => errors.at(name, message),
    }
}

/// An argument to show in an example.
fn example(func: &Func) -> String {
    let named = func.bindings().find(|name| *name != "self");
    named.map_or_else(|| "self.id".to_owned(), ToString::to_string)
}
