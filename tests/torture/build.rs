//! Prepares the runtime's own sources for the checkers: the same text, with `std::sync` replaced by shuttle's, and a
//! variant with a planted defect.

#![allow(clippy::expect_used, reason = "a build that cannot go on ends")]

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Single files, with their locks replaced.
const SOURCES: &[&str] = &[
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
    "engine/request",
    "engine/queue",
];

/// The negative control: file, what it says, what the broken variant says.
const DEFECTS: &[(&str, &str, &str)] = &[
    // A handoff that is dropped on the way wakes nobody.
    (
        "waiting/in_flight",
        "waiter.send(Completion { record: None, handoff: None });\n        }\n    }\n}\n\n#[derive(Debug, Default)]\nstruct RunningCall",
        "drop(waiter);\n        }\n    }\n}\n\n#[derive(Debug, Default)]\nstruct RunningCall",
    ),
    // A writer that sleeps is not told that nothing more is to come.
    (
        "engine/queue",
        "lock(&self.state).pass_to(Phase::Last);\n        self.filled.notify_all();",
        "lock(&self.state).pass_to(Phase::Last);",
    ),
];

fn main() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../idem-runtime/src");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for name in SOURCES {
        let text = prepared(&runtime, name, name);
        let mut broken = text.clone();
        for (_, from, to) in DEFECTS.iter().filter(|(file, ..)| file == name) {
            assert!(broken.contains(from), "`{name}.rs` has changed: plant the defect anew\n{from}");
            broken = broken.replace(from, to);
        }
        for (variant, text) in [("sound", text), ("broken", broken)] {
            let text = text.replace("crate::", &format!("crate::real::{variant}::"));
            fs::create_dir_all(out.join(variant)).expect("a folder");
            fs::write(out.join(variant).join(format!("{}.rs", name.replace('/', "_"))), text)
                .expect("a file");
        }
    }
}

/// Without its header and its tests, its inner modules inside of it.
fn prepared(runtime: &Path, name: &str, path: &str) -> String {
    let file = runtime.join(format!("{path}.rs"));
    println!("cargo::rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).expect("a source of the runtime");
    let tests = ["\n#[cfg(test)]\n", "\n#[cfg(all(test"].iter().filter_map(|mark| text.find(mark)).min();
    let body = text.get(..tests.unwrap_or(text.len())).unwrap_or_default();
    let mut prepared = String::new();
    for line in body.lines().filter(|line| !line.starts_with("//!")) {
        match line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            Some(inner) => {
                let text = self::prepared(runtime, inner, &format!("{name}/{inner}"));
                prepared.extend(["mod ", inner, " {\n", &text, "}\n"]);
            }
            None => prepared.extend([line, "\n"]),
        }
    }
    prepared.replace("std::sync::", "shuttle::sync::").replace("shuttle::sync::LazyLock", "std::sync::LazyLock")
}
