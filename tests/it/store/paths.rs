//! A path that cannot be a store is refused. The error names the path, and nothing is changed.

use idem_tests::deadline;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use idem_runtime::{Error, ErrorKind, Ran, Store};
use rusqlite::{Connection, OpenFlags};

use crate::support::place::Place;
use crate::support::role::skip;
use crate::support::worker::{NAME, Worker};

/// Refused, with these words in what `unwrap` shows: the fact, the advice and the causes.
fn refused(path: impl AsRef<Path>, words: &[&str]) -> Error {
    let error = Store::open(path.as_ref()).unwrap_err();
    assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, Ran::No));
    let shown = format!("{error:?}");
    for word in words {
        assert!(shown.contains(word), "`{word}` is not in: {shown}");
    }
    error
}

/// Everything under a folder, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn database(path: &Path, sql: &str) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = Connection::open_with_flags(path, flags).unwrap();
    conn.execute_batch(sql).unwrap();
}

/// Checks that the store is refused and that the file has the same bytes and no WAL.
fn refused_and_untouched(place: &Place, words: &[&str]) {
    let before = fs::read(place.database()).unwrap();
    refused(place.database(), words);
    assert_eq!(fs::read(place.database()).unwrap(), before, "the file was changed");
    assert!(!place.beside("-wal").exists() && !place.beside("-shm").exists());
}

/// Leaves nothing at all beside the file.
fn refused_without_a_trace(place: &Place, words: &[&str]) {
    refused_and_untouched(place, words);
    assert!(!place.beside("-idem").exists(), "a folder was left behind");
}

#[test]
fn names_that_sqlite_takes_for_something_else_are_refused() {
    refused("", &["empty"]);
    refused(":memory:", &["`Store::temporary()`"]);
    refused("file:idem.db", &["URI", "./file:"]);
    refused("FILE:idem.db?mode=memory", &["URI"]);
    refused("idem\0.db", &["NUL"]);
}

#[test]
fn a_file_whose_name_begins_like_a_uri_is_a_file() {
    let place = Place::new();
    for name in ["file:x?mode=memory", "a b%20c#d", "ü.db", ":memory:"] {
        let path = place.folder().join(name);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.path(), path.canonicalize().unwrap());
        store.close().unwrap();
        assert!(fs::metadata(&path).unwrap().len() > 0, "{name}");
    }
}

#[test]
fn a_folder_is_refused() {
    let place = Place::new();
    refused(place.folder(), &["is a folder", "idem.db"]);
    refused(format!("{}/idem.db/", place.folder().display()), &["is a folder"]);
    refused("/", &["folder"]);
    assert!(contents(&place.folder()).is_empty());
}

#[test]
fn a_missing_folder_is_named_and_not_made() {
    let place = Place::new();
    let missing = place.folder().join("no");
    refused(
        missing.join("such/idem.db"),
        &["does not exist", &format!("`{}`", missing.display()), "Create the folder first"],
    );
    assert!(!missing.exists());
}

#[test]
fn a_path_that_is_neither_file_nor_folder_is_refused() {
    refused("/dev/null", &["not a regular file"]);
    let place = Place::new();
    let socket = std::os::unix::net::UnixListener::bind(place.database()).unwrap();
    refused(place.database(), &["not a regular file"]);
    drop(socket);
}

#[test]
fn a_read_only_file_is_refused() {
    let place = Place::new();
    place.open().close().unwrap();
    fs::set_permissions(place.database(), fs::Permissions::from_mode(0o400)).unwrap();
    refused_and_untouched(&place, &["read-only", "permissions"]);
    fs::set_permissions(place.database(), fs::Permissions::from_mode(0o600)).unwrap();
    place.open();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let place = Place::new();
    let folder = place.folder().join("fixed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        fs::remove_file(folder.join("probe")).unwrap();
        // Permissions do not bind root; the attribute does, where the file system has it.
        if !immutable(&folder, "+i") {
            return skip("this user may write everywhere, and `chattr +i` does not work here");
        }
    }
    let error = Store::open(folder.join("idem.db")).map(|_| ());
    immutable(&folder, "-i");
    assert!(error.unwrap_err().help().contains("the permissions of the file and of its folder"));
    assert!(contents(&folder).is_empty());
}

fn immutable(path: &Path, change: &str) -> bool {
    Command::new("chattr").arg(change).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_read_only_mount_is_refused() {
    let place = Place::new();
    place.open().close().unwrap();
    let folder = place.folder();
    let sh = |script: String| Command::new("sh").args(["-c", &script]).output().unwrap().status.success();
    let there = folder.display();
    if !sh(format!("mount --bind '{there}' '{there}' && mount -o remount,bind,ro '{there}'")) {
        sh(format!("umount '{there}'"));
        return skip("mounting needs root");
    }
    let answer = Store::open(place.database()).map(|_| ());
    assert!(sh(format!("umount '{there}'")));
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    let shown = format!("{error:?}");
    assert!(shown.contains("Read-only file system") || shown.contains("writable"), "{shown}");
    place.open();
}

// A file is changed only after it is known to be a store.
#[test]
fn another_applications_database_is_refused_and_not_touched() {
    for marks in ["", "PRAGMA application_id = 7; PRAGMA user_version = 3;", "PRAGMA journal_mode = WAL;"] {
        let place = Place::new();
        database(
            &place.database(),
            &format!("{marks} CREATE TABLE orders (id TEXT); INSERT INTO orders VALUES ('A');"),
        );
        refused_without_a_trace(&place, &["another application's database", "shared()"]);
    }
    // The file is marked by another application and has no tables yet.
    let place = Place::new();
    database(&place.database(), "PRAGMA application_id = 7; VACUUM;");
    refused_without_a_trace(&place, &["another application's database"]);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_not_touched() {
    for bytes in
        [&b"this is a text"[..], &[0; 4_096], &[0xff; 100], b"SQLite format 3\0 and then something else"]
    {
        let place = Place::new();
        fs::write(place.database(), bytes).unwrap();
        refused_without_a_trace(&place, &[]);
    }
    let place = Place::new();
    fs::write(place.database(), vec![b'x'; 10_000]).unwrap();
    refused_without_a_trace(&place, &["not an SQLite database", "Check the path"]);
}

#[test]
fn an_emptied_file_is_refused() {
    let place = Place::new();
    fs::write(place.database(), "").unwrap();
    refused_without_a_trace(&place, &["0 bytes", "delete the file"]);
    let place = Place::new();
    place.open().close().unwrap();
    fs::write(place.database(), "").unwrap();
    refused_and_untouched(&place, &["0 bytes", "Restore the store"]);
}

#[test]
fn a_store_whose_creation_was_cut_off_is_created_at_the_next_open() {
    for rest in ["nothing", "an empty file"] {
        let place = Place::new();
        fs::create_dir(place.beside("-idem")).unwrap();
        fs::write(place.beside("-idem").join("creating"), "").unwrap();
        if rest == "an empty file" {
            fs::write(place.database(), "").unwrap();
        }
        place.open().close().unwrap();
        assert!(!place.beside("-idem").join("creating").exists(), "{rest}");
        fs::write(place.database(), "").unwrap();
        refused(place.database(), &["0 bytes"]);
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let place = Place::new();
    place.open().close().unwrap();
    database(
        &place.database(),
        "UPDATE idem_meta SET value = 2 WHERE name = 'schema'; PRAGMA journal_mode = DELETE;",
    );
    refused_and_untouched(&place, &["version 2", "versions up to 1", "Update `idem-runtime`"]);
}

#[test]
fn a_truncated_store_is_refused() {
    for left in [1, 99, 512, 4_096, 4_097, 20_000] {
        let place = Place::new();
        let store = place.open();
        for key in 0..200 {
            store.record_done(NAME, &key, &vec![7_u8; 100]).unwrap();
        }
        store.close().unwrap();
        let file = fs::OpenOptions::new().write(true).open(place.database()).unwrap();
        file.set_len(left).unwrap();
        drop(file);
        // SQLite sees the end of the file in its header, or meets a page that is not there.
        let opened = Store::open(place.database());
        let flawed = match opened {
            Err(error) => {
                matches!(error.kind(), ErrorKind::Store | ErrorKind::Damaged | ErrorKind::LostRecords)
            }
            Ok(store) => !store.verify().unwrap_or_else(|error| vec![error.to_string()]).is_empty(),
        };
        assert!(flawed, "nothing is said about a store of {left} bytes");
    }
}

#[test]
fn a_file_with_two_names_is_refused() {
    let place = Place::new();
    place.open().close().unwrap();
    fs::hard_link(place.database(), place.folder().join("other.db")).unwrap();
    refused(place.database(), &["2 hard links", "Keep one"]);
    refused(place.folder().join("other.db"), &["2 hard links"]);
}

#[test]
fn links_lead_to_one_store() {
    let place = Place::new();
    let (link, folder) = (place.folder().join("link.db"), place.folder().join("folder"));
    symlink(place.database(), &link).unwrap();
    refused(&link, &["is a link to", "does not exist"]);
    let store = place.open();
    symlink(place.folder(), &folder).unwrap();
    for path in [link.clone(), folder.join("idem.db"), folder.join("folder/./idem.db")] {
        let same = Store::open(&path).unwrap();
        assert!(store.record_done(NAME, &path.display().to_string(), &()).unwrap());
        assert!(same.get(NAME, &path.display().to_string()).unwrap().is_some());
        assert_eq!(same.path(), store.path());
    }
    assert_eq!(place.owner_files().len(), 1, "the file was opened once");
    // Another process that opens the link shares the files.
    let mut other = Worker::start_at(&link, &place);
    other.call("a", idem_tests::form::Form::Sync, "refuse", "k", "quick");
    other.hear("a ok");
    assert!(store.get(NAME, "k").unwrap().is_some());
    assert!(!place.folder().join("link.db-wal").exists() && !place.folder().join("link.db-idem").exists());
}

#[test]
fn a_sidecar_that_is_no_folder_is_refused() {
    let place = Place::new();
    fs::write(place.beside("-idem"), "").unwrap();
    refused(place.database(), &["idem.db-idem", "not a folder"]);
    assert!(!place.database().exists());
    let place = Place::new();
    symlink(place.folder(), place.beside("-idem")).unwrap();
    refused(place.database(), &["idem.db-idem", "not a folder"]);
}

#[test]
fn a_relative_path_means_the_file_where_the_program_stands() {
    deadline::start();
    let name = format!("idem-relative-{}.db", std::process::id());
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let store = Store::open(&name).unwrap();
    assert_eq!(store.path(), here.join(&name));
    store.close().unwrap();
    fs::remove_file(here.join(&name)).unwrap();
    fs::remove_dir_all(here.join(format!("{name}-idem"))).unwrap();
}

// Field 25.
#[test]
fn the_files_of_a_store_are_readable_by_their_owner_alone() {
    let place = Place::new();
    let store = place.open();
    store.record_done(NAME, "k", &"secret".to_owned()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in [place.database(), place.beside("-wal"), place.beside("-shm")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&place.beside("-idem")), 0o700);
    for (file, _) in contents(&place.beside("-idem")) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let temporary = Store::temporary().unwrap();
    assert_eq!(mode(temporary.path().parent().unwrap()), 0o700);
}

/// Each name would have a WAL and locks of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_database_that_is_mounted_as_a_file_is_refused() {
    for mounted in ["idem.db", "idem.db-wal", "idem.db-shm", "idem.db-idem"] {
        let place = Place::new();
        let store = place.open();
        store.record_done(NAME, "k", &1_u32).unwrap();
        let container = place.folder().join("container");
        fs::create_dir(&container).unwrap();
        let (source, target) = (place.folder().join(mounted), container.join(mounted));
        if source.is_dir() {
            fs::create_dir(&target).unwrap();
        } else {
            fs::write(&target, "").unwrap();
        }
        if mounted != "idem.db" {
            // The database itself is an ordinary file there.
            Store::open(container.join("other.db")).unwrap().close().unwrap();
            fs::rename(container.join("other.db"), container.join("idem.db")).unwrap();
            fs::remove_dir_all(container.join("other.db-idem")).unwrap();
        }
        let bound = Command::new("mount").arg("--bind").args([&source, &target]).output();
        if !bound.is_ok_and(|output| output.status.success()) {
            return skip("mounting needs root");
        }
        let before = contents(&container).len();
        let opened = Store::builder().allow_remote_mount().open(container.join("idem.db")).map(|_| ());
        let after = contents(&container).len();
        assert!(Command::new("umount").arg(&target).status().unwrap().success());
        let error = opened.unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, Ran::No), "{mounted}");
        assert!(error.to_string().contains("is a mount point of its own"), "{mounted}: {error}");
        assert!(error.help().contains("Mount the folder"), "{mounted}: {error:?}");
        assert_eq!(before, after, "{mounted}: nothing was created");
    }
}

/// A folder with two names is no danger: the WAL and the locks are in it.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_is_mounted_twice_has_one_store() {
    let place = Place::new();
    let store = place.open();
    store.record_done(NAME, "k", &1_u32).unwrap();
    let other = tempfile::tempdir().unwrap();
    let bound = Command::new("mount").arg("--bind").args([&place.folder(), other.path()]).output();
    if !bound.is_ok_and(|output| output.status.success()) {
        return skip("mounting needs root");
    }
    let mut worker = Worker::start_at(&other.path().join("idem.db"), &place);
    worker.call("a", idem_tests::form::Form::Sync, "refuse", "from-there", "quick");
    worker.hear("a ok");
    let found = store.get(NAME, "from-there");
    worker.leave();
    assert!(Command::new("umount").arg(other.path()).status().unwrap().success());
    assert!(found.unwrap().is_some());
}

#[test]
fn a_path_that_is_too_long_is_refused_before_anything_is_made() {
    let place = Place::new();
    let long = place.folder().join("n".repeat(250));
    let mut deep = place.folder();
    while deep.as_os_str().len() < 400 {
        deep = deep.join("d".repeat(50));
    }
    fs::create_dir_all(&deep).unwrap();
    let deep = deep.join("x".repeat(504 - deep.as_os_str().len()));
    assert_eq!(deep.as_os_str().len(), 505);
    for (path, words) in [(&long, "250 bytes"), (&deep, "505 bytes")] {
        refused(path, &[words, "is too long", "shorter"]);
    }
    assert!(contents(&place.folder()).is_empty() && !place.folder().join("n".repeat(250) + "-idem").exists());
    for path in [
        place.folder().join("n".repeat(247)),
        deep.with_file_name("x".repeat(deep.file_name().unwrap().len() - 1)),
    ] {
        let store = Store::open(&path).unwrap();
        assert!(store.record_done(NAME, "k", &1_u32).unwrap());
        store.close().unwrap();
    }
}
