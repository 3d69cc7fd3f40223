//! The source files of the crates.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A source file, named by its path in `src` without the ending: `engine/queue`.
pub(crate) struct Source {
    pub(crate) krate: &'static str,
    pub(crate) module: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether the whole file is tests.
    pub(crate) fn is_test(&self) -> bool {
        self.module.ends_with("tests")
    }

    /// The crate and the module, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.krate, self.module)
    }

    /// The lines of code with their numbers, without comments and without items under `#[cfg(test)]`.
    pub(crate) fn product(&self) -> Vec<(usize, &str)> {
        let mut lines = self.text.lines().enumerate();
        let mut product = Vec::new();
        while let Some((at, line)) = lines.next() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            if code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test") {
                let ends = ["}", "};"].map(|end| format!("{indent}{end}"));
                let item = lines.find(|(_, line)| !line.trim_start().starts_with("#["));
                if item.is_some_and(|(_, line)| line.ends_with('{')) {
                    let _ = lines.find(|(_, line)| ends.iter().any(|end| end == line));
                }
            } else if !code.starts_with("//") {
                product.push((at + 1, line));
            }
        }
        if self.is_test() { Vec::new() } else { product }
    }
}

/// The files of a crate, in the order of their names.
pub(crate) fn sources_of(krate: &'static str) -> Vec<Source> {
    let src = root().join(krate).join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.strip_prefix(&src).unwrap().with_extension("");
                let module = module.to_str().unwrap().replace('\\', "/");
                sources.push(Source { krate, module, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    sources.sort_by(|one, other| one.module.cmp(&other.module));
    sources
}

/// The files of the product.
pub(crate) fn product() -> Vec<Source> {
    let sources = ["idem-macros", "idem-runtime"].map(sources_of).into_iter().flatten().collect::<Vec<_>>();
    assert!(sources.len() > 60, "only {} files were found", sources.len());
    sources
}
