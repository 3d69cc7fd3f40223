//! Small stores as bytes: their origin, and the owner of each of their pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use idem_runtime::{Store, StoreBuilder};
use rusqlite::Connection;
use tempfile::TempDir;

use super::calls::{self, CALLS, EARLY};
use super::damage::{DATABASE, Damage, Files, LOG, MARK};
use crate::frame::fast_folder;

/// What takes a store and all that could tell of its loss back to an earlier time.
pub(super) const EARLIER: &str = "WAL or database, and the high-water mark";

/// Classes of damage that can hide a record. `SQLite` finds a row by the index of slots, and does not look whether one
/// that it does not find there is in the table all the same.
pub(super) const MAY_HIDE: [&str; 3] = ["index of slots", "index of slots swapped", EARLIER];

/// How the store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed in order: everything is in the database.
    Closed,
    /// Its process was killed: the last writes are in the WAL.
    Killed,
    /// The same some time later: nearly all is in the database, and the next open checks it for the dead owner's sake.
    KilledLater,
}

/// Whose file it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Own,
    Shared,
}

/// How large its pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// The smallest there are, 512 bytes: few enough bytes to damage every one of them.
    Small,
    /// Those of every other store, 4,096 bytes. Most of them is empty, and damages are samples.
    Usual,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) end: End,
    pub(super) home: Home,
    pub(super) pages: Pages,
}

pub(super) const KINDS: [Kind; 8] = {
    use End::{Closed, Killed, KilledLater};
    use Home::{Own, Shared};
    use Pages::{Small, Usual};
    const fn kind(what: &'static str, end: End, home: Home, pages: Pages) -> Kind {
        Kind { what, end, home, pages }
    }
    [
        kind("a store that was closed", Closed, Own, Small),
        kind("a store whose process was killed", Killed, Own, Small),
        kind("an older store whose process was killed", KilledLater, Own, Small),
        kind("an application's file that was closed", Closed, Shared, Small),
        kind("an application's file whose process was killed", KilledLater, Shared, Small),
        kind("usual pages, closed", Closed, Own, Usual),
        kind("usual pages, killed", Killed, Own, Usual),
        kind("usual pages, older, killed", KilledLater, Own, Usual),
    ]
};

impl Kind {
    /// The full form leaves no byte out of these. In a file of an application our tables are the same.
    pub(super) fn is_exhausted(&self) -> bool {
        self.pages == Pages::Small && self.home == Home::Own
    }

    pub(super) fn builder(&self) -> StoreBuilder {
        match self.home {
            Home::Own => Store::builder(),
            Home::Shared => Store::builder().shared(),
        }
    }
}

pub(super) struct Specimen {
    pub(super) kind: Kind,
    pub(super) files: Files,
    older: Files,
    /// What each page of the database belongs to.
    pub(super) pages: Vec<&'static str>,
    /// Where the damaged files are laid out.
    folder: TempDir,
}

impl Specimen {
    /// Makes the store.
    pub(super) fn make(kind: Kind) -> Specimen {
        let folder = fast_folder();
        let path = folder.path().join(DATABASE);
        if kind.home == Home::Shared {
            make_application(&path);
        }
        let mut store = kind.builder().open(&path).expect("a store");
        calls::make(&store, &CALLS[..EARLY]);
        if kind.pages == Pages::Small || kind.end != End::Killed {
            store.close().expect("closed");
            if kind.pages == Pages::Small {
                make_pages_small(&path);
            }
        }
        let older = read(folder.path());
        store = kind.builder().open(&path).expect("a store");
        calls::make(&store, &CALLS[EARLY..]);
        if kind.end != End::Killed {
            store.close().expect("closed");
        }
        let files = if kind.end == End::Closed {
            read(folder.path())
        } else {
            let store = kind.builder().open(&path).expect("a store");
            let files = calls::during_one(&store, || read(folder.path()));
            store.close().expect("closed");
            files
        };
        Specimen::new(kind, files, older)
    }

    fn new(kind: Kind, files: Files, older: Files) -> Specimen {
        let mut specimen = Specimen { kind, files, older, pages: Vec::new(), folder: fast_folder() };
        let path = specimen.lay_out(None);
        specimen.pages = pages(&path, specimen.page_bytes());
        specimen
    }

    /// Writes it where [`load`](Specimen::load) finds it.
    pub(super) fn save(&self, folder: &Path) {
        write(&folder.join("files"), &self.files);
        write(&folder.join("older"), &self.older);
    }

    pub(super) fn load(kind: Kind, folder: &Path) -> Specimen {
        Specimen::new(kind, read(&folder.join("files")), read(&folder.join("older")))
    }

    /// Whether this flips a byte that holds nothing.
    pub(super) fn is_idle(&self, damage: &Damage) -> bool {
        let &Damage::Flip { file, at, .. } = damage else { return false };
        self.files.get(Path::new(file)).is_none_or(|bytes| bytes.get(at) == Some(&0))
    }

    pub(super) fn class(&self, damage: &Damage) -> &'static str {
        match *damage {
            Damage::Flip { file: DATABASE, at, .. } if at < 100 => "header",
            Damage::Flip { file: DATABASE, at, .. } => {
                self.pages.get(at / self.page_bytes()).copied().unwrap_or("unknown")
            }
            Damage::Flip { file: LOG, .. } => "WAL",
            Damage::Flip { .. } | Damage::Delete { files: [MARK] } | Damage::Older { files: [MARK] } => {
                "high-water mark"
            }
            Damage::Truncate { .. } => "truncation",
            Damage::Delete { files: [_, MARK] } | Damage::Older { files: [_, MARK] } => EARLIER,
            Damage::Delete { files: [LOG] } => "WAL deleted",
            Damage::Delete { .. } => "database deleted",
            Damage::SwapPages(a, b) if self.is_slot_index(a) || self.is_slot_index(b) => {
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
        match self.kind.pages {
            Pages::Small => 512,
            Pages::Usual => 4_096,
        }
    }

    /// Writes the files, damaged, into a folder of their own, and gives the path of the database. The folder of the
    /// time before is removed; its name is not used again, for a store may still be open there.
    pub(super) fn lay_out(&self, damage: Option<&Damage>) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let _ = fs::remove_dir_all(self.folder.path().join(count.saturating_sub(1).to_string()));
        let folder = &self.folder.path().join(count.to_string());
        fs::create_dir(folder).expect("a folder");
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            let damaged = damage.map(|damage| damage.of(name, &self.files, &self.older, self.page_bytes()));
            let parent = path.parent().expect("a parent");
            if parent != folder {
                fs::create_dir_all(parent).expect("a folder");
            }
            match damaged {
                None => fs::write(path, bytes).expect("a file"),
                Some(Some(damaged)) => fs::write(path, damaged).expect("a file"),
                Some(None) => {}
            }
        }
        folder.join(DATABASE)
    }
}

fn make_application(path: &Path) {
    let conn = Connection::open(path).expect("a database");
    let script = "PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT);
        INSERT INTO orders (item) VALUES ('a chair'), ('a table')";
    conn.execute_batch(script).expect("a table");
}

fn make_pages_small(path: &Path) {
    let conn = Connection::open(path).expect("a database");
    let script = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM; PRAGMA journal_mode = WAL";
    conn.execute_batch(script).expect("small pages");
    let bytes: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0)).expect("an answer");
    assert_eq!(bytes, 512);
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

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

/// What every page of the database belongs to.
fn pages(path: &Path, page_bytes: usize) -> Vec<&'static str> {
    let in_file = fs::metadata(path).map_or(0, |file| file.len() as usize / page_bytes);
    let mut classes = vec!["unused pages"; in_file];
    let conn = Connection::open(path).expect("a database");
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
