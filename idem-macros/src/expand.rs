//! The expansion: one call of the public builder in place of the body. The only file that writes Rust.
//!
//! The name of each builder method carries the span of the option it comes from, and the type of the result the
//! span of the return type, so that the compiler's errors appear there.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Expr, ExprParen, ExprReference, ExprTuple, Type,
    ext::IdentExt,
    spanned::Spanned,
    token::{And, Paren},
};

use crate::{
    args::Opt,
    duration::Duration,
    func::Param,
    options::{Codec, OnErr, OnInterrupt, Options},
    plan::{Compare, Compared, Plan},
    shape::{Boxed, Shape},
};

pub(crate) fn expand(plan: &Plan) -> TokenStream {
    let Plan { func, .. } = plan;
    let (attrs, vis, sig) = (&func.attrs, &func.vis, &func.sig);
    let body = match &plan.shape {
        Shape::Sync { output } => sync(plan, output),
        Shape::Async { output } => asynchronous(plan, output, &func.body),
        Shape::Boxed(boxed) => pinned(plan, boxed),
    };
    quote! { #(#attrs)* #vis #sig { #body } }
}

// Input:
//     fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> { BODY }
//
// Output:
//     ::idem_runtime::call("shop.charge").defined_at(…).key(&order.id).arg("order", &order)
//         .run::<Result<Receipt, PayError>, _>(|| -> Result<Receipt, PayError> { BODY })
//
// The closure takes each argument as the body uses it: without `move`, so that `tx = conn` can lend the
// connection to both.
fn sync(plan: &Plan, output: &Type) -> TokenStream {
    let call = call(plan);
    let body = &plan.func.body;
    quote_spanned! { at(output) => #call.run::<#output, _>(|| -> #output #body) }
}

// Input:
//     async fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> { BODY }
//
// Output:
//     ::idem_runtime::call("shop.charge").defined_at(…).key(&order.id).arg("order", &order)
//         .run_async::<Result<Receipt, PayError>, _, _>(move || async move {
//             if let Some(result) = None::<Result<Receipt, PayError>> { return result; }
//             BODY
//         })
//         .await
//
// An async block cannot say what it gives. The `return` that is never reached says it, so that `?` finds its
// target and a wrong value is reported where the user wrote it.
fn asynchronous(plan: &Plan, output: &Type, body: &Group) -> TokenStream {
    let call = call(plan);
    let result = Ident::new("result", Span::mixed_site());
    let taken = taken_along(plan);
    let statements = body.stream();
    let body = braces(body, quote_spanned! { at(output) =>
        if let ::core::option::Option::Some(#result) = ::core::option::Option::None::<#output> {
            return #result;
        }
        #taken
        #statements
    });
    quote_spanned! { at(output) => #call.run_async::<#output, _, _>(move || async move #body).await }
}

// Input, as `#[async_trait]` left it:
//     fn charge<'a>(&'a self, order: Order) -> Pin<Box<dyn Future<Output = Result<…>> + Send + 'a>> {
//         Box::pin(async move { BODY })
//     }
//
// Output: the same with an asynchronous call inside of `async move { … }`.
fn pinned(plan: &Plan, boxed: &Boxed) -> TokenStream {
    let Boxed { output, pin, body } = boxed;
    let call = asynchronous(plan, output, body);
    quote! { #pin(async move { #call }) }
}

/// The builder with all its options, up to `run`.
fn call(plan: &Plan) -> TokenStream {
    let Plan { options, key, .. } = plan;
    let krate = krate(options);
    let name = name(plan);
    let was = options.was.as_ref().map(|Opt { name, value }| quote! { .#name(&[#(#value),*]) });
    let store = options.store.as_ref().map(|store| by_reference(store, &store.name));
    let key = by_reference(key, &key.name);
    let before = quote_spanned! { at(plan.shape.output()) =>
        #krate::call(#name)
            .defined_at(::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()))
            #was #store #key
    };
    let (before, compared) = compare(before, &plan.compare);
    let lifetimes = lifetimes(options, &krate);
    let on_err = on_err(options, &krate);
    let map_err = options.map_err.as_ref().map(|Opt { name, value }| quote! { .#name(#value) });
    let codec = codec(options, &krate);
    let mode = mode(options, &plan.shape, &krate);
    quote! { #before #compared #lifetimes #codec #on_err #map_err #mode }
}

/// Generated code for lints, the return type for a reader of errors.
fn at(output: &Type) -> Span {
    Span::call_site().located_at(output.span())
}

fn krate(options: &Options) -> TokenStream {
    options.krate.as_ref().map_or_else(|| quote! { ::idem_runtime }, |krate| krate.value.to_token_stream())
}

fn name(plan: &Plan) -> TokenStream {
    if let Some(Opt { value, .. }) = &plan.options.name {
        return value.to_token_stream();
    }
    let name = plan.func.sig.ident.unraw().to_string();
    quote! { ::core::concat!(::core::module_path!(), "::", #name) }
}

/// What is compared. An argument under `#[cfg(…)]` needs a statement that carries the attribute; those come
/// before the call and leave it in a variable no argument can be mistaken for.
fn compare(call: TokenStream, compare: &Compare) -> (TokenStream, TokenStream) {
    let arguments = match compare {
        Compare::Nothing => return (call, TokenStream::new()),
        Compare::Value(fingerprint) => return (call, by_reference(fingerprint, &fingerprint.name)),
        Compare::Arguments(arguments) => arguments,
    };
    let always = arguments.iter().filter(|argument| argument.cfgs.is_empty()).map(argument);
    let mut sometimes = arguments.iter().filter(|argument| !argument.cfgs.is_empty()).peekable();
    if sometimes.peek().is_none() {
        return (call, always.collect());
    }
    let variable = Ident::new("call", Span::mixed_site());
    let statements = sometimes.map(|compared| {
        let (cfgs, arg) = (&compared.cfgs, argument(compared));
        quote! { #(#cfgs)* let #variable = #variable #arg; }
    });
    (quote! { let #variable = #call; #(#statements)* #variable }, always.collect())
}

fn argument(Compared { ident, is_reference, .. }: &Compared) -> TokenStream {
    let name = ident.unraw().to_string();
    let reference = (!is_reference).then(|| And { spans: [ident.span()] });
    let mut ident = ident.clone();
    // `_unused` is used here, and not by the user: no lint shall tell them off.
    if name.starts_with('_') && !name.starts_with("__") {
        ident.set_span(Span::call_site().located_at(ident.span()));
    }
    quote! { .arg(#name, #reference #ident) }
}

/// `.key(&order.id)`; the elements of a tuple are borrowed one by one, so that none is moved.
fn by_reference(option: &Opt<Expr>, method: &Ident) -> TokenStream {
    let value = borrowed(&option.value);
    quote! { .#method(#value) }
}

fn borrowed(value: &Expr) -> Expr {
    let lent = match value {
        Expr::Paren(paren) => return borrowed(&paren.expr),
        Expr::Reference(reference) if reference.mutability.is_none() => return value.clone(),
        Expr::Tuple(tuple) => {
            let elems = tuple.elems.iter().map(borrowed).collect();
            Expr::Tuple(ExprTuple { elems, ..tuple.clone() })
        }
        // `&` binds more tightly than these. The parentheses stand where the expression does, for messages.
        Expr::Binary(_) | Expr::Cast(_) | Expr::Range(_) | Expr::Closure(_) | Expr::Assign(_) => {
            let paren_token = Paren(value.span());
            Expr::Paren(ExprParen { attrs: Vec::new(), paren_token, expr: Box::new(value.clone()) })
        }
        _ => value.clone(),
    };
    Expr::Reference(ExprReference {
        attrs: Vec::new(),
        and_token: And { spans: [value.span()] },
        mutability: None,
        expr: Box::new(lent),
    })
}

fn lifetimes(options: &Options, krate: &TokenStream) -> TokenStream {
    let options = [&options.ttl, &options.keep_result, &options.wait].into_iter().flatten();
    let calls = options.map(|Opt { name, value }| {
        let value = match value {
            Duration::Forever => quote! { #krate::Lifetime::FOREVER },
            Duration::Millis(ms) if ms % 1_000 == 0 => {
                let secs = ms / 1_000;
                quote! { ::core::time::Duration::from_secs(#secs) }
            }
            Duration::Millis(ms) => quote! { ::core::time::Duration::from_millis(#ms) },
            Duration::Expr(value) => value.to_token_stream(),
        };
        quote! { .#name(#value) }
    });
    calls.collect()
}

fn on_err(options: &Options, krate: &TokenStream) -> Option<TokenStream> {
    let Opt { name, value } = options.on_err.as_ref()?;
    let policy = match value {
        OnErr::Release => quote! { Release },
        OnErr::Remember => quote! { Remember },
        OnErr::InDoubt => quote! { InDoubt },
        OnErr::Classify(classify) => quote! { Classify(#classify) },
    };
    Some(quote! { .#name(#krate::on_err::#policy) })
}

fn codec(options: &Options, krate: &TokenStream) -> Option<TokenStream> {
    let Opt { name, value } = options.codec.as_ref()?;
    let codec = match value {
        Codec::Bincode => quote_spanned! { name.span() => Bincode },
        Codec::Json => quote_spanned! { name.span() => Json },
    };
    Some(quote! { .#name(#krate::Codec::#codec) })
}

/// What changes how the body is run: the last steps before `run`.
fn mode(options: &Options, shape: &Shape, krate: &TokenStream) -> TokenStream {
    let on_interrupt = on_interrupt(options, shape, krate);
    let detach = options.detach.as_ref().map(|Opt { name, .. }| quote! { .#name() });
    let tx = options.tx.as_ref().map(|tx| by_reference(tx, &tx.name));
    quote! { #detach #tx #on_interrupt }
}

/// `recover` goes last: it decides about the record and lends the arguments to its hook, before the body may
/// move them.
fn on_interrupt(options: &Options, shape: &Shape, krate: &TokenStream) -> Option<TokenStream> {
    let Opt { name, value } = options.on_interrupt.as_ref()?;
    let mode = match value {
        OnInterrupt::Refuse => quote! { #krate::OnInterrupt::Refuse },
        OnInterrupt::Rerun => quote! { #krate::OnInterrupt::rerun() },
        OnInterrupt::RerunAtMost(attempts) => quote! { #krate::OnInterrupt::rerun_at_most(#attempts) },
        OnInterrupt::RerunUnlimited => quote! { #krate::OnInterrupt::rerun_unlimited() },
        OnInterrupt::Expr(value) => value.to_token_stream(),
        OnInterrupt::Recover(hook) => return Some(recover(hook, shape)),
    };
    Some(quote! { .#name(#mode) })
}

fn recover(hook: &Expr, shape: &Shape) -> TokenStream {
    if shape.is_async() {
        quote! { .recover_async(async || #hook).await }
    } else {
        quote! { .recover(|| #hook) }
    }
}

/// The body of a detached call takes every argument with it, also those it does not mention: a permit must be
/// held until the body ends, not until its caller goes away.
fn taken_along(plan: &Plan) -> Option<TokenStream> {
    plan.options.detach.as_ref()?;
    let taken = plan.func.params.iter().flat_map(|Param { cfgs, bindings, .. }| {
        bindings.iter().map(move |name| quote! { #(#cfgs)* let _ = &#name; })
    });
    Some(taken.collect())
}

/// Other content in the user's own braces: a body without a value is reported there.
fn braces(body: &Group, content: TokenStream) -> Group {
    let mut braces = Group::new(body.delimiter(), content);
    braces.set_span(body.span());
    braces
}
