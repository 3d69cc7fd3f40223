//! The input of the expansion: the function, and the options that fit it.

use syn::{Attribute, Expr, Ident};

use crate::{
    errors::Errors,
    features::Features,
    func::Func,
    generics,
    options::{Opt, Options},
    rules,
    shape::Shape,
    values::Fingerprint,
};

/// A function and its options, checked by every rule.
pub(crate) struct Plan {
    pub(crate) func: Func,
    pub(crate) shape: Shape,
    pub(crate) key: Opt<Expr>,
    pub(crate) compare: Compare,
    /// Whether the key tells the type parameters of the function apart.
    pub(crate) types_in_key: bool,
    pub(crate) options: Options,
}

/// The values in which a later call with the same key must equal the first.
pub(crate) enum Compare {
    Nothing,
    Value(Opt<Expr>),
    Arguments(Vec<Compared>),
}

/// An argument that is compared.
pub(crate) struct Compared {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) is_reference: bool,
}

impl Plan {
    /// Checks every rule, so that all mistakes are reported at once.
    pub(crate) fn new(mut options: Options, func: Func, errors: &mut Errors) -> Option<Self> {
        let shape = Shape::new(&func, errors);
        rules::check(&options, &func, errors);
        Features::ON.check(&options, errors);
        let compare = Compare::new(&mut options, &func);
        let key = options.key.take()?;
        let types_in_key = generics::key_contains_all(&func, &key.value);
        Some(Self { shape: shape?, key, compare, types_in_key, options, func })
    }
}

impl Compare {
    fn new(options: &mut Options, func: &Func) -> Self {
        match options.fingerprint.take() {
            None => Self::Arguments(compared(options, func)),
            Some(Opt { value: Fingerprint::None, .. }) => Self::Nothing,
            Some(Opt { name, value: Fingerprint::Expr(value) }) => Self::Value(Opt { name, value }),
        }
    }
}

fn compared(options: &Options, func: &Func) -> Vec<Compared> {
    let compared = func.params.iter().flat_map(|param| {
        param.bindings.iter().filter(|binding| options.compares(binding)).map(|ident| Compared {
            cfgs: param.cfgs.clone(),
            ident: ident.clone(),
            is_reference: param.is_reference,
        })
    });
    compared.collect()
}
