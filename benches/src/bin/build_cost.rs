//! The costs of the crate in a user's build: a clean build, and each annotated function.
//!
//! The program creates a crate in a temporary folder and measures cargo on it.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use idem_benches::Outcome;
use idem_benches::lap::median;

/// The functions in the crate.
const FUNCTIONS: u32 = 40;
const ROUNDS: usize = 5;

const TYPES: &str = "use serde::{Deserialize, Serialize};
#[derive(Serialize)] pub struct Order { pub id: String, pub cents: u64 }
#[derive(Serialize, Deserialize)] pub struct Receipt { pub charged: u64 }
";

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let user = User::new(folder.path())?;
    user.write("", 0)?;
    if std::env::args().nth(1).as_deref() != Some("--functions") {
        clean_builds(&user)?;
    }
    for (mode, arguments) in
        [("check", &["check"][..]), ("debug", &["build"]), ("release", &["build", "--release"])]
    {
        let each = per_function(&user, arguments)?;
        println!(
            "{mode}: {:.1} ms ({:.1} ms of processor) for each annotated function",
            each.wall * 1e3,
            each.cpu * 1e3
        );
    }
    Ok(())
}

/// Measures a clean build, with `SQLite` and with a compiled `SQLite`.
fn clean_builds(user: &User) -> Outcome<()> {
    let all = user.cargo(&["build", "--release"], None)?;
    println!("hello world, default features, clean release build: {all}");
    let library =
        find(&user.target("all").join("release/build"), "libsqlite3.a")?.ok_or("SQLite was not compiled")?;
    user.manifest(", default-features = false, features = [\"bincode\", \"tokio\"]")?;
    let beside = user.cargo(&["build", "--release"], library.parent())?;
    println!("the same build with a compiled SQLite: {beside}");
    user.manifest("")
}

/// Seconds of wall-clock time and of processor time. Other processes do not change processor time.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s ({:.1} s of processor)", self.wall, self.cpu)
    }
}

/// Returns the cost of the attribute on one function: the median over turns with and without it.
fn per_function(user: &User, arguments: &[&str]) -> Outcome<Cost> {
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
    let added = |of: fn(&Cost) -> f64| {
        let pairs = with.iter().zip(&without);
        median(&pairs.map(|(with, without)| of(with) - of(without)).collect::<Vec<_>>())
            / f64::from(FUNCTIONS)
    };
    Ok(Cost { wall: added(|cost| cost.wall), cpu: added(|cost| cost.cpu) })
}

/// A crate that depends on the runtime.
struct User {
    folder: PathBuf,
}

impl User {
    fn new(folder: &Path) -> Outcome<User> {
        fs::create_dir_all(folder.join("src"))?;
        // The versions of the workspace need no access to a registry.
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

    /// Writes the program with `functions` functions, each under `attribute`.
    fn write(&self, attribute: &str, functions: u32) -> Outcome<()> {
        let mut text = TYPES.to_owned();
        // Without a call, a function is not fully compiled.
        let mut calls = String::new();
        for n in 0..functions {
            writeln!(
                text,
                "{attribute}pub fn charge_{n}(order: &Order) -> Result<Receipt, idem_runtime::Error> {{ \
                 Ok(Receipt {{ charged: order.cents + {n} }}) }}"
            )?;
            writeln!(calls, "    let _ = charge_{n}(&order);")?;
        }
        let order = "let order = Order { id: String::from(\"A-17\"), cents: 500 };";
        writeln!(text, "fn main() {{\n    {order}\n{calls}    drop(order);\n}}")?;
        Ok(fs::write(self.folder.join("src/main.rs"), text)?)
    }

    fn target(&self, name: &str) -> PathBuf {
        self.folder.join("target").join(name)
    }

    /// Runs cargo and returns its cost. With `sqlite`, the library in that folder is linked.
    fn cargo(&self, arguments: &[&str], sqlite: Option<&Path>) -> Outcome<Cost> {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", self.target(if sqlite.is_some() { "beside" } else { "all" }));
        if let Some(folder) = sqlite {
            cargo.env("SQLITE3_LIB_DIR", folder).env("SQLITE3_STATIC", "1");
        }
        let (begun, before) = (Instant::now(), children_cpu()?);
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(format!("cargo failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Cost { wall: begun.elapsed().as_secs_f64(), cpu: children_cpu()? - before })
    }
}

/// Returns the processor time of all ended children in seconds. The kernel counts hundredths.
fn children_cpu() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses can contain spaces; user and system time are the 14th and 15th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    let ticks = fields.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the first file of this name below a folder.
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
