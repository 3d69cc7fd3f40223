//! The expansion: one call of the public builder in place of the body. The only file that writes Rust.
//!
//! Where the compiler shows an error is part of the work: the name of each builder method carries the span of the
//! option it comes from, values keep their own, and all the rest stands at the return type.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Expr, ExprParen, ExprReference, ExprTuple,
    ext::IdentExt,
    spanned::Spanned,
    token::{And, Paren},
};

use crate::{
    args::Opt,
    duration::Duration,
    expr::word,
    func::Param,
    options::{Codec, OnErr, OnInterrupt},
    plan::{Compare, Compared, Plan},
    shape::{Boxed, Shape},
};

pub(crate) fn expand(plan: &Plan) -> TokenStream {
    let output = plan.shape.output();
    let expansion = Expansion {
        plan,
        output: output.to_token_stream(),
        krate: plan.options.krate.as_ref().map(|krate| krate.value.to_token_stream()),
        // For lints it is generated code, for a reader of errors the return type.
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
    //     fn charge(gateway: &Gateway, order: Order) -> Result<Receipt, PayError> { BODY }
    //
    // Output:
    //     ::idem_runtime::call("shop.charge").defined_at(…).key(&order.id).arg("order", &order)
    //         .run::<Result<Receipt, PayError>, _>(|| -> Result<Receipt, PayError> { BODY })
    //
    // The closure takes each argument as the body uses it: without `move`, so that `tx = conn` can lend the
    // connection to both.
    fn sync(&self) -> TokenStream {
        let Self { output, at, .. } = self;
        let call = self.call();
        let body = &self.plan.func.body;
        quote_spanned! { *at => #call.run::<#output, _>(|| -> #output #body) }
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
        // In the user's own braces: a body without a value is reported there.
        let mut braces = Group::new(body.delimiter(), content);
        braces.set_span(body.span());
        quote_spanned! { *at => #call.run_async::<#output, _, _>(move || async move #braces).await }
    }

    // Input, as `#[async_trait]` left it:
    //     fn charge<'a>(&'a self, order: Order) -> Pin<Box<dyn Future<Output = Result<…>> + Send + 'a>> {
    //         Box::pin(async move { BODY })
    //     }
    //
    // Output: the same with an asynchronous call inside of `async move { … }`.
    fn pinned(&self, Boxed { pin, body, .. }: &Boxed) -> TokenStream {
        let call = self.asynchronous(body);
        quote_spanned! { self.at => #pin(async move { #call }) }
    }

    /// The builder with all its options, up to `run`.
    fn call(&self) -> TokenStream {
        let options = &self.plan.options;
        let krate = self.krate();
        let name = self.name();
        let was = options.was.as_ref().map(|Opt { name, value }| {
            quote_spanned! { self.at => .#name(&[#(#value),*]) }
        });
        let store = options.store.as_ref().map(|store| self.by_reference(store));
        let key = self.by_reference(&self.plan.key);
        let start = quote_spanned! { self.at =>
            #krate::call(#name)
                .defined_at(::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()))
                #was #store #key
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

    /// What is compared. An argument under `#[cfg(…)]` needs a statement that carries the attribute; those come
    /// before the call and leave it in a variable no argument can be mistaken for.
    fn compare(&self, call: TokenStream) -> (TokenStream, TokenStream) {
        let arguments = match &self.plan.compare {
            Compare::Nothing => return (call, TokenStream::new()),
            Compare::Value(fingerprint) => return (call, self.by_reference(fingerprint)),
            Compare::Arguments(arguments) => arguments,
        };
        let (always, sometimes): (Vec<_>, Vec<_>) = arguments.iter().partition(|arg| arg.cfgs.is_empty());
        let always = always.into_iter().map(|compared| self.argument(compared)).collect();
        if sometimes.is_empty() {
            return (call, always);
        }
        let variable = Ident::new("call", self.at.resolved_at(Span::mixed_site()));
        let statements = sometimes.into_iter().map(|compared| {
            let (cfgs, arg) = (&compared.cfgs, self.argument(compared));
            quote_spanned! { self.at => #(#cfgs)* let #variable = #variable #arg; }
        });
        (quote_spanned! { self.at => let #variable = #call; #(#statements)* #variable }, always)
    }

    fn argument(&self, Compared { ident, is_reference, .. }: &Compared) -> TokenStream {
        let name = ident.unraw().to_string();
        let reference = (!is_reference).then(|| And { spans: [ident.span()] });
        let ident = quiet(ident);
        quote_spanned! { self.at => .arg(#name, #reference #ident) }
    }

    /// `.key(&order.id)`
    fn by_reference(&self, Opt { name, value }: &Opt<Expr>) -> TokenStream {
        let is_reference = |param: &Param| {
            param.is_reference && word(value).is_some_and(|word| param.bindings.contains(word))
        };
        let value = match value {
            value if self.plan.func.params.iter().any(is_reference) => value.clone(),
            value => borrowed(value),
        };
        quote_spanned! { self.at => .#name(#value) }
    }

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

    fn codec(&self) -> Option<TokenStream> {
        let Opt { name, value } = self.plan.options.codec.as_ref()?;
        let krate = self.krate();
        let codec = match value {
            Codec::Bincode => quote_spanned! { name.span() => Bincode },
            Codec::Json => quote_spanned! { name.span() => Json },
        };
        Some(quote_spanned! { self.at => .#name(#krate::Codec::#codec) })
    }

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

    /// What changes how the body is run: the last steps before `run`.
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

    /// `recover` decides about the record and is done with its hook, which borrows the arguments, before the body
    /// may move them.
    fn recover(&self, hook: &Expr) -> TokenStream {
        if self.plan.shape.is_async() {
            quote_spanned! { self.at => .recover_async(async || #hook).await }
        } else {
            quote_spanned! { self.at => .recover(|| #hook) }
        }
    }

    /// A detached body takes every argument with it, also those it does not mention: a permit must be held until
    /// the body ends, not until its caller goes away.
    fn taken_along(&self) -> Option<TokenStream> {
        self.plan.options.detach.as_ref()?;
        let taken = self.plan.func.params.iter().flat_map(|Param { cfgs, bindings, .. }| {
            bindings
                .iter()
                .map(quiet)
                .map(move |name| quote_spanned! { self.at => #(#cfgs)* let _ = &#name; })
        });
        Some(taken.collect())
    }
}

/// The argument, as generated code: `_unused` is used here, but no lint shall tell the user off.
fn quiet(argument: &Ident) -> Ident {
    let mut argument = argument.clone();
    let name = argument.to_string();
    if name.starts_with('_') && !name.starts_with("__") {
        argument.set_span(Span::call_site().located_at(argument.span()));
    }
    argument
}

/// The expression lent. The elements of a tuple are lent one by one, so that none is moved.
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
