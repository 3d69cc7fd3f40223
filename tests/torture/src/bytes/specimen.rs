//! A small store as bytes, what can be done to it, and what it answers then.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use idem_runtime::{Codec, Error, ErrorKind, Store, call, on_err};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::frame::fast_folder;

const NAME: &str = "bytes.effect";
const DONE: usize = 24;
const IN_DOUBT: usize = 4;
const FAILED: usize = 4;

/// Classes of damage after which no record may be hidden.
pub(super) const MUST_NOT_HIDE: [&str; 6] =
    ["table of records", "other tables", "truncation", "files swapped", "pages swapped", "database deleted"];

/// What is done to the files before they are opened.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Flip {
        file: &'static str,
        at: usize,
    },
    Truncate {
        file: &'static str,
        length: usize,
    },
    Delete {
        file: &'static str,
    },
    SwapPages(usize, usize),
    /// The file as it was when the store was half as old.
    Older {
        file: &'static str,
    },
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) right: usize,
    pub(super) refused: usize,
    pub(super) ran: usize,
    pub(super) wrong: usize,
    pub(super) panics: usize,
}

impl Answers {
    pub(super) fn add(&mut self, other: &Answers) {
        self.right += other.right;
        self.refused += other.refused;
        self.ran += other.ran;
        self.wrong += other.wrong;
        self.panics += other.panics;
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answers { right, refused, ran, wrong, panics } = self;
        write!(
            f,
            "{right} right, {refused} errors, {ran} false absents, {wrong} wrong values, {panics} panics"
        )
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(super) struct Specimen {
    pub(super) what: &'static str,
    files: Files,
    older: Files,
    /// What each page of the database belongs to.
    pages: Vec<&'static str>,
    folder: TempDir,
}

impl Specimen {
    /// Closed in order: everything is in the database.
    pub(super) fn closed() -> Specimen {
        let folder = fast_folder();
        let older = half(folder.path(), |store| store.close().expect("closed"));
        let store = open(folder.path()).expect("a store");
        fill(&store, 1);
        store.close().expect("closed");
        Specimen::new("a store that was closed", read(folder.path()), older)
    }

    /// Copied while it is open, as a kill leaves it: everything is in the log.
    pub(super) fn cut_off() -> Specimen {
        let folder = fast_folder();
        let store = open(folder.path()).expect("a store");
        fill(&store, 0);
        let older = read(folder.path());
        fill(&store, 1);
        let specimen = Specimen::new("a store whose process was killed", read(folder.path()), older);
        store.close().expect("closed");
        specimen
    }

    /// The same some time later: the records are in the database, and a dead owner makes the next open check it.
    pub(super) fn cut_off_after_checkpoint() -> Specimen {
        let folder = fast_folder();
        let older = half(folder.path(), |store| store.close().expect("closed"));
        let store = open(folder.path()).expect("a store");
        fill(&store, 1);
        store.close().expect("closed");
        let store = open(folder.path()).expect("a store");
        let specimen = Specimen::new("an older store whose process was killed", read(folder.path()), older);
        store.close().expect("closed");
        specimen
    }

    fn new(what: &'static str, files: Files, older: Files) -> Specimen {
        let folder = fast_folder();
        let mut specimen = Specimen { what, files, older, pages: Vec::new(), folder };
        let path = specimen.lay_out(None);
        specimen.pages = pages(&path);
        specimen
    }

    /// What is done to whole files, in every form: deleted, as it was before, two pages swapped.
    pub(super) fn whole_files(&self) -> Vec<Damage> {
        let files = ["idem.db", "idem.db-wal"].into_iter();
        let there =
            files.filter(|file| self.files.get(Path::new(file)).is_some_and(|bytes| !bytes.is_empty()));
        let pages = self.pages.len();
        let swaps = (0..pages).flat_map(|a| (a + 1..pages).map(move |b| Damage::SwapPages(a, b)));
        there.flat_map(|file| [Damage::Delete { file }, Damage::Older { file }]).chain(swaps).collect()
    }

    /// Whether a byte holds anything: most of a small store is empty.
    pub(super) fn is_empty(&self, damage: &Damage) -> bool {
        let Damage::Flip { file, at } = damage else { return false };
        self.files.get(Path::new(file)).is_none_or(|bytes| bytes.get(*at) == Some(&0))
    }

    /// Every damage to a part: each byte, each length.
    pub(super) fn damages(&self) -> Vec<Damage> {
        let mut damages = Vec::new();
        for file in ["idem.db", "idem.db-wal"] {
            let Some(length) = self.files.get(Path::new(file)).map(Vec::len).filter(|length| *length > 0)
            else {
                continue;
            };
            damages.extend((0..length).map(|at| Damage::Flip { file, at }));
            damages.extend((0..length).map(|length| Damage::Truncate { file, length }));
        }
        damages
    }

    pub(super) fn class(&self, damage: &Damage) -> &'static str {
        match damage {
            Damage::Flip { file: "idem.db", at } => {
                let page = at / self.page_bytes();
                if *at < 100 { "header" } else { self.pages.get(page).copied().unwrap_or("unknown") }
            }
            Damage::Flip { .. } => "log",
            Damage::Truncate { .. } => "truncation",
            Damage::Delete { file: "idem.db" } => "database deleted",
            Damage::Delete { .. } => "log deleted",
            Damage::SwapPages(a, b) if self.is_slot_index(*a) || self.is_slot_index(*b) => {
                "index of slots swapped"
            }
            Damage::SwapPages(..) => "pages swapped",
            Damage::Older { .. } => "files swapped",
        }
    }

    fn is_slot_index(&self, page: usize) -> bool {
        self.pages.get(page) == Some(&"index of slots")
    }

    fn page_bytes(&self) -> usize {
        4_096
    }

    /// Writes the files, damaged, into a folder of their own, and gives the path of the database.
    fn lay_out(&self, damage: Option<&Damage>) -> PathBuf {
        let folder = self.folder.path();
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        }
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            if let Some(bytes) = self.damaged(name, bytes.clone(), damage) {
                fs::write(path, bytes).expect("a file");
            }
        }
        folder.join("idem.db")
    }

    fn damaged(&self, name: &Path, mut bytes: Vec<u8>, damage: Option<&Damage>) -> Option<Vec<u8>> {
        match damage {
            Some(Damage::Flip { file, at }) if name == Path::new(file) => bytes[*at] ^= 1 << (at % 8),
            Some(Damage::Truncate { file, length }) if name == Path::new(file) => bytes.truncate(*length),
            Some(Damage::Delete { file }) if name == Path::new(file) => return None,
            Some(Damage::Older { file }) if name == Path::new(file) => return self.older.get(name).cloned(),
            Some(Damage::SwapPages(a, b)) if name == Path::new("idem.db") => {
                let size = self.page_bytes();
                for n in 0..size {
                    bytes.swap(a * size + n, b * size + n);
                }
            }
            _ => {}
        }
        Some(bytes)
    }

    /// Opens the damaged store and makes every call again.
    pub(super) fn ask(&self, damage: &Damage) -> Answers {
        let path = self.lay_out(Some(damage));
        let mut answers = Answers::default();
        let Ok(store) = Store::open(&path) else {
            return Answers { refused: DONE + IN_DOUBT + FAILED, ..answers };
        };
        for n in 0..DONE {
            match effect(&store, &format!("done-{n}"), || Ok("it ran".to_owned())) {
                Ok(value) if value == value_of(n) => answers.right += 1,
                Ok(value) if value == "it ran" => answers.ran += 1,
                Ok(_) | Err(Failure::Own(_)) => answers.wrong += 1,
                Err(Failure::Ours(_)) => answers.refused += 1,
            }
        }
        for n in 0..IN_DOUBT {
            match effect(&store, &format!("doubt-{n}"), || Ok("it ran".to_owned())) {
                Err(Failure::Ours(ErrorKind::InDoubt)) => answers.right += 1,
                Ok(value) if value == "it ran" => answers.ran += 1,
                Ok(_) | Err(Failure::Own(_)) => answers.wrong += 1,
                Err(Failure::Ours(_)) => answers.refused += 1,
            }
        }
        for n in 0..FAILED {
            match effect(&store, &format!("failed-{n}"), || Ok("it ran".to_owned())) {
                Err(Failure::Own(text)) if text == format!("no {n}") => answers.right += 1,
                Ok(value) if value == "it ran" => answers.ran += 1,
                Ok(_) | Err(Failure::Own(_)) => answers.wrong += 1,
                Err(Failure::Ours(_)) => answers.refused += 1,
            }
        }
        // A damaged store may be unable to close; that is told and no harm.
        let _ = store.close();
        answers
    }

    /// The control: how many results `SQLite` alone hands out changed, with no error.
    pub(super) fn unseen(&self, damage: &Damage) -> usize {
        if !matches!(damage, Damage::Flip { file: "idem.db", .. })
            && !matches!(damage, Damage::Older { .. } | Damage::Delete { .. })
        {
            return 0;
        }
        let path = self.lay_out(Some(damage));
        let read = || -> rusqlite::Result<usize> {
            let conn = Connection::open(&path)?;
            let mut statement =
                conn.prepare("SELECT result FROM idem_record WHERE status = 3 ORDER BY key")?;
            let rows = statement
                .query_map([], |row| row.get::<_, Vec<u8>>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let known = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                (0..DONE).any(|n| text.trim_end_matches('"').ends_with(&value_of(n)))
            };
            Ok(rows.iter().filter(|bytes| !known(bytes)).count() + DONE.saturating_sub(rows.len()))
        };
        read().unwrap_or(0)
    }
}

fn value_of(n: usize) -> String {
    format!("the result of call {n}, which is a little longer")
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Failure {
    Own(String),
    #[serde(skip)]
    Ours(ErrorKind),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error.kind())
    }
}

fn effect(
    store: &Store,
    key: &str,
    body: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    // Half of them as JSON, where nothing but the row's own checksum stands between a flipped bit and its caller.
    let codec = if key.ends_with(['1', '3', '5', '7', '9']) { Codec::Json } else { Codec::Bincode };
    call(NAME).store(store).key(key).codec(codec).on_err(on_err::Remember).wait(Duration::ZERO).run(body)
}

fn open(folder: &Path) -> Result<Store, Error> {
    Store::open(folder.join("idem.db"))
}

fn half(folder: &Path, close: impl FnOnce(&Store)) -> Files {
    let store = open(folder).expect("a store");
    fill(&store, 0);
    close(&store);
    read(folder)
}

/// Makes every second call.
fn fill(store: &Store, half: usize) {
    for n in (half..DONE).step_by(2) {
        effect(store, &format!("done-{n}"), || Ok(value_of(n))).expect("done");
    }
    for n in (half..IN_DOUBT).step_by(2) {
        let cut = std::panic::catch_unwind(|| {
            effect(store, &format!("doubt-{n}"), || std::panic::resume_unwind(Box::new("cut off")))
        });
        assert!(cut.is_err());
    }
    for n in (half..FAILED).step_by(2) {
        assert!(matches!(
            effect(store, &format!("failed-{n}"), || Err(Failure::Own(format!("no {n}")))),
            Err(Failure::Own(_))
        ));
    }
    while store.stats().expect("stats").running_here > 0 {
        std::thread::yield_now();
    }
}

fn read(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                let name = path.strip_prefix(folder).expect("inside").to_owned();
                files.insert(name, fs::read(path).expect("a file"));
            }
        }
    }
    files
}

/// What every page of the database belongs to.
fn pages(path: &Path) -> Vec<&'static str> {
    let conn = Connection::open(path).expect("a database");
    let mut classes = vec!["unused pages"; fs::metadata(path).map_or(0, |file| file.len() as usize / 4_096)];
    let Ok(mut statement) = conn.prepare("SELECT pageno, name FROM dbstat") else { return classes };
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, u32>(0)? as usize, row.get::<_, String>(1)?)))
        .expect("pages");
    for (number, name) in rows.flatten() {
        let class = match name.as_str() {
            "idem_record" => "table of records",
            "sqlite_schema" | "sqlite_master" => "schema",
            name if name.starts_with("sqlite_autoindex_idem_record") => "index of slots",
            name if name.starts_with("sqlite_autoindex") || name == "idem_purge" || name == "idem_open" => {
                "other indexes"
            }
            _ => "other tables",
        };
        if let Some(page) = classes.get_mut(number - 1) {
            *page = class;
        }
    }
    classes
}
