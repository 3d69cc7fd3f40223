//! A full disk: a file system of a few megabytes. Only root can mount it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use idem_runtime::{ErrorKind, OnInterrupt, Ran, Status, Store};
use idem_tests::halt::{LONG, eventually};

use crate::support::place::Place;
use crate::support::role::skip;
use crate::support::worker::{FORMS, effect, not_run, once, replay, status};

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

    /// Fills the disk to the last byte.
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

// Rule 7, 8.
#[test]
fn on_a_full_disk_claims_fail_closed_and_completions_are_written_when_there_is_space_again() {
    for form in FORMS {
        let Some(disk) = Disk::mount() else { return };
        let store =
            Store::builder().record_within(Duration::from_millis(200)).open(disk.place.database()).unwrap();
        let value = "v".repeat(100_000);
        let make = |key: &str| once(form, &store, key, || Ok("small".to_owned()));
        // The WAL must grow with the next write: checkpointed pages leave room in it.
        (0..30).for_each(|n| drop(make(&format!("k{n}")).unwrap()));
        let body = || {
            disk.fill();
            Ok(value.clone())
        };
        let error = once(form, &store, "big", body).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::NotRecorded, Ran::Yes), "{error}");

        let error = effect(form, &store, "new", OnInterrupt::rerun(), LONG, not_run).unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::DiskFull, Ran::No));
        assert!(error.to_string().contains("disk is full"), "{error}");
        let error = effect(form, &store, "big", OnInterrupt::rerun(), Duration::ZERO, not_run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Running, "its completion is pending");
        assert_eq!(replay(form, &store, "k1").unwrap(), "small", "replays go on");

        disk.free();
        eventually("it is written", || status(&store, "big") == Status::Done);
        assert_eq!(replay(form, &store, "big").unwrap(), value);
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
    assert!(matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Store), "{error:?}");
    assert!(error.to_string().contains("full") || error.to_string().contains("No space"), "{error}");
    disk.free();
    let store = disk.place.open();
    once(FORMS[0], &store, "k", || Ok(String::new())).unwrap();
}

#[test]
fn an_open_store_can_be_opened_again_after_its_disk_was_full() {
    let Some(disk) = Disk::mount() else { return };
    let store = disk.place.open();
    once(FORMS[1], &store, "k", || Ok("kept".to_owned())).unwrap();
    store.close().unwrap();
    disk.fill();
    // Where opening needs space it is refused; where it does not, replays work.
    if let Ok(store) = Store::open(disk.place.database()) {
        assert_eq!(replay(FORMS[1], &store, "k").unwrap(), "kept");
        drop(store);
    }
    disk.free();
    let store = disk.place.open();
    assert_eq!(replay(FORMS[1], &store, "k").unwrap(), "kept");
}
