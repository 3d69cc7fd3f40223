//! Prepares sources of the runtime for the checkers: one file with the modules of `MODULES`, in which shuttle's locks
//! replace those of `std::sync`. A second file has planted defects.

#![allow(clippy::expect_used, clippy::panic, reason = "a build that fails ends")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The modules under the checkers, by their paths in `idem-runtime/src`. A module brings its inner files along.
const MODULES: &[&str] = &[
    "policy",
    "sync",
    "encoding/canonical",
    "encoding/digest",
    "encoding/key",
    "encoding/codec",
    "protocol/record",
    "protocol/change",
    "protocol/decide",
    "waiting/oneshot",
    "waiting/in_flight",
    "backend/request",
    "engine/queue",
];

/// The modules that those name and the checkers replace, with the stand-ins in `real::stand_ins`.
const STAND_INS: &[(&str, &str)] = &[("waiting/watcher", "watcher"), ("error", "error")];

/// Ends the comment line above a statement that the broken variant leaves out: its checkers must then fail.
const DEFECT: &str = "(negative control)";
/// The modules with such a statement.
const DEFECTIVE: [&str; 2] = ["waiting/in_flight", "engine/queue"];

fn main() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../idem-runtime/src");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (variant, is_broken) in [("sound", false), ("broken", true)] {
        let mut root = Folder::default();
        for path in MODULES {
            let text = prepared(&runtime, path);
            let text = if is_broken && DEFECTIVE.contains(path) { without_defect(path, &text) } else { text };
            root.add(path, format!("pub(crate) mod {} {{\n{text}}}\n", name(path)));
        }
        for (path, stand_in) in STAND_INS {
            let of = format!("crate::real::stand_ins::{stand_in}");
            root.add(path, format!("pub(crate) use {of} as {};\n", name(path)));
        }
        let text = root.text().replace("crate::", &format!("crate::real::{variant}::"));
        let text =
            text.replace(&format!("crate::real::{variant}::real::stand_ins"), "crate::real::stand_ins");
        fs::write(out.join(format!("{variant}.rs")), text).expect("a file");
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A folder of modules.
#[derive(Default)]
struct Folder {
    folders: BTreeMap<String, Folder>,
    items: String,
}

impl Folder {
    fn add(&mut self, path: &str, item: String) {
        match path.split_once('/') {
            Some((folder, rest)) => self.folders.entry(folder.to_owned()).or_default().add(rest, item),
            None => self.items.push_str(&item),
        }
    }

    fn text(&self) -> String {
        let folders = self.folders.iter();
        let folders =
            folders.map(|(name, folder)| format!("pub(crate) mod {name} {{\n{}}}\n", folder.text()));
        self.items.clone() + &folders.collect::<String>()
    }
}

/// The text of a module without its header and its tests, its inner modules inside of it.
fn prepared(runtime: &Path, path: &str) -> String {
    let file = runtime.join(format!("{path}.rs"));
    println!("cargo::rerun-if-changed={}", file.display());
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("`MODULES` in build.rs: {path}: {error}"));
    let tests = ["\n#[cfg(test)]\n", "\n#[cfg(all(test"].iter().filter_map(|mark| text.find(mark)).min();
    let body = text.get(..tests.unwrap_or(text.len())).unwrap_or_default();
    let mut prepared = String::new();
    for line in body.lines().filter(|line| !line.starts_with("//!")) {
        match line
            .trim_start_matches("pub(crate) ")
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            Some(inner) => {
                let text = self::prepared(runtime, &format!("{path}/{inner}"));
                prepared.extend(["mod ", inner, " {\n", &text, "}\n"]);
            }
            None => prepared.extend([line, "\n"]),
        }
    }
    // shuttle has no lazy values, and these hold no lock of interest.
    prepared
        .replace("std::sync::", "shuttle::sync::")
        .replace("shuttle::sync::LazyLock", "std::sync::LazyLock")
}

/// The text without each statement below a marker.
fn without_defect(path: &str, text: &str) -> String {
    let (before, after) =
        text.split_once(DEFECT).unwrap_or_else(|| panic!("`{path}` has no comment that ends with {DEFECT}"));
    let (statement, after) = after.split_once(';').expect("a statement");
    assert!(
        statement.matches('{').count() == statement.matches('}').count(),
        "the comment in `{path}` is not above a simple statement: {statement}"
    );
    assert!(!after.contains(DEFECT), "`{path}` has two of them");
    format!("{before}{DEFECT}\n{after}")
}
