//! What the crate costs a user's build: all of it once, and each annotated function every time.
//!
//! It makes a crate as a user would, in a temporary folder, and times cargo on it.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use idem_benches::Outcome;
use idem_benches::lap::median;

/// Functions in the crate with functions.
const FUNCTIONS: u32 = 40;
const ROUNDS: usize = 5;

const TYPES: &str = "use serde::{Deserialize, Serialize};
#[derive(Serialize)] pub struct Order { pub id: String, pub cents: u64 }
#[derive(Serialize, Deserialize)] pub struct Receipt { pub charged: u64 }
fn main() {}
";

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let user = User::new(folder.path())?;
    user.write("", 0)?;
    let all = user.cargo(&["build", "--release"], None)?;
    println!("hello world, default features, clean release build: {all:.1} s");
    let library =
        find(&user.target("all").join("release/build"), "libsqlite3.a")?.ok_or("SQLite was not compiled")?;
    user.manifest(", default-features = false, features = [\"bincode\", \"tokio\"]")?;
    let beside = user.cargo(&["build", "--release"], library.parent())?;
    println!("the same with SQLite already compiled: {beside:.1} s; SQLite's C: {:.1} s", all - beside);
    user.manifest("")?;
    for (mode, arguments) in
        [("check", &["check"][..]), ("debug", &["build"]), ("release", &["build", "--release"])]
    {
        let each = per_function(&user, arguments)?;
        println!("{mode}: {:.1} ms for each annotated function", each * 1e3);
    }
    Ok(())
}

/// Seconds that the attribute adds to the build of one function: medians of turns with it and without.
fn per_function(user: &User, arguments: &[&str]) -> Outcome<f64> {
    let attribute = "#[idem_runtime::idempotent(key = order.id)]\n";
    user.write("", 0)?;
    user.cargo(arguments, None)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        user.write("", FUNCTIONS)?;
        without.push(user.cargo(arguments, None)?);
        user.write(attribute, FUNCTIONS)?;
        with.push(user.cargo(arguments, None)?);
    }
    let added: Vec<_> = with.iter().zip(&without).map(|(with, without)| with - without).collect();
    Ok(median(&added) / f64::from(FUNCTIONS))
}

/// A crate that uses ours.
struct User {
    folder: PathBuf,
}

impl User {
    fn new(folder: &Path) -> Outcome<User> {
        fs::create_dir_all(folder.join("src"))?;
        // The versions of the workspace, so that nothing is looked up.
        fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let user = User { folder: folder.to_owned() };
        user.manifest("")?;
        Ok(user)
    }

    fn manifest(&self, options: &str) -> Outcome<()> {
        let path = workspace().join("idem-runtime");
        let text = format!(
            "[package]\nname = \"hello\"\nedition = \"2024\"\n[dependencies]\nidem-runtime = {{ path = \"{}\"{options} }}\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n[workspace]\n",
            path.display()
        );
        Ok(fs::write(self.folder.join("Cargo.toml"), text)?)
    }

    /// Writes the program: so many functions, each under `attribute`.
    fn write(&self, attribute: &str, functions: u32) -> Outcome<()> {
        let mut text = TYPES.to_owned();
        for n in 0..functions {
            writeln!(
                text,
                "{attribute}pub fn charge_{n}(order: &Order) -> Result<Receipt, idem_runtime::Error> {{ \
                 Ok(Receipt {{ charged: order.cents + {n} }}) }}"
            )?;
        }
        Ok(fs::write(self.folder.join("src/main.rs"), text)?)
    }

    fn target(&self, name: &str) -> PathBuf {
        self.folder.join("target").join(name)
    }

    /// Runs cargo and gives the seconds it took. With `sqlite`, the library in that folder is linked.
    fn cargo(&self, arguments: &[&str], sqlite: Option<&Path>) -> Outcome<f64> {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", self.target(if sqlite.is_some() { "beside" } else { "all" }));
        if let Some(folder) = sqlite {
            cargo.env("SQLITE3_LIB_DIR", folder).env("SQLITE3_STATIC", "1");
        }
        let begun = Instant::now();
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(format!("cargo failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Outcome<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|found| found == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
