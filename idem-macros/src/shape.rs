//! Where the user's body is, and what it gives.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{GenericArgument, Path, PathArguments, Type, TypeParamBound};

use crate::{errors::Errors, func::Func, mentions};

/// What kind of function it is; `output` is what the body gives, a `Result`.
pub(crate) enum Shape {
    Sync { output: Type },
    Async { output: Type },
    Boxed(Boxed),
}

/// What `#[async_trait]` has made of an `async fn`: `fn … -> Pin<Box<dyn Future<Output = R>>> { Box::pin(async move { … }) }`.
pub(crate) struct Boxed {
    pub(crate) output: Type,
    /// Everything before the parentheses of `Box::pin(…)`.
    pub(crate) pin: TokenStream,
    pub(crate) body: Group,
}

impl Shape {
    pub(crate) fn new(func: &Func, errors: &mut Errors) -> Option<Self> {
        let name = &func.sig.ident;
        let Some(output) = func.output() else {
            errors.at(name, format_args!("`{name}` must return a `Result`, for example `-> Result<(), idem_runtime::Error>`: the call itself can fail"));
            return None;
        };
        if let Type::Never(never) = output {
            errors.at(
                never,
                format_args!("`{name}` never returns, so there is nothing to record: return a `Result`"),
            );
            return None;
        }
        if func.sig.asyncness.is_none()
            && let Some(output) = future_output(output)
        {
            result_owns_its_value(output, errors);
            return Self::boxed(func, output, errors);
        }
        if mentions::names(output).contains("impl") {
            errors.at(output, impl_trait(output));
            return None;
        }
        result_owns_its_value(output, errors);
        let output = output.clone();
        Some(if func.sig.asyncness.is_some() { Self::Async { output } } else { Self::Sync { output } })
    }

    fn boxed(func: &Func, output: &Type, errors: &mut Errors) -> Option<Self> {
        let Some((pin, body)) = pinned_block(func.body.stream()) else {
            errors.at(
                func.output(),
                "only what `#[async_trait]` writes can be boxed, a body that is `Box::pin(async move { … })`: \
                 write `async fn` and return the `Result`",
            );
            return None;
        };
        Some(Self::Boxed(Boxed { output: output.clone(), pin, body }))
    }

    /// The `Result` that the body gives.
    pub(crate) fn output(&self) -> &Type {
        match self {
            Self::Sync { output } | Self::Async { output } | Self::Boxed(Boxed { output, .. }) => output,
        }
    }

    pub(crate) fn is_async(&self) -> bool {
        !matches!(self, Self::Sync { .. })
    }
}

/// Whether it is an async function in all but name: `Pin<Box<dyn Future<…>>>` is returned.
pub(crate) fn is_boxed(func: &Func) -> bool {
    func.output().is_some_and(|output| future_output(output).is_some())
}

/// `Result<&str, E>` could be stored, but never be read back.
fn result_owns_its_value(output: &Type, errors: &mut Errors) {
    if let Some(value) = first_generic(output, "Result").filter(|value| mentions::has_reference(value)) {
        errors.at(
            value,
            "a replay reads the result back, and what is read back cannot borrow: return an owned value, \
             for example `String` for `&str`",
        );
    }
}

fn impl_trait(output: &Type) -> String {
    if mentions::names(output).contains("Future") {
        "write `async fn` and return the `Result`: what is recorded is the result, not the future".to_owned()
    } else {
        "`impl Trait` has no name under which it could be read back: return a `Result` with named types"
            .to_owned()
    }
}

/// `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
fn future_output(ty: &Type) -> Option<&Type> {
    let Type::TraitObject(object) = first_generic(first_generic(ty, "Pin")?, "Box")? else { return None };
    object.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => associated_output(&bound.path),
        _ => None,
    })
}

/// `T` of `Name<T, …>`.
fn first_generic<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

fn associated_output(path: &Path) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
        _ => None,
    })
}

/// Splits `… Box::pin(async move { … })` before its parentheses and gives the block inside.
fn pinned_block(body: TokenStream) -> Option<(TokenStream, Group)> {
    let mut tokens: Vec<TokenTree> = body.into_iter().collect();
    let Some(TokenTree::Group(argument)) = tokens.pop() else { return None };
    let is_pin = matches!(&*tokens, [.., TokenTree::Ident(boxed), _, _, TokenTree::Ident(pin)] if boxed == "Box" && pin == "pin");
    let inner: Vec<TokenTree> = argument.stream().into_iter().collect();
    match &*inner {
        [TokenTree::Ident(is_async), TokenTree::Ident(is_move), TokenTree::Group(block)]
            if is_pin
                && is_async == "async"
                && is_move == "move"
                && block.delimiter() == Delimiter::Brace =>
        {
            Some((tokens.into_iter().collect(), block.clone()))
        }
        _ => None,
    }
}
