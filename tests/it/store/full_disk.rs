//! A full disk: a file system of a few megabytes, which needs root to be mounted.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store};
use idem_tests::halt::eventually;

use crate::support::role::skip;
use crate::support::worker::{FORMS, Place, effect};

const WAIT: Duration = Duration::from_secs(60);
const NAME: &str = "tests.effect";

/// A small file system; unmounted at the end.
struct Disk {
    place: Place,
}

impl Disk {
    fn mount() -> Option<Disk> {
        let place = Place::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(place.folder())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Disk { place });
        }
        skip("mounting a small disk needs root");
        None
    }

    fn balloon(&self) -> PathBuf {
        self.place.folder().join("balloon")
    }

    /// Takes what is left, to the last byte.
    fn fill(&self) {
        let mut balloon = fs::OpenOptions::new().append(true).create(true).open(self.balloon()).unwrap();
        for size in [65_536, 4_096, 1] {
            while balloon.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.balloon()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a store of a failed test may still be open.
        let _ = Command::new("umount").arg("-l").arg(self.place.folder()).output();
    }
}

fn not_run() -> Result<String, Error> {
    unreachable!("the body ran")
}

// Rule 7, 8.
#[test]
fn on_a_full_disk_claims_fail_closed_and_completions_are_written_when_there_is_space_again() {
    for form in FORMS {
        let Some(disk) = Disk::mount() else { return };
        let store =
            Store::builder().record_within(Duration::from_millis(200)).open(disk.place.database()).unwrap();
        let value = "v".repeat(100_000);
        let make =
            |key: &str| effect(form, &store, key, OnInterrupt::Refuse, WAIT, || Ok("small".to_owned()));
        // The log must grow with the next write: what was folded in already leaves room.
        (0..30).for_each(|n| drop(make(&format!("k{n}")).unwrap()));
        let body = || {
            disk.fill();
            Ok(value.clone())
        };
        let error = effect(form, &store, "big", OnInterrupt::Refuse, WAIT, body).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::NotRecorded, Ran::Yes), "{error}");

        let error = effect(form, &store, "new", OnInterrupt::rerun(), WAIT, not_run).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, Ran::No));
        assert!(error.to_string().contains("disk is full"), "{error}");
        let error = effect(form, &store, "big", OnInterrupt::rerun(), Duration::ZERO, not_run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Running, "its completion is pending");
        assert_eq!(
            effect(form, &store, "k1", OnInterrupt::Refuse, WAIT, not_run).unwrap(),
            "small",
            "replays go on"
        );

        disk.free();
        eventually("it is written", || store.get(NAME, "big").unwrap().unwrap().status() == Status::Done);
        assert_eq!(effect(form, &store, "big", OnInterrupt::Refuse, WAIT, not_run).unwrap(), value);
        make("new").unwrap();
        store.close().unwrap();
        let store = disk.place.open();
        assert!(store.verify().unwrap().is_empty());
        assert_eq!(store.stats().unwrap().records, 32);
    }
}

#[test]
fn a_store_is_not_made_on_a_full_disk_and_is_made_when_there_is_space_again() {
    let Some(disk) = Disk::mount() else { return };
    disk.fill();
    let error = Store::open(disk.place.database()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("full") || error.to_string().contains("No space"), "{error}");
    disk.free();
    let store = disk.place.open();
    effect(FORMS[0], &store, "k", OnInterrupt::Refuse, WAIT, || Ok(String::new())).unwrap();
}

#[test]
fn an_open_store_can_be_opened_again_after_its_disk_was_full() {
    let Some(disk) = Disk::mount() else { return };
    let store = disk.place.open();
    effect(FORMS[1], &store, "k", OnInterrupt::Refuse, WAIT, || Ok("kept".to_owned())).unwrap();
    store.close().unwrap();
    disk.fill();
    // Where opening needs space it is refused; where it does not, replays work.
    if let Ok(store) = Store::open(disk.place.database()) {
        assert_eq!(effect(FORMS[1], &store, "k", OnInterrupt::Refuse, WAIT, not_run).unwrap(), "kept");
        drop(store);
    }
    disk.free();
    let store = disk.place.open();
    assert_eq!(effect(FORMS[1], &store, "k", OnInterrupt::Refuse, WAIT, not_run).unwrap(), "kept");
}
