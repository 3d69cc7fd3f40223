//! Paths that can and that cannot be stores.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn store(path: &Path) -> (StorePath, Sidecar) {
    let store = StorePath::resolve(path).unwrap();
    let sidecar = Sidecar::create(store.sidecar()).unwrap();
    (store, sidecar)
}

fn refusal(path: impl AsRef<Path>) -> String {
    StorePath::resolve(path.as_ref()).unwrap_err().to_string()
}

#[test]
fn names_that_sqlite_does_not_read_as_a_file_are_refused() {
    let cases = [
        ("", "is empty"),
        (":memory:", "in memory"),
        ("file:idem.db", "is a URI"),
        ("FILE:///tmp/idem.db?mode=memory", "is a URI"),
        ("a\0b", "NUL byte"),
        ("/", "is a folder"),
        ("..", "is a folder"),
        ("idem.db/", "is a folder"),
    ];
    for (path, words) in cases {
        let text = refusal(path);
        assert!(text.contains(words), "{path:?}: {text}");
        assert!(!text.contains('\0'));
    }
}

#[test]
fn a_file_named_like_a_uri_is_reached_by_its_absolute_path() {
    let (_folder, path) = folder();
    let (store, _) = store(&path.join("file:idem.db"));
    assert!(store.database().is_absolute());
    assert!(store.database().as_os_str().as_bytes().starts_with(b"/"));
    assert_eq!(store.wal(), path.join("file:idem.db-wal"));
    assert_eq!(store.shm(), path.join("file:idem.db-shm"));
}

#[test]
fn a_relative_path_is_made_absolute() {
    // Tests of one process share a working folder, so nothing is created here.
    let store = StorePath::resolve(Path::new("idem-nowhere.db")).unwrap();
    assert_eq!(
        store.database(),
        std::env::current_dir().unwrap().canonicalize().unwrap().join("idem-nowhere.db")
    );
}

#[test]
fn every_path_to_a_file_resolves_to_one() {
    let (_folder, path) = folder();
    fs::create_dir(path.join("data")).unwrap();
    fs::write(path.join("data/idem.db"), "x").unwrap();
    symlink("data", path.join("link")).unwrap();
    symlink("data/idem.db", path.join("short.db")).unwrap();
    let expected = path.join("data/idem.db");
    for way in ["data/idem.db", "link/idem.db", "short.db", "./data/../link/./idem.db"] {
        assert_eq!(StorePath::resolve(&path.join(way)).unwrap().database(), expected, "{way}");
    }
}

#[test]
fn the_first_missing_folder_is_named() {
    let (_folder, path) = folder();
    let text = refusal(path.join("a/b/idem.db"));
    assert!(text.contains(&format!("the folder `{}` of `", path.join("a").display())), "{text}");
}

#[test]
fn only_a_regular_file_is_accepted() {
    let (_folder, path) = folder();
    symlink("nowhere.db", path.join("lost.db")).unwrap();
    assert!(refusal(path.join("lost.db")).contains("a link to `nowhere.db`, which does not exist"));
    symlink("loop.db", path.join("loop.db")).unwrap();
    assert!(refusal(path.join("loop.db")).contains("could not follow the link"));
    assert!(refusal(&path).contains("is a folder"));
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    assert!(refusal(path.join("socket")).contains("not a regular file"));
    fs::write(path.join("file"), "x").unwrap();
    let error = StorePath::resolve(&path.join("file/idem.db")).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("Not a directory") && !error.to_string().contains(&cause), "{error}: {cause}");
}

#[test]
fn a_new_database_and_its_folder_are_private() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Fresh);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(store.database()), mode(sidecar.path())), (0o600, 0o700));
    assert_eq!(sidecar.path(), path.join("idem.db-idem"));
}

#[test]
fn an_unfinished_creation_is_continued() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Fresh);
    // A crash here: the file has 0 bytes and the mark still exists.
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Unfinished);
    fs::write(store.database(), "schema").unwrap();
    sidecar.finish_creation().unwrap();
    sidecar.finish_creation().unwrap();
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Existing);
}

#[test]
fn after_a_crash_before_the_file_is_created_the_open_succeeds() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    sidecar.begin_creation().unwrap();
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Fresh);
}

#[test]
fn an_emptied_store_does_not_start_again() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    store.prepare(&sidecar).unwrap();
    sidecar.finish_creation().unwrap();
    let text = store.prepare(&sidecar).unwrap_err().to_string();
    assert!(text.contains("is empty (0 bytes)"), "{text}");
    assert_eq!(fs::metadata(store.database()).unwrap().len(), 0);
}

#[test]
fn an_existing_file_is_neither_opened_nor_changed() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    fs::write(store.database(), "theirs").unwrap();
    fs::set_permissions(store.database(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(store.prepare(&sidecar).unwrap(), Creation::Existing);
    assert_eq!(fs::read(store.database()).unwrap(), b"theirs");
    assert_eq!(fs::metadata(store.database()).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_read_only_file_and_a_second_name_are_refused() {
    let (_folder, path) = folder();
    let (store, sidecar) = store(&path.join("idem.db"));
    fs::write(store.database(), "x").unwrap();
    fs::hard_link(store.database(), path.join("other.db")).unwrap();
    assert!(store.prepare(&sidecar).unwrap_err().to_string().contains("has 2 hard links"));
    fs::remove_file(path.join("other.db")).unwrap();
    fs::set_permissions(store.database(), fs::Permissions::from_mode(0o400)).unwrap();
    assert!(store.prepare(&sidecar).unwrap_err().to_string().contains("is read-only"));
}

#[test]
fn the_sidecar_must_be_a_real_folder() {
    let (_folder, path) = folder();
    let store = StorePath::resolve(&path.join("idem.db")).unwrap();
    fs::write(path.join("idem.db-idem"), "x").unwrap();
    assert!(Sidecar::create(store.sidecar()).unwrap_err().to_string().contains("could not use `"));
    fs::remove_file(path.join("idem.db-idem")).unwrap();
    symlink(&path, path.join("idem.db-idem")).unwrap();
    assert!(Sidecar::create(store.sidecar()).unwrap_err().to_string().contains("could not use `"));
    fs::remove_file(path.join("idem.db-idem")).unwrap();
    assert_eq!(
        Sidecar::create(store.sidecar()).unwrap().path(),
        Sidecar::create(store.sidecar()).unwrap().path()
    );
}

#[test]
fn a_local_disk_is_not_refused() {
    let (_folder, path) = folder();
    assert!(StorePath::resolve(&path.join("idem.db")).unwrap().refuse_remote().is_ok());
    let remote = PathError::Remote { path: path.join("idem.db"), kind: "nfs4".to_owned() };
    assert!(remote.to_string().contains("is on a `nfs4` mount"));
}
