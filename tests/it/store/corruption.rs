//! Damage under an open store and at the next open: an error, never a second run.

use std::fs;
use std::time::{Duration, Instant};

use idem_runtime::{Error, ErrorKind, Filter, OnInterrupt, Ran, Status, Store};
use idem_tests::form::Form;
use idem_tests::halt::{LONG, pause};

use crate::support::place::Place;
use crate::support::worker::{FORMS, NAME, Worker, effect, not_run, once, run, status};

pub(crate) fn rerun(form: Form, store: &Store, key: &str) -> Result<String, Error> {
    effect(form, store, key, OnInterrupt::rerun_unlimited(), LONG, not_run)
}

// Rule 6: the high-water mark.
#[test]
fn a_store_that_lost_its_wal_is_refused_until_the_loss_is_accepted() {
    for form in FORMS {
        let place = Place::new();
        let mut worker = Worker::start(&place);
        for key in ["a", "b", "c"] {
            worker.call(key, form, "refuse", key, "quick");
            worker.hear(&format!("{key} ok"));
        }
        worker.kill();
        fs::remove_file(place.beside("-wal")).unwrap();
        for _ in 0..2 {
            let error = Store::open(place.database()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LostRecords);
            assert!(error.to_string().contains("lost records"), "{error}");
            assert!(error.help().contains("`accept_lost_records`"), "{error:?}");
        }
        let store = Store::builder().accept_lost_records().open(place.database()).unwrap();
        assert_eq!(run(form, &store, "a").unwrap(), "value of a");
        let claim: i64 =
            place.connect().query_row("SELECT claim FROM idem_record", [], |row| row.get(0)).unwrap();
        assert_eq!(claim, 4, "numbers 1 to 3 were used by what is lost");
        store.close().unwrap();
        // Once is enough.
        assert_eq!(run(form, &place.open(), "a").unwrap(), "value of a");
    }
}

// Rule 6: the high-water mark.
#[test]
fn an_old_copy_in_the_place_of_the_store_is_refused() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "a").unwrap();
    store.close().unwrap();
    fs::copy(place.database(), place.beside(".old")).unwrap();
    let store = place.open();
    run(Form::Tokio, &store, "b").unwrap();
    store.close().unwrap();
    fs::copy(place.beside(".old"), place.database()).unwrap();
    let error = Store::open(place.database()).unwrap_err();
    assert!(error.to_string().contains("its last claim is 1, its high-water mark is 2"), "{error}");
}

#[test]
fn a_high_water_mark_that_is_lost_or_torn_is_not_reported() {
    for rest in [None, Some(&b""[..]), Some(b"torn"), Some(&[0xff; 16])] {
        let place = Place::new();
        let store = place.open();
        run(Form::Sync, &store, "a").unwrap();
        store.close().unwrap();
        let mark = place.beside("-idem").join("claims");
        match rest {
            None => fs::remove_file(mark).unwrap(),
            Some(bytes) => fs::write(mark, bytes).unwrap(),
        }
        assert_eq!(rerun(Form::Sync, &place.open(), "a").unwrap(), "value of a");
    }
}

#[test]
fn after_a_kill_everything_that_was_acknowledged_is_there() {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    let mut values = Vec::new();
    for n in 0..50 {
        worker.call("a", FORMS[n % 2], "refuse", &format!("k{n}"), "quick");
        values.push(worker.hear("a ok"));
    }
    worker.kill();
    let store = place.open();
    for (n, value) in values.iter().enumerate() {
        assert_eq!(rerun(FORMS[n % 2], &store, &format!("k{n}")).unwrap(), *value);
    }
    assert!(store.verify().unwrap().is_empty());
}

/// Where these bytes are in the file.
fn find(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == needle)
        .map(|(at, _)| at)
        .collect()
}

fn slot_of(place: &Place, key: &str) -> Vec<u8> {
    place.connect().query_row("SELECT slot FROM idem_record WHERE key = ?1", [key], |row| row.get(0)).unwrap()
}

// Rule 6: `integrity_check` after an unclean end.
#[test]
fn a_store_with_a_damaged_index_is_refused_after_an_unclean_end() {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    for key in ["a", "b", "c"] {
        worker.call(key, Form::Sync, "refuse", key, "quick");
        worker.hear(&format!("{key} ok"));
    }
    worker.kill();
    let slot = slot_of(&place, "b");
    place.connect().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let whole = fs::read(place.database()).unwrap();
    let at = find(&whole, &slot);
    assert_eq!(at.len(), 2, "once in the table and once in its index");
    for at in at {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(place.database(), &bytes).unwrap();
        let error = Store::open(place.database()).unwrap_err();
        assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains("damaged"), "{error}");
    }
    fs::write(place.database(), &whole).unwrap();
    assert!(place.open().get(NAME, "b").unwrap().is_some());
}

/// Rows out of order once made both loop for ever.
#[test]
fn a_store_whose_pages_changed_places_is_listed_and_verified_to_an_end() {
    const PAGE: usize = 4_096;
    let place = Place::new();
    let store = place.open();
    for n in 0..100 {
        let value = || Ok("x".repeat(500));
        once(Form::Sync, &store, &format!("k{n}"), value).unwrap();
    }
    store.close().unwrap();
    let whole = fs::read(place.database()).unwrap();
    let is_leaf_of_records = |page: &&[u8]| page[0] == 0x0d && !find(page, NAME.as_bytes()).is_empty();
    let leaves: Vec<usize> = (0..whole.len() / PAGE)
        .filter(|at| is_leaf_of_records(&&whole[at * PAGE..(at + 1) * PAGE]))
        .collect();
    assert!(leaves.len() > 8, "{leaves:?}");
    for (one, other) in [(leaves[1], leaves[2]), (leaves[2], leaves[6]), (leaves[0], leaves[7])] {
        let mut bytes = whole.clone();
        for at in 0..PAGE {
            bytes.swap(one * PAGE + at, other * PAGE + at);
        }
        fs::write(place.database(), &bytes).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let store = place.open();
        std::thread::spawn({
            let store = store.clone();
            move || done.send((store.verify(), store.list(&Filter::new()).map(|_| ())))
        });
        let (flaws, listed) = ended.recv_timeout(LONG).expect("`verify` or `list` does not end");
        assert!(!flaws.unwrap().is_empty());
        assert_eq!(listed.unwrap_err().kind(), ErrorKind::Damaged);
        store.close().unwrap();
    }
}

/// The old copy has no record of the program that left the WAL.
#[test]
fn an_old_database_beside_a_newer_wal_is_refused() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "old").unwrap();
    store.close().unwrap();
    let old = fs::read(place.database()).unwrap();
    let mut worker = Worker::start(&place);
    for n in 0..200 {
        let key = format!("k{n}");
        worker.call(&key, Form::Sync, "refuse", &key, "quick");
        worker.hear(&format!("{key} ok"));
    }
    // The checkpoint moves the pages of the WAL to the database, and SQLite resets the WAL.
    place.connect().query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    worker.call("last", Form::Sync, "refuse", "last", "quick");
    worker.hear("last ok");
    worker.kill();
    fs::write(place.database(), old).unwrap();
    let error = Store::open(place.database()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::LostRecords | ErrorKind::Damaged), "{error:?}");
}

/// `SQLite` finds nothing wrong with a store that some records are missing from.
#[test]
fn a_store_with_too_few_records_is_refused_after_an_unclean_end_until_the_loss_is_accepted() {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    for key in ["a", "b"] {
        worker.call(key, Form::Sync, "refuse", key, "quick");
        worker.hear(&format!("{key} ok"));
    }
    worker.kill();
    place.connect().execute("UPDATE idem_count SET records = records + 3", []).unwrap();
    let error = Store::open(place.database()).unwrap_err();
    assert!(error.to_string().contains("2 records found, 5 expected"), "{error}");
    let store = Store::builder().accept_lost_records().open(place.database()).unwrap();
    assert!(store.verify().unwrap().is_empty());
    store.forget(NAME, "a").unwrap();
    run(Form::Sync, &store, "c").unwrap();
    assert!(store.verify().unwrap().is_empty(), "records that come and go are counted");
    place.connect().execute("UPDATE idem_count SET records = 0", []).unwrap();
    assert_eq!(store.verify().unwrap(), ["there are 2 records and should be 0"]);
}

// Rule 6: what can be reached and is not to be believed is an error.
#[test]
fn a_record_that_was_tampered_with_is_an_error_until_it_is_forgotten() {
    for form in FORMS {
        for change in [
            "status = 4",
            "claim = claim + 1",
            "owner = owner + 1",
            // The checksum, its input, and the length.
            "facts = CAST(x'0000000000000000' || substr(facts, 9) AS BLOB)",
            "facts = CAST(substr(facts, 1, 8) || x'00' || substr(facts, 10) AS BLOB)",
            "facts = substr(facts, 1, length(facts) - 1)",
            "facts = CAST(facts || x'00' AS BLOB)",
            "facts = substr(facts, 1, 8)",
            "facts = x''",
            "result = x''",
            "result = NULL",
            "name = 'tests.other'",
            "key = 'other'",
        ] {
            let place = Place::new();
            let store = place.open();
            run(form, &store, "k").unwrap();
            run(form, &store, "whole").unwrap();
            let sql = format!("UPDATE idem_record SET {change} WHERE key = 'k'");
            assert_eq!(place.connect().execute(&sql, []).unwrap(), 1);
            let error = rerun(form, &store, "k").unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Damaged, Ran::No), "{change}: {error}");
            assert!(error.to_string().contains("damaged") && error.help().contains("`forget`"), "{error:?}");
            assert_eq!(store.get(NAME, "k").unwrap_err().kind(), ErrorKind::Damaged, "{change}");

            let flaws = store.verify().unwrap();
            assert!(flaws.len() == 1 && flaws[0].contains("record 1"), "{change}: {flaws:?}");
            assert_eq!(rerun(form, &store, "whole").unwrap(), "value of whole");
            assert!(store.forget(NAME, "k").unwrap(), "{change}");
            assert_eq!(run(form, &store, "k").unwrap(), "value of k", "{change}");
            assert!(store.verify().unwrap().is_empty());
        }
    }
}

/// The end of a call first looks for its record by the number of the row.
#[test]
fn a_call_whose_row_was_numbered_anew_while_it_ran_still_ends() {
    for form in FORMS {
        let place = Place::new();
        let store = place.open();
        let renumbered = || {
            let conn = place.connect();
            conn.execute_batch("UPDATE idem_record SET id = 99").unwrap();
            Ok("value of k".to_owned())
        };
        once(form, &store, "k", renumbered).unwrap();
        assert_eq!(rerun(form, &store, "k").unwrap(), "value of k");
        assert!(store.verify().unwrap().is_empty());
    }
}

// Rule 6, in the file itself: SQLite has no checksums of its own.
#[test]
fn no_flipped_byte_of_a_record_repeats_its_call_or_changes_its_result() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "k").unwrap();
    let slot = slot_of(&place, "k");
    store.close().unwrap();
    let whole = fs::read(place.database()).unwrap();
    let (name, result) = (find(&whole, NAME.as_bytes()), find(&whole, b"value of k"));
    assert_eq!((name.len(), result.len()), (1, 1));
    // The header of the row, its slot, and everything up to the end of the result and the column behind it.
    let first = name[0] - slot.len() - 14;
    let mut noticed = 0;
    for at in first..result[0] + 18 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(place.database(), &bytes).unwrap();
        let Ok(store) = Store::open(place.database()) else {
            noticed += 1;
            continue;
        };
        match rerun(Form::Sync, &store, "k") {
            Ok(value) => assert_eq!(value, "value of k", "at {at}"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Store), "at {at}: {error}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > result[0] - name[0], "only {noticed} were noticed");
}

// Rule 8: a claim that cannot be written fails closed.
#[test]
fn while_another_program_holds_the_write_lock_claims_are_refused_after_a_second_and_replays_go_on() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "done").unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let store = &store;
        let begun = Instant::now();
        let claims = FORMS.map(|form| {
            scope.spawn(move || {
                let key = format!("new {form:?}");
                (effect(form, store, &key, OnInterrupt::Refuse, Duration::ZERO, not_run), begun.elapsed())
            })
        });
        for form in FORMS {
            assert_eq!(rerun(form, store, "done").unwrap(), "value of done", "a replay needs no lock");
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "the replays waited for the lock");
        for claim in claims {
            let (answer, took) = claim.join().unwrap();
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::Store, Ran::No));
            assert!(error.help().contains("write lock"), "{error:?}");
            assert!(took >= Duration::from_millis(900), "gave up after {took:?}");
        }
    });
    other.execute_batch("COMMIT").unwrap();
    // A refused claim is not written later.
    for form in FORMS {
        assert_eq!(run(form, &store, &format!("new {form:?}")).unwrap(), format!("value of new {form:?}"));
    }
}

// Rule 7. Field 19.
#[test]
fn while_another_program_holds_the_write_lock_claims_wait_and_completions_are_delayed_but_not_lost() {
    let place = Place::new();
    let store = Store::builder().record_within(Duration::from_millis(100)).open(place.database()).unwrap();
    let other = place.connect();
    let ended = FORMS.map(|form| format!("ended {form:?}"));
    std::thread::scope(|scope| {
        let (store, other) = (&store, &other);
        for (form, key) in FORMS.into_iter().zip(&ended) {
            let body = || {
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                Ok(key.clone())
            };
            let error = once(form, store, key, body).unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::NotRecorded, Ran::Yes));
            // The call is still known: a duplicate waits for it.
            let error = effect(form, store, key, OnInterrupt::rerun(), Duration::ZERO, not_run).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Running);
            let waiting = scope.spawn(move || effect(form, store, key, OnInterrupt::rerun(), LONG, not_run));
            let claiming = scope.spawn(move || run(form, store, &format!("claimed {form:?}")));
            pause();
            assert!(!waiting.is_finished() && !claiming.is_finished());
            other.execute_batch("COMMIT").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), *key);
            assert_eq!(claiming.join().unwrap().unwrap(), format!("value of claimed {form:?}"));
        }
    });
    for key in &ended {
        assert_eq!(status(&store, key), Status::Done);
    }
    assert_eq!(store.stats().unwrap().unfinished, 0);
}

#[test]
fn an_err_is_the_callers_though_its_release_cannot_be_written_yet() {
    for form in FORMS {
        let place = Place::new();
        let store =
            Store::builder().record_within(Duration::from_millis(100)).open(place.database()).unwrap();
        let other = place.connect();
        let released: Result<u32, String> = form.make(
            idem_tests::shared::call(NAME).store(&store).key("k").map_err(|error| format!("ours: {error}")),
            || {
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                Err("declined".to_owned())
            },
        );
        assert_eq!(released.unwrap_err(), "declined");
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(run(form, &store, "k").unwrap(), "value of k");
    }
}

#[test]
fn a_store_is_opened_while_another_program_writes_for_a_while() {
    let place = Place::new();
    place.open().close().unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| Store::open(place.database()).map(drop));
        pause();
        assert!(!opening.is_finished());
        other.execute_batch("COMMIT").unwrap();
        opening.join().unwrap().unwrap();
    });
}
