//! Names that product code may use in some modules only.

use crate::sources::{Source, product};

const LINES_MAX: usize = 500;

/// Texts that product code may contain in some modules only, and does contain in each of them.
struct Placement {
    rule: &'static str,
    texts: &'static [&'static str],
    krate: &'static str,
    /// Modules, or folders with a `/` at the end.
    modules: &'static [&'static str],
}

const PLACEMENTS: &[Placement] = &[
    Placement {
        rule: "SQLite is named below the backend and in `tx`",
        texts: &["rusqlite"],
        krate: "idem-runtime",
        modules: &["sqlite/", "tx", "tx/"],
    },
    Placement {
        rule: "SQL is written below the backend and in `tx`",
        texts: &["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "PRAGMA "],
        krate: "idem-runtime",
        modules: &["sqlite/", "tx/"],
    },
    Placement {
        rule: "kernel file locks are taken in `locks`",
        texts: &[".try_lock()", ".lock_shared()", ".try_lock_shared()"],
        krate: "idem-runtime",
        modules: &["locks/"],
    },
    Placement {
        rule: "tokio is named where `detach` lives",
        texts: &["tokio::"],
        krate: "idem-runtime",
        modules: &["call/detach"],
    },
    Placement {
        rule: "the wall clock is read in one place",
        texts: &["SystemTime::now"],
        krate: "idem-runtime",
        modules: &["host/clock"],
    },
    Placement {
        rule: "bincode is named in the codec",
        texts: &["bincode::"],
        krate: "idem-runtime",
        modules: &["encoding/codec"],
    },
    Placement {
        rule: "one file of the macro writes Rust",
        texts: &["quote!", "quote_spanned!"],
        krate: "idem-macros",
        modules: &["expand"],
    },
];

impl Placement {
    fn is_allowed(&self, entry: &str, source: &Source) -> bool {
        let is_in =
            if entry.ends_with('/') { source.module.starts_with(entry) } else { source.module == entry };
        source.krate == self.krate && is_in
    }

    /// An entry of the list that need not be there.
    fn idle(&self) -> Vec<&str> {
        let is_idle = |entry: &&&str| found(self.texts, |source| !self.is_allowed(entry, source)).is_empty();
        self.modules.iter().filter(is_idle).copied().collect()
    }
}

/// The lines of product code with one of the texts, outside of the files that may have them.
fn found(texts: &[&str], may: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in product().iter().filter(|source| !may(source)) {
        let lines = source.product().into_iter();
        let named = lines.filter(|(_, line)| texts.iter().any(|text| line.contains(text)));
        found.extend(named.map(|(at, line)| format!("{}:{at}: {}", source.name(), line.trim())));
    }
    found
}

#[test]
fn names_stand_only_in_the_modules_they_are_confined_to() {
    for placement in PLACEMENTS {
        let Placement { rule, texts, modules, .. } = placement;
        let may = |source: &Source| modules.iter().any(|entry| placement.is_allowed(entry, source));
        let elsewhere = found(texts, may);
        assert!(elsewhere.is_empty(), "{rule}: {texts:?} outside of {modules:?}: {elsewhere:#?}");
        let idle = placement.idle();
        assert!(idle.is_empty(), "{rule}: {idle:?} name none of {texts:?}");
    }
}

#[test]
fn no_file_of_the_product_is_too_long() {
    let long = product().into_iter().filter(|source| source.text.lines().count() > LINES_MAX);
    let long: Vec<String> = long.map(|source| source.name()).collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn nothing_in_the_product_panics_by_design_or_is_left_for_later() {
    let panics = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!(", "dbg!("];
    let panicking = found(&panics, |_| false);
    assert!(panicking.is_empty(), "{panicking:#?}");
    for source in product() {
        for mark in ["TODO", "FIXME", "XXX"] {
            assert!(!source.text.contains(mark), "{mark} in {}", source.name());
        }
    }
}

#[test]
fn nothing_in_the_product_is_unsafe() {
    for source in product() {
        assert!(!source.text.contains("unsafe"), "{}", source.name());
    }
}
