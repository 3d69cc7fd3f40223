//! Sets, which serde serializes as sequences.

/// Types that contain a value and serialize like it.
const WRAPPERS: [&str; 10] =
    ["Arc", "Box", "Cow", "Mutex", "Rc", "RefCell", "Reverse", "RwLock", "Saturating", "Wrapping"];
/// Sets whose elements have no order, beside all types whose name ends with `HashSet`.
const SETS: [&str; 3] = ["DashSet", "HashTrieSet", "IndexSet"];

/// Whether a type of this name is a set whose elements have no order of their own.
///
/// A best-effort check: only the name of a type tells a set from a list.
pub(super) fn is_set(type_name: &str) -> bool {
    let mut name = type_name;
    loop {
        name = name.trim_start_matches('&').trim_start_matches("mut ");
        let Some((path, inner)) = name.split_once('<').filter(|_| !name.starts_with(['[', '('])) else {
            return false;
        };
        let last = path.rsplit_once("::").map_or(path, |(_, last)| last);
        if !WRAPPERS.contains(&last) {
            return last.ends_with("HashSet") || SETS.contains(&last);
        }
        name = inner;
    }
}

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::borrow::Cow;
    use std::collections::{BTreeSet, HashMap, HashSet};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_set_is_found_by_the_name_of_its_own_type() {
        for name in [
            type_name::<HashSet<u8>>(),
            type_name::<&&mut HashSet<Vec<u8>>>(),
            type_name::<Arc<Mutex<HashSet<String>>>>(),
            type_name::<Box<Cow<'static, HashSet<u8>>>>(),
            "indexmap::set::IndexSet<u8>",
            "ahash::hash_set::AHashSet<u8>",
            "im::hash::set::HashSet<u8>",
        ] {
            assert!(is_set(name), "{name}");
        }
        for name in [
            type_name::<BTreeSet<u8>>(),
            type_name::<Vec<HashSet<u8>>>(),
            type_name::<Option<HashSet<u8>>>(),
            type_name::<&[HashSet<u8>]>(),
            type_name::<HashMap<u8, HashSet<u8>>>(),
            type_name::<(HashSet<u8>,)>(),
            "app::ResultSet<u8>",
            "u8",
            "",
        ] {
            assert!(!is_set(name), "{name}");
        }
    }
}
