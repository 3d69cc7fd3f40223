//! The expansion: one call of the public builder in place of the body. Only this file writes Rust.
//!
//! # Spans
//!
//! The compiler reports an error at the span of the tokens at fault. So each builder method has the span of its option,
//! and each value keeps its own span. All other tokens have the span of the return type.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, ext::IdentExt, spanned::Spanned, token::And};

use crate::{
    duration::Duration,
    expr::{borrowed, word},
    func::Param,
    options::Opt,
    plan::{Compare, Compared, Plan},
    shape::{Boxed, Shape},
    values::{Codec, OnErr, OnInterrupt},
};

/// Returns the function with the call of the builder as its body.
pub(crate) fn expand(plan: &Plan) -> TokenStream {
    let output = plan.shape.output();
    let expansion = Expansion {
        plan,
        output: output.to_token_stream(),
        krate: plan.options.krate.as_ref().map(|krate| krate.value.to_token_stream()),
        // Lints see generated code; compile errors point at the return type.
        at: Span::call_site().located_at(output.span()),
    };
    let body = match &plan.shape {
        Shape::Sync { .. } => expansion.sync(),
        Shape::Async { .. } => expansion.asynchronous(&plan.func.body),
        Shape::Boxed(boxed) => expansion.pinned(boxed),
    };
    let (attrs, vis, sig) = (&plan.func.attrs, &plan.func.vis, &plan.func.sig);
    quote! { #(#attrs)* #vis #sig { #body } }
}

struct Expansion<'a> {
    plan: &'a Plan,
    output: TokenStream,
    krate: Option<TokenStream>,
    at: Span,
}

impl Expansion<'_> {
    // Input:
    //     #[idempotent(name = "shop.charge", key = order.id, skip(gateway))]
    //     fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> { BODY }
    //
    // Output:
    //     fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> {
    //         ::idem_runtime::call("shop.charge").key(&order.id).arg("order", &order)
    //             .run::<Result<Receipt, PayError>, _>(|| -> Result<Receipt, PayError> { BODY })
    //     }
    //
    // The closure has no `move`: with `tx = conn`, the builder and the body both borrow the connection.
    fn sync(&self) -> TokenStream {
        let Self { output, at, .. } = self;
        let call = self.call();
        let body = &self.plan.func.body;
        quote_spanned! { *at => #call.run::<#output, _>(|| -> #output #body) }
    }

    // Input:
    //     #[idempotent(name = "shop.charge", key = order.id, skip(gateway))]
    //     async fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> { BODY }
    //
    // Output:
    //     async fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> {
    //         ::idem_runtime::call("shop.charge").key(&order.id).arg("order", &order)
    //             .run_async::<Result<Receipt, PayError>, _, _>(move || async move {
    //                 if let Some(result) = None::<Result<Receipt, PayError>> { return result; }
    //                 BODY
    //             })
    //             .await
    //     }
    //
    // An async block has no syntax for its type. The unreachable `return` fixes the type, so `?` knows its target and
    // the compiler reports a wrong value in the user's body.
    fn asynchronous(&self, body: &Group) -> TokenStream {
        let Self { output, at, .. } = self;
        let call = self.call();
        let result = Ident::new("result", at.resolved_at(Span::mixed_site()));
        let taken = self.taken_along();
        let statements = body.stream();
        let content = quote_spanned! { *at =>
            if let ::core::option::Option::Some(#result) = ::core::option::Option::None::<#output> {
                return #result;
            }
            #taken
            #statements
        };
        // The braces keep the user's span, because the compiler reports a body without a value there.
        let mut braces = Group::new(body.delimiter(), content);
        braces.set_span(body.span());
        quote_spanned! { *at => #call.run_async::<#output, _, _>(move || async move #braces).await }
    }

    // Input, as `#[async_trait]` rewrites it:
    //     #[idempotent(name = "shop.charge", key = order.id, skip(self))]
    //     fn charge<'a>(&'a self, order: Order) -> Pin<Box<dyn Future<Output = Result<…>> + Send + 'a>> {
    //         Box::pin(async move { BODY })
    //     }
    //
    // Output:
    //     fn charge<'a>(&'a self, order: Order) -> Pin<Box<dyn Future<Output = Result<…>> + Send + 'a>> {
    //         Box::pin(async move { ::idem_runtime::call("shop.charge")….run_async::<…>(…).await })
    //     }
    fn pinned(&self, Boxed { pin, body, .. }: &Boxed) -> TokenStream {
        let call = self.asynchronous(body);
        quote_spanned! { self.at => #pin(async move { #call }) }
    }

    // Input:
    //     #[idempotent(name = "shop.charge", was("shop.pay"), key = order.id, ttl = "365d", store = self.store)]
    //
    // Output:
    //     ::idem_runtime::call("shop.charge").was(&["shop.pay"]).store(&self.store).key(&order.id).arg("order", &order)
    //         .ttl(::core::time::Duration::from_secs(31536000u64))
    fn call(&self) -> TokenStream {
        let options = &self.plan.options;
        let krate = self.krate();
        let name = self.name();
        let function = self.function();
        let was = options.was.as_ref().map(|Opt { name, value }| {
            quote_spanned! { self.at => .#name(&[#(#value),*]) }
        });
        let store = options.store.as_ref().map(|store| self.by_reference(store));
        let key = self.by_reference(&self.plan.key);
        let start = quote_spanned! { self.at =>
            #krate::call(#name) #function #was #store #key
        };
        let (start, compared) = self.compare(start);
        let (lifetimes, codec, on_err) = (self.lifetimes(), self.codec(), self.on_err());
        let map_err = options.map_err.as_ref().map(|Opt { name, value }| {
            quote_spanned! { self.at => .#name(#value) }
        });
        let modes = self.modes();
        quote! { #start #compared #lifetimes #codec #on_err #map_err #modes }
    }

    fn krate(&self) -> TokenStream {
        self.krate.clone().unwrap_or_else(|| quote_spanned! { self.at => ::idem_runtime })
    }

    fn name(&self) -> TokenStream {
        if let Some(Opt { value, .. }) = &self.plan.options.name {
            return value.to_token_stream();
        }
        let name = self.plan.func.sig.ident.unraw().to_string();
        quote_spanned! { self.at => ::core::concat!(::core::module_path!(), "::", #name) }
    }

    // Input: no `name`. Output: `.named_by_path()`.
    // Input: `key = (T::KIND, id)`. Output: `.types_in_key()`.
    // Input: `on_interrupt = recover(…)`. Output: `.in_function(|| {})`.
    // Input: `same_for_types`. Output: `.same_for_types_here()`.
    //
    // The method is called at the name of the function, because its place in the source stands for the function.
    fn function(&self) -> TokenStream {
        let options = &self.plan.options;
        let by_path = options.name.is_none().then(|| quote_spanned! { self.at => .named_by_path() });
        let types = match &options.same_for_types {
            Some(_) => Some(quote_spanned! { self.plan.func.sig.ident.span() => .same_for_types_here() }),
            None if self.plan.types_in_key => Some(quote_spanned! { self.at => .types_in_key() }),
            None => None,
        };
        let recovers = matches!(&options.on_interrupt, Some(Opt { value: OnInterrupt::Recover(_), .. }));
        let closure = recovers.then(|| quote_spanned! { self.at => .in_function(|| {}) });
        quote! { #by_path #types #closure }
    }

    // Input:
    //     fn charge(order: Order, #[cfg(test)] trace: &Trace)
    //
    // Output:
    //     let call = …;
    //     #[cfg(test)] let call = call.arg("trace", trace);
    //     call.arg("order", &order)
    //
    // Only a statement can carry `#[cfg(…)]`, and the `#[allow(…)]` for the use of an argument such as `_permit`. The
    // hygiene of `call` keeps it apart from an argument of that name.
    //
    // Input: `fingerprint = order.total`. Output: `.fingerprint(&order.total)`.
    fn compare(&self, call: TokenStream) -> (TokenStream, TokenStream) {
        let arguments = match &self.plan.compare {
            Compare::Nothing => return (call, TokenStream::new()),
            Compare::Value(fingerprint) => return (call, self.by_reference(fingerprint)),
            Compare::Arguments(arguments) => arguments,
        };
        let (always, sometimes): (Vec<_>, Vec<_>) =
            arguments.iter().partition(|arg| arg.cfgs.is_empty() && !is_underscored(&arg.ident));
        let always = always.into_iter().map(|compared| self.argument(compared)).collect();
        if sometimes.is_empty() {
            return (call, always);
        }
        let variable = Ident::new("call", self.at.resolved_at(Span::mixed_site()));
        let statements = sometimes.into_iter().map(|compared| {
            let (cfgs, allow, arg) = (&compared.cfgs, self.allow(&compared.ident), self.argument(compared));
            quote_spanned! { self.at => #(#cfgs)* #allow let #variable = #variable #arg; }
        });
        (quote_spanned! { self.at => let #variable = #call; #(#statements)* #variable }, always)
    }

    // Input: `order: &Order, cents: u64`. Output: `.arg("order", order).arg("cents", &cents)`.
    fn argument(&self, Compared { ident, is_reference, .. }: &Compared) -> TokenStream {
        let name = ident.unraw().to_string();
        let reference = (!is_reference).then(|| And { spans: [ident.span()] });
        quote_spanned! { self.at => .arg(#name, #reference #ident) }
    }

    /// Returns the attribute of a statement that uses the argument: the user's lints must not report that use.
    fn allow(&self, argument: &Ident) -> Option<TokenStream> {
        is_underscored(argument)
            .then(|| quote_spanned! { self.at => #[allow(clippy::used_underscore_binding)] })
    }

    // Input: `key = order.id`. Output: `.key(&order.id)`.
    // Input: `tx = conn`, where `conn: &Connection`. Output: `.tx(conn)`.
    fn by_reference(&self, Opt { name, value }: &Opt<Expr>) -> TokenStream {
        let is_reference = |param: &Param| {
            param.is_reference && word(value).is_some_and(|word| param.bindings.contains(word))
        };
        let value = match value {
            value if self.plan.func.params.iter().any(is_reference) => value.clone(),
            value => borrowed(value, &|name| self.plan.func.bindings().any(|own| own == name)),
        };
        quote_spanned! { self.at => .#name(#value) }
    }

    // Input: `ttl = "forever", wait = "5s"`.
    // Output: `.ttl(::idem_runtime::Lifetime::FOREVER).wait(::core::time::Duration::from_secs(5u64))`.
    fn lifetimes(&self) -> TokenStream {
        let krate = self.krate();
        let options = &self.plan.options;
        let given = [&options.ttl, &options.keep_result, &options.wait].into_iter().flatten();
        let calls = given.map(|Opt { name, value }| {
            let value = match value {
                Duration::Forever => quote_spanned! { self.at => #krate::Lifetime::FOREVER },
                Duration::Millis(ms) if ms % 1_000 == 0 => {
                    let secs = ms / 1_000;
                    quote_spanned! { self.at => ::core::time::Duration::from_secs(#secs) }
                }
                Duration::Millis(ms) => {
                    quote_spanned! { self.at => ::core::time::Duration::from_millis(#ms) }
                }
                Duration::Expr(value) => value.to_token_stream(),
            };
            quote_spanned! { self.at => .#name(#value) }
        });
        calls.collect()
    }

    // Input: `codec = json`. Output: `.codec(::idem_runtime::Codec::Json)`.
    fn codec(&self) -> Option<TokenStream> {
        let Opt { name, value } = self.plan.options.codec.as_ref()?;
        let krate = self.krate();
        let codec = match value {
            Codec::Bincode => quote_spanned! { name.span() => Bincode },
            Codec::Json => quote_spanned! { name.span() => Json },
        };
        Some(quote_spanned! { self.at => .#name(#krate::Codec::#codec) })
    }

    // Input: `on_err = remember`. Output: `.on_err(::idem_runtime::on_err::Remember)`.
    fn on_err(&self) -> Option<TokenStream> {
        let Opt { name, value } = self.plan.options.on_err.as_ref()?;
        let krate = self.krate();
        let policy = match value {
            OnErr::Release => quote_spanned! { self.at => Release },
            OnErr::Remember => quote_spanned! { self.at => Remember },
            OnErr::InDoubt => quote_spanned! { self.at => InDoubt },
            OnErr::Classify(classify) => quote_spanned! { self.at => Classify(#classify) },
        };
        Some(quote_spanned! { self.at => .#name(#krate::on_err::#policy) })
    }

    /// Returns the options that change how the body runs. They come last before `run`.
    fn modes(&self) -> TokenStream {
        let options = &self.plan.options;
        let detach = options.detach.as_ref().map(|Opt { name, .. }| quote_spanned! { self.at => .#name() });
        let tx = options.tx.as_ref().map(|tx| self.by_reference(tx));
        let (mode, recover) = match &options.on_interrupt {
            Some(Opt { value: OnInterrupt::Recover(_), .. }) => (None, self.on_interrupt()),
            _ => (self.on_interrupt(), None),
        };
        quote! { #mode #detach #tx #recover }
    }

    // Input: `on_interrupt = rerun(3)`. Output: `.on_interrupt(::idem_runtime::OnInterrupt::rerun_at_most(3))`.
    fn on_interrupt(&self) -> Option<TokenStream> {
        let Opt { name, value } = self.plan.options.on_interrupt.as_ref()?;
        let krate = self.krate();
        let mode = match value {
            OnInterrupt::Refuse => quote_spanned! { self.at => #krate::OnInterrupt::Refuse },
            OnInterrupt::Rerun => quote_spanned! { self.at => #krate::OnInterrupt::rerun() },
            OnInterrupt::RerunAtMost(n) => {
                quote_spanned! { self.at => #krate::OnInterrupt::rerun_at_most(#n) }
            }
            OnInterrupt::RerunUnlimited => {
                quote_spanned! { self.at => #krate::OnInterrupt::rerun_unlimited() }
            }
            OnInterrupt::Expr(value) => value.to_token_stream(),
            OnInterrupt::Recover(hook) => return Some(self.recover(hook)),
        };
        Some(quote_spanned! { self.at => .#name(#mode) })
    }

    // Input: `on_interrupt = recover(ask(&id).await)`. Output: `.recover_async(async || ask(&id).await).await`.
    //
    // The hook borrows the arguments. The hook ends before the body can move the arguments.
    fn recover(&self, hook: &Expr) -> TokenStream {
        if self.plan.shape.is_async() {
            quote_spanned! { self.at => .recover_async(async || #hook).await }
        } else {
            quote_spanned! { self.at => .recover(|| #hook) }
        }
    }

    // Input: `detach` and `permit: Permit`. Output: `let _ = &permit;` at the start of the body.
    //
    // A detached body owns every argument, even one that it does not mention: a permit must be held until the body
    // ends.
    fn taken_along(&self) -> Option<TokenStream> {
        self.plan.options.detach.as_ref()?;
        let taken = self.plan.func.params.iter().flat_map(|Param { cfgs, bindings, .. }| {
            bindings.iter().map(move |name| {
                let allow = self.allow(name);
                quote_spanned! { self.at => #(#cfgs)* #allow let _ = &#name; }
            })
        });
        Some(taken.collect())
    }
}

/// Whether the name says that the argument is unused.
fn is_underscored(argument: &Ident) -> bool {
    let name = argument.to_string();
    name.starts_with('_') && !name.starts_with("__")
}
