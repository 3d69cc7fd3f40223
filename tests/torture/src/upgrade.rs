//! Part 10: stores of every schema version open and replay; newer ones are refused; types may change, and say so.
//!
//! `tests/fixtures/store-v1.db` was written by the first version. `cargo run -p idem-torture -- child fixture PATH`
//! writes one for the present version: do that once for each new one, and keep the old ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use idem_runtime::{Codec, Error, ErrorKind, Status, Store, on_err};
use rusqlite::Connection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::{Options, Report, fast_folder};
use crate::shared::call;

/// What the fixtures hold; never change it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u64,
    total: String,
}

/// The same with a field more, as a later version of a program has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Grown {
    id: u64,
    total: String,
    #[serde(default)]
    note: Option<String>,
}

/// Another type altogether.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Changed {
    id: String,
    total: i64,
}

/// Another type that bincode takes the very same bytes for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LookAlike {
    id: u64,
    total: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Failure {
    Declined,
    Ours(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(format!("{:?}", error.kind()))
    }
}

fn receipt() -> Receipt {
    Receipt { id: 17, total: "4.20".into() }
}

/// Writes a fixture: one record of each kind.
pub(crate) fn write_fixture(path: &Path) {
    let folder = fast_folder();
    let store = Store::open(folder.path().join("idem.db")).expect("a store");
    let make = |key: &str, codec| call("v1.pay").store(&store).key(key).arg("cents", &420).codec(codec);
    make("bincode", Codec::Bincode).run(|| Ok::<_, Error>(receipt())).expect("done");
    make("json", Codec::Json).run(|| Ok::<_, Error>(receipt())).expect("done");
    make("gone", Codec::Json).keep_result(Duration::ZERO).run(|| Ok::<_, Error>(receipt())).expect("done");
    let failed =
        make("failed", Codec::Bincode).on_err(on_err::Remember).run(|| Err::<Receipt, _>(Failure::Declined));
    assert_eq!(failed, Err(Failure::Declined));
    let doubt =
        make("doubt", Codec::Bincode).on_err(on_err::InDoubt).run(|| Err::<Receipt, _>(Failure::Declined));
    assert_eq!(doubt, Err(Failure::Declined));
    store.close().expect("closed");
    fs::copy(folder.path().join("idem.db"), path).expect("a fixture");
}

pub(crate) fn run(_: &Options) -> Vec<Report> {
    let fixtures = fixtures();
    let mut report =
        Report::new(format!("upgrade: {} fixture stores, newer versions, changed types", fixtures.len()));
    for fixture in &fixtures {
        let (_folder, path) = copied(fixture);
        report.point(replays(&path).unwrap_or_else(|error| vec![format!("{}: {error}", fixture.display())]));
        report.point(changed_types(fixture));
        let (_folder, path) = copied(fixture);
        report.point(newer_is_refused(&path));
    }
    let blind = fixtures.iter().filter(|fixture| misread(fixture)).count();
    report.control("bincode alone reads a changed type without an error", blind);
    vec![report]
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let entries = fs::read_dir(folder).expect("the fixtures").flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "db")).collect()
}

fn copied(fixture: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = fast_folder();
    let path = folder.path().join("idem.db");
    fs::copy(fixture, &path).expect("a copy");
    (folder, path)
}

fn make<T: Serialize + DeserializeOwned>(store: &Store, key: &str, body: T) -> Result<T, ErrorKind> {
    let made = call("v1.pay").store(store).key(key).arg("cents", &420).map_err(|error| error.kind());
    made.run(|| Ok(body))
}

fn replays(path: &Path) -> Result<Vec<String>, Error> {
    let store = Store::open(path)?;
    let other = Receipt { id: 0, total: String::new() };
    let mut wrong = Vec::new();
    for key in ["bincode", "json"] {
        let got = make(&store, key, other.clone());
        if got != Ok(receipt()) {
            wrong.push(format!("`{key}` gave {got:?}"));
        }
    }
    let mut expect = |what: &str, is: bool| {
        if !is {
            wrong.push(what.to_owned());
        }
    };
    expect("a result that is not kept", make(&store, "gone", other.clone()) == Err(ErrorKind::ResultGone));
    expect("in doubt", make(&store, "doubt", other.clone()) == Err(ErrorKind::InDoubt));
    let failed = call("v1.pay").store(&store).key("failed").arg("cents", &420).on_err(on_err::Remember);
    expect("a remembered error", failed.run(|| Ok(other.clone())) == Err(Failure::Declined));
    let mismatch = call("v1.pay").store(&store).key("json").arg("cents", &421).map_err(|error| error.kind());
    expect("other arguments", mismatch.run(|| Ok(other.clone())) == Err(ErrorKind::Mismatch));
    expect("a new call", make(&store, "new", other.clone()) == Ok(other));
    expect("verified", store.verify()?.is_empty());
    expect(
        "settled as before",
        store.get("v1.pay", "bincode")?.map(|found| found.status()) == Some(Status::Done),
    );
    store.close()?;
    Ok(wrong)
}

fn changed_types(fixture: &Path) -> Vec<String> {
    let (_folder, path) = copied(fixture);
    let Ok(store) = Store::open(path) else { return vec!["it does not open".into()] };
    let grown = Grown { id: 17, total: "4.20".into(), note: None };
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is: bool| {
        if !is {
            wrong.push(what.to_owned());
        }
    };
    expect(
        "json survives an added field",
        make(&store, "json", Grown { id: 0, ..grown.clone() }) == Ok(grown.clone()),
    );
    expect("bincode with an added field", make(&store, "bincode", grown) == Err(ErrorKind::Undecodable));
    for key in ["bincode", "json"] {
        let changed = Changed { id: String::new(), total: 0 };
        expect("a changed type", make(&store, key, changed) == Err(ErrorKind::Undecodable));
        expect("another type", make(&store, key, 7_u32) == Err(ErrorKind::Undecodable));
    }
    let look_alike = LookAlike { id: 0, total: Vec::new() };
    expect("a type of the same bytes", make(&store, "bincode", look_alike) == Err(ErrorKind::Undecodable));
    expect("the old type again", make(&store, "bincode", receipt()) == Ok(receipt()));
    wrong
}

fn newer_is_refused(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).expect("a database");
    conn.execute("UPDATE idem_meta SET value = value + 1 WHERE name = 'schema'", []).expect("updated");
    drop(conn);
    let before = fs::read(path).expect("a file");
    let opened = Store::open(path);
    let refused = opened.as_ref().is_err_and(|error| error.to_string().contains("version"));
    let untouched = fs::read(path).expect("a file") == before;
    match (refused, untouched) {
        (true, true) => Vec::new(),
        (false, _) => vec![format!("a newer store gave {opened:?}")],
        (true, false) => vec!["a newer store was written to".into()],
    }
}

/// The control: the stored bytes as `(id, length)`, which bincode takes for a value.
fn misread(fixture: &Path) -> bool {
    let (_folder, path) = copied(fixture);
    let conn = Connection::open(path).expect("a database");
    let bytes: Vec<u8> = conn
        .query_row("SELECT result FROM idem_record WHERE key = 'bincode'", [], |row| row.get(0))
        .expect("a result");
    let read = bincode::serde::decode_from_slice::<(u8, u8), _>(&bytes, bincode::config::standard());
    read.is_ok()
}
