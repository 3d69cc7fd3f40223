//! Imports between the files of a crate: their order, and no circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::sources::{Source, read, sources_of};

/// The crates whose `lib.rs` lists the modules in dependency order.
const ORDERED: [&str; 2] = ["idem-runtime", "idem-macros"];
const CRATES: [&str; 3] = ["idem-runtime", "idem-macros", "benches"];

/// The files that each file names, by module.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The modules of a crate in the order of its `lib.rs`, without tests.
pub(crate) fn order(krate: &str) -> Vec<String> {
    let lib = read(&format!("{krate}/src/lib.rs"));
    let declared = lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    let modules =
        declared.filter_map(|line| line.strip_suffix(';')).filter(|module| !module.ends_with("tests"));
    modules.map(str::to_owned).collect()
}

/// The paths that a piece of code begins with: `a::{b, c::d}` gives `a::b` and `a::c::d`. Gives the rest of the code too.
fn paths<'code>(code: &'code str, before: &[&'code str]) -> (Vec<Vec<&'code str>>, &'code str) {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        let mut all = Vec::new();
        loop {
            let (found, after) = paths(rest, before);
            all.extend(found);
            let after = after.trim_start();
            let end = after.find([',', '}']).unwrap_or(after.len());
            match after[end..].strip_prefix(',') {
                Some(next) => rest = next,
                None => return (all, after.get(end + 1..).unwrap_or_default()),
            }
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let path: Vec<&str> = before.iter().copied().chain((!name.is_empty()).then_some(name)).collect();
    match rest.strip_prefix("::") {
        Some(rest) if !name.is_empty() => paths(rest, &path),
        _ => (vec![path], rest),
    }
}

/// Every path in the code that begins at the crate, at a parent or at a module that this file declares.
fn named(code: &str) -> Vec<Vec<&str>> {
    let declared = code.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod "));
    let children = declared.map(|(_, child)| child).filter(|child| !child.contains(' '));
    let starts: Vec<&str> = ["crate", "super", "self"].into_iter().chain(children).collect();
    let mut all = Vec::new();
    for start in starts {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
            all.extend(is_whole.then(|| paths(&code[at..], &[]).0).into_iter().flatten());
        }
    }
    all
}

/// Whether `module` is declared in `parent`. An inner file may name the items of the file that declares it.
fn is_inside(module: &str, parent: &str) -> bool {
    module.rsplit_once('/').is_some_and(|(folder, _)| folder == parent)
}

/// The file that a path in `module` leads to: the longest beginning that is a file.
fn file_of(module: &str, path: &[&str], files: &BTreeSet<String>) -> Option<String> {
    let own = || module.split('/').filter(|name| *name != "lib").collect::<Vec<_>>();
    let mut found = if path.first() == Some(&"crate") { Vec::new() } else { own() };
    for name in path {
        match *name {
            "crate" | "self" => {}
            "super" => drop(found.pop()),
            name => found.push(name),
        }
    }
    while !found.is_empty() && !files.contains(&found.join("/")) {
        found.pop();
    }
    (!found.is_empty()).then(|| found.join("/")).filter(|file| file != module && !is_inside(module, file))
}

fn imports(sources: &[Source]) -> Imports {
    let files: BTreeSet<String> = sources.iter().map(|source| source.module.clone()).collect();
    let mut imports = Imports::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let code = source.product().into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        let of = named(&code).into_iter().filter_map(|path| file_of(&source.module, &path, &files)).collect();
        imports.insert(source.module.clone(), of);
    }
    imports
}

/// The shortest way from a file back to itself.
fn circle(from: &str, imports: &Imports) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![from.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in imports.get(way.last()?).into_iter().flatten() {
            let longer = [&way[..], std::slice::from_ref(next)].concat();
            if next == from {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// The imports of a crate that lead to a module below it in `lib.rs`.
fn upward(krate: &'static str) -> Vec<String> {
    let order = order(krate);
    let place = |module: &str| order.iter().position(|known| module.split('/').next() == Some(known));
    let imports = imports(&sources_of(krate));
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 10, "{krate}: no imports were found");
    let edges = imports.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let wrong = edges.filter(|(from, to)| *from != "lib" && place(from) < place(to));
    wrong.map(|(from, to)| format!("{krate}/{from} names {to}")).collect()
}

#[test]
fn a_module_names_only_modules_above_it_in_lib() {
    let wrong: Vec<String> = ORDERED.into_iter().flat_map(upward).collect();
    assert!(wrong.is_empty(), "below it in `lib.rs`: {wrong:#?}");
}

/// The circles of a crate, the shortest first.
fn circles(krate: &'static str) -> Vec<String> {
    let imports = imports(&sources_of(krate));
    let mut circles: Vec<_> = imports.keys().filter_map(|from| circle(from, &imports)).collect();
    circles.sort_by_key(Vec::len);
    circles.into_iter().map(|circle| format!("{krate}: {}", circle.join(" -> "))).collect()
}

#[test]
fn no_files_of_a_crate_name_each_other_in_a_circle() {
    let circles: Vec<String> = CRATES.into_iter().flat_map(circles).collect();
    assert!(
        circles.is_empty(),
        "{} files, the shortest circles: {:#?}",
        circles.len(),
        &circles[..circles.len().min(4)]
    );
}
