//! The functions behind the names of this process: one name, one function.
//!
//! The type name of a body identifies its function: it contains the path of the enclosing function, the `impl` and all
//! type parameters. A type name is neither unique nor stable, so it is compared within one process and never stored.

use std::any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::ptr;
use std::sync::{PoisonError, RwLock};

use crate::error::{Advice, Error, ErrorKind, Ran};

/// The function of each name. For short maps, comparisons are faster than a hash.
static NAMES: RwLock<BTreeMap<String, Known>> = RwLock::new(BTreeMap::new());

/// The first body and the first recovery hook of a name. The two can stand in different functions.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    body: Option<Identity>,
    hook: Option<Identity>,
}

/// One function, as far as one process can tell.
#[derive(Clone, Copy, Debug)]
enum Identity {
    Path { type_name: &'static str, types_in_key: bool },
    Shared(SameForTypes),
}

/// The functions that share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SameForTypes {
    /// All that say so, also those at one place.
    Anywhere,
    /// The instances of the function at this place.
    At(&'static Location<'static>),
}

/// What a call says about its function.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Function {
    /// Whether the name is the default, `module_path!()::function`.
    pub(crate) named_by_path: bool,
    /// Whether the key tells the type parameters of the function apart.
    pub(crate) types_in_key: bool,
    pub(crate) same_for_types: Option<SameForTypes>,
    /// Whether the call is only inspected. Such a call is compared and not remembered: its body can be a stand-in.
    pub(crate) is_inspected: bool,
    body: Option<&'static str>,
    hook: Option<&'static str>,
}

impl Function {
    pub(crate) fn set_body<F>(&mut self, body: &F) {
        self.body = Some(any::type_name_of_val(body));
    }

    pub(crate) fn set_hook<F>(&mut self, hook: &F) {
        self.hook = Some(any::type_name_of_val(hook));
    }

    /// Refuses the call if another function has its name, because the two functions would share records.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        let Some((type_name, role)) = self.role() else { return Ok(()) };
        let identity = match self.same_for_types {
            Some(shared) => Identity::Shared(shared),
            None => Identity::Path { type_name, types_in_key: self.types_in_key },
        };
        let known = {
            let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
            names.get(name).and_then(|known| role.of(known))
        };
        let known = match known {
            Some(known) => known,
            None => self.first(name, type_name, role, identity)?,
        };
        if known.is(identity) { Ok(()) } else { Err(duplicate(name, known, identity)) }
    }

    fn role(&self) -> Option<(&'static str, Role)> {
        let hook = self.hook.map(|hook| (hook, Role::Hook));
        self.body.map(|body| (body, Role::Body)).or(hook)
    }

    /// Remembers the first function of a name. Returns the function that another thread remembered before.
    fn first(
        &self,
        name: &str,
        type_name: &'static str,
        role: Role,
        identity: Identity,
    ) -> Result<Identity, Error> {
        let path = path(type_name);
        if self.named_by_path && without_types(path) != plain(name) {
            let message = format!("the default name is not the path of the function, `{path}`");
            let error = Error::new(ErrorKind::DuplicateName, Ran::No, message);
            return Err(error.advise(Advice::NameTheFunction).about_name(name));
        }
        if self.is_inspected {
            return Ok(identity);
        }
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        let known = names.entry(name.to_owned()).or_default();
        Ok(*role.of_mut(known).get_or_insert(identity))
    }
}

impl SameForTypes {
    fn includes(self, other: SameForTypes) -> bool {
        self == other || [self, other].contains(&SameForTypes::Anywhere)
    }
}

/// What the type name of a call belongs to.
#[derive(Clone, Copy, Debug)]
enum Role {
    Body,
    Hook,
}

impl Role {
    fn of(self, known: &Known) -> Option<Identity> {
        match self {
            Role::Body => known.body,
            Role::Hook => known.hook,
        }
    }

    fn of_mut(self, known: &mut Known) -> &mut Option<Identity> {
        match self {
            Role::Body => &mut known.body,
            Role::Hook => &mut known.hook,
        }
    }
}

impl Identity {
    fn is(self, other: Identity) -> bool {
        match (self, other) {
            (Identity::Shared(shared), Identity::Shared(other)) => shared.includes(other),
            (
                Identity::Path { type_name, types_in_key },
                Identity::Path { type_name: other, types_in_key: also },
            ) => {
                ptr::eq(type_name, other)
                    || type_name == other
                    || same_path(path(type_name), path(other), types_in_key && also)
            }
            _ => false,
        }
    }

    fn text(self) -> String {
        match self {
            Identity::Path { type_name, .. } => format!("`{}`", path(type_name)),
            Identity::Shared(SameForTypes::Anywhere) => "with `same_for_types`".to_owned(),
            Identity::Shared(SameForTypes::At(place)) => format!("`{place}`"),
        }
    }
}

fn duplicate(name: &str, known: Identity, identity: Identity) -> Error {
    let message = format!("the functions {} and {} share this name", known.text(), identity.text());
    Error::new(ErrorKind::DuplicateName, Ran::No, message).about_name(name)
}

fn same_path(path: &str, other: &str, types_in_key: bool) -> bool {
    path == other || (types_in_key && without_types(path) == without_types(other))
}

/// The path of the function around a closure: `shop::pay<Card>` of `shop::pay<Card>::{{closure}}`.
fn path(type_name: &str) -> &str {
    match type_name.rsplit_once("::") {
        Some((outer, "{{closure}}")) => path(outer),
        _ => type_name,
    }
}

/// The path without the type parameters of the function itself: `Repo<Order>::load` of `Repo<Order>::load<u64>`.
fn without_types(path: &str) -> &str {
    if !path.ends_with('>') {
        return path;
    }
    let mut depth = 0_usize;
    let start = path.char_indices().rev().find(|(index, letter)| {
        let before = path.get(..*index).unwrap_or_default();
        match letter {
            '>' if !before.ends_with('-') => depth += 1,
            '<' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    start.and_then(|(index, _)| path.get(..index)).unwrap_or(path)
}

/// A name without the marks of raw identifiers, which type names do not have.
fn plain(name: &str) -> Cow<'_, str> {
    if name.contains("r#") { name.replace("r#", "").into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(body: &'static str) -> Function {
        Function { body: Some(body), ..Function::default() }
    }

    fn kind(checked: Result<(), Error>) -> Option<ErrorKind> {
        checked.err().map(|error| error.kind())
    }

    #[test]
    fn paths_lose_closures_and_their_own_types() {
        for (type_name, expected, own) in [
            ("shop::pay::{{closure}}", "shop::pay", "shop::pay"),
            ("shop::pay<shop::Card>::{{closure}}::{{closure}}", "shop::pay<shop::Card>", "shop::pay"),
            ("<A as Pay>::pay::{{closure}}", "<A as Pay>::pay", "<A as Pay>::pay"),
            (
                "<R<A> as Pay>::g<fn(u8) -> u8>::{{closure}}",
                "<R<A> as Pay>::g<fn(u8) -> u8>",
                "<R<A> as Pay>::g",
            ),
            ("R<A>::load<Option<B>>::{{closure}}", "R<A>::load<Option<B>>", "R<A>::load"),
            ("shop::pay", "shop::pay", "shop::pay"),
            ("pay<main::{{closure}}>::{{closure}}", "pay<main::{{closure}}>", "pay"),
        ] {
            assert_eq!(path(type_name), expected);
            assert_eq!(without_types(path(type_name)), own);
        }
    }

    #[test]
    fn a_default_name_is_the_path_of_its_function() {
        let check = |name, body| {
            let function = Function { named_by_path: true, is_inspected: true, ..function(body) };
            kind(function.check(name))
        };
        for (name, body) in [
            ("paths::pay", "paths::pay::{{closure}}"),
            ("paths::pay", "paths::pay<paths::Card>::{{closure}}::{{closure}}"),
            ("paths::r#fn::r#type", "paths::fn::type::{{closure}}"),
        ] {
            assert_eq!(check(name, body), None, "{body}");
        }
        for body in [
            "paths::a::step::{{closure}}",
            "paths::step::{{closure}}::step::{{closure}}",
            "paths::step::step::{{closure}}",
            "paths::step<A>::step::{{closure}}",
            "<paths::Card as paths::Pay>::step::{{closure}}",
        ] {
            assert_eq!(check("paths::step", body), Some(ErrorKind::DuplicateName), "{body}");
        }
    }

    /// The format of type names is not guaranteed. If a compiler changes it, this test says so.
    #[test]
    fn the_type_name_of_a_closure_has_the_expected_form() {
        let mut function = Function::default();
        function.set_body(&|| 1);
        let expected = concat!(module_path!(), "::the_type_name_of_a_closure_has_the_expected_form");
        assert_eq!(path(function.body.unwrap_or_default()), expected);
    }

    #[test]
    fn an_inspected_call_is_compared_and_not_remembered() {
        let look = |body| Function { is_inspected: true, ..function(body) };
        assert_eq!(kind(look("stand_in").check("inspected")), None);
        assert_eq!(kind(function("real").check("inspected")), None);
        assert_eq!(kind(look("stand_in").check("inspected")), Some(ErrorKind::DuplicateName));
        assert_eq!(kind(look("real").check("inspected")), None);
    }
}
