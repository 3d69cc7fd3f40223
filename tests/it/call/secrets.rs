//! Arguments are never on disk or in debug output. Results are there as long as they are kept.

use std::path::Path;
use std::time::Duration;

use idem_runtime::{Call, Error, Lifetime, Store, on_err};
use idem_tests::form::in_every_form;
use idem_tests::hand_clock::HandClock;
use idem_tests::shared::call;

const NAME: &str = "secrets.pay";
const SECRET: &str = "4111-1111-1111-1111";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// Whether the text is in any file of the folder. Only when no store is open: reading a database that `SQLite` has
/// open would drop its locks.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Makes calls, closes the store and looks for the secret.
fn is_kept(calls: impl FnOnce(&Store)) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("idem.db")).unwrap();
    calls(&store);
    store.close().unwrap();
    is_on_disk(folder.path(), SECRET)
}

// Field 25.
#[test]
fn arguments_are_not_stored() {
    in_every_form(|form| {
        assert!(!is_kept(|store| {
            let call = pay(store).arg("card", SECRET).fingerprint(&(1, SECRET));
            form.make(call, || Ok::<u32, Error>(1)).unwrap();
        }));
    });
}

// Field 25.
#[test]
fn a_result_is_stored_unless_it_is_not_kept() {
    in_every_form(|form| {
        let secret = || Ok::<String, Error>(SECRET.to_owned());
        assert!(is_kept(|store| drop(form.make(pay(store), secret))), "the test can find it");
        assert!(!is_kept(|store| drop(form.make(pay(store).keep_result(Lifetime::ZERO), secret))));
    });
}

// Field 25.
#[test]
fn an_error_is_stored_only_if_it_is_remembered() {
    in_every_form(|form| {
        let secret = || Err::<u32, String>(SECRET.to_owned());
        assert!(is_kept(|store| drop(form.make(pay(store).on_err(on_err::Remember), secret))));
        assert!(!is_kept(|store| drop(form.make(pay(store), secret))));
        assert!(!is_kept(|store| drop(form.make(pay(store).on_err(on_err::InDoubt), secret))));
        let unkept = |store: &Store| pay(store).on_err(on_err::Remember).keep_result(Lifetime::ZERO);
        assert!(!is_kept(|store| drop(form.make(unkept(store), secret))), "an error is a result, too");
    });
}

// Field 25: an expired result leaves the file.
#[test]
fn a_purged_result_is_gone_from_the_disk() {
    let clock = HandClock::summer();
    let (folder, store) = clock.store();
    let hour = Duration::from_secs(3_600);
    pay(&store).keep_result(hour).run(|| Ok::<String, Error>(SECRET.to_owned())).unwrap();
    clock.pass(hour + Duration::from_secs(60));
    assert_eq!(store.purge_expired(10).unwrap(), 1);
    store.close().unwrap();
    assert!(!is_on_disk(folder.path(), SECRET));
}

// Field 25.
#[test]
#[cfg(unix)]
fn files_of_a_store_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("idem.db")).unwrap();
    pay(&store).run(|| Ok::<u32, Error>(1)).unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, expected, "{entry:?}");
        seen.push(entry.file_name());
    }
    assert!(seen.iter().any(|name| name == "idem.db-wal"), "{seen:?}");
}

#[test]
fn debug_output_shows_no_result() {
    let store = Store::temporary().unwrap();
    pay(&store).run(|| Ok::<String, Error>(SECRET.to_owned())).unwrap();
    let record = store.get(NAME, "A-17").unwrap().unwrap();
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    for debug in
        [format!("{record:?}"), format!("{store:?}"), format!("{:?}", pay(&store).arg("card", SECRET))]
    {
        assert!(!debug.contains(SECRET) && !debug.contains(bytes), "{debug}");
    }
}
