//! The kind of the function, and the place of its body.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{GenericArgument, Path, PathArguments, PathSegment, Type, TypeParamBound};

use crate::{
    errors::Errors,
    func::Func,
    mentions::{self, Borrow},
};

/// The aliases of boxed futures that are in use.
const FUTURES: [&str; 2] = ["BoxFuture", "LocalBoxFuture"];
/// Types that are no alias of a `Result`.
const TYPES: [&str; 8] = ["Result", "Option", "Vec", "Box", "Arc", "Rc", "Cow", "Pin"];

/// The kind of a function. `output` is the `Result` that the body returns.
pub(crate) enum Shape {
    Sync { output: Type },
    Async { output: Type },
    Boxed(Boxed),
}

/// An `async fn` as rewritten by `#[async_trait]`:
/// `fn … -> Pin<Box<dyn Future<Output = R>>> { Box::pin(async move { … }) }`.
pub(crate) struct Boxed {
    pub(crate) output: Type,
    /// The tokens before the parentheses of `Box::pin(…)`.
    pub(crate) pin: TokenStream,
    pub(crate) body: Group,
}

impl Shape {
    pub(crate) fn new(func: &Func, errors: &mut Errors) -> Option<Self> {
        let declared = declared_output(func, errors)?;
        let is_async = func.sig.asyncness.is_some();
        let future = future_output(declared).filter(|_| !is_async);
        if let (None, Some(message)) = (future, unnamed(declared)) {
            errors.at(declared, message);
            return None;
        }
        let output = future.unwrap_or(declared).clone();
        if let Some(value) = borrowed_value(&output) {
            errors.at(
                value,
                "a replayed result cannot borrow, because it is read from the store: return an owned value, \
                 for example `String` instead of `&str`",
            );
        } else if is_borrowed_alias(&output) {
            errors.at(
                &output,
                "a replayed result cannot borrow, because it is read from the store: return an owned value; \
                 if only the error borrows, write `Result<…>` instead of the alias",
            );
        }
        match (future, is_async) {
            (Some(_), _) => errors.take(boxed(func, output)).map(Self::Boxed),
            (None, true) => Some(Self::Async { output }),
            (None, false) => Some(Self::Sync { output }),
        }
    }

    /// Returns the `Result` type of the body.
    pub(crate) fn output(&self) -> &Type {
        match self {
            Self::Sync { output } | Self::Async { output } | Self::Boxed(Boxed { output, .. }) => output,
        }
    }

    pub(crate) fn is_async(&self) -> bool {
        !matches!(self, Self::Sync { .. })
    }
}

/// Whether the function returns a `Pin<Box<dyn Future<…>>>`.
pub(crate) fn is_boxed(func: &Func) -> bool {
    func.output().is_some_and(|output| future_output(output).is_some())
}

fn declared_output<'a>(func: &'a Func, errors: &mut Errors) -> Option<&'a Type> {
    let name = &func.sig.ident;
    match func.output() {
        Some(never @ Type::Never(_)) => {
            let message = format!("`{name}` never returns, so no result can be recorded: return a `Result`");
            errors.at(never, message);
        }
        Some(output) => return Some(output),
        None => errors.at(
            name,
            format_args!(
                "`{name}` returns no `Result`, but the call itself can fail: \
                 write for example `-> Result<(), idem_runtime::Error>`"
            ),
        ),
    }
    None
}

/// Returns the mistake in a return type that names a future or no type at all.
fn unnamed(output: &Type) -> Option<&'static str> {
    let names = mentions::names(output);
    if last_segment(output).is_some_and(|segment| FUTURES.iter().any(|future| segment.ident == future)) {
        Some("a future cannot be recorded, only its result: make it an `async fn` and return the `Result`")
    } else if !names.contains("impl") {
        None
    } else if names.contains("Future") {
        Some("a future cannot be recorded, only its result: write `async fn` and return the `Result`")
    } else {
        Some(
            "`impl Trait` cannot be read from the store, because it names no type: return a `Result` of named types",
        )
    }
}

/// Returns the `T` of a `Result<T, E>` if it borrows: such a value can be stored, but not read back.
fn borrowed_value(output: &Type) -> Option<&Type> {
    first_generic(output, "Result").filter(|value| mentions::has_reference(value))
}

/// Whether the type is an alias that is given a borrow. The macro cannot see whether the value or the error borrows.
fn is_borrowed_alias(output: &Type) -> bool {
    let is_alias = |segment: &PathSegment| !TYPES.iter().any(|ty| segment.ident == ty);
    let borrows = |ty: &Type| mentions::has_reference(ty) || mentions::borrow(ty) != Borrow::Nothing;
    last_segment(output).is_some_and(is_alias) && borrows(output)
}

fn boxed(func: &Func, output: Type) -> syn::Result<Boxed> {
    let (pin, body) = pinned_block(func.body.stream()).ok_or_else(|| {
        syn::Error::new_spanned(
            func.output(),
            "a boxed future is accepted only as `#[async_trait]` writes it, `Box::pin(async move { … })`: \
             write `async fn` and return the `Result`",
        )
    })?;
    Ok(Boxed { output, pin, body })
}

/// Returns `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
fn future_output(ty: &Type) -> Option<&Type> {
    let Type::TraitObject(object) = first_generic(first_generic(ty, "Pin")?, "Box")? else { return None };
    object.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => associated_output(&bound.path),
        _ => None,
    })
}

/// Returns `T` of `Name<T, …>`.
fn first_generic<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
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

/// Splits `… Box::pin(async move { … })` into the tokens before the parentheses and the block inside.
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
