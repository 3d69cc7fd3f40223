//! Things that only grew: boots, files of owners, expired rows of a database without a store.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use idem_runtime::{Clock, Error, Store, SystemClock, call};
use idem_tests::form::Form;
use idem_tests::halt::eventually;
use idem_tests::hand_clock::HandClock;

use crate::support::ledger::{Books, booking, open as open_database, post};
use crate::support::place::Place;
use crate::support::role::skip;
use crate::support::worker::{NAME, Worker, run};

fn boots(place: &Place) -> i64 {
    place.connect().query_row("SELECT count(*) FROM idem_boot", [], |row| row.get(0)).unwrap()
}

/// Inserts boots of processes, an hour after each other.
fn insert_boots(place: &Place, count: i64) {
    let sql = format!(
        "INSERT INTO idem_boot (number, boot_id, after_ms, met_ms, low_offset_ms, high_offset_ms, last_ms)
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count})
         SELECT n + 10, 'process ' || n || ' x', 1767225600000 + n * 1000, 0,
                1767225600000 + n * 1000, 1767225600000 + n * 1000, 500 FROM c"
    );
    place.connect().execute_batch(&sql).unwrap();
}

#[test]
fn a_store_remembers_a_bounded_number_of_boots() {
    let place = Place::new();
    place.open().close().unwrap();
    insert_boots(&place, 20_000);
    for _ in 0..3 {
        place.open().close().unwrap();
        assert!(boots(&place) <= 4_096, "{} boots", boots(&place));
    }
}

#[test]
fn a_record_of_a_boot_that_was_forgotten_expires_later_and_not_earlier() {
    let (clock, folder) = (HandClock::summer(), tempfile::tempdir().unwrap());
    let open = || Store::builder().clock(clock.clone()).open(folder.path().join("idem.db")).unwrap();
    let hour = Duration::from_secs(3_600);
    let make = |store: &Store, body: fn() -> Result<u32, Error>| {
        call("growth.pay").store(store).key("k").ttl(hour * 100).run(body)
    };
    let store = open();
    assert_eq!(make(&store, || Ok(1)).unwrap(), 1);
    store.close().unwrap();
    let conn = open_database(&folder.path().join("idem.db"));
    // Boots of the next hour, all of them after the record's.
    let sql = format!(
        "INSERT INTO idem_boot (number, boot_id, after_ms, met_ms, low_offset_ms, high_offset_ms, last_ms)
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000)
         SELECT n + 10, 'earlier-' || n, {0} + n * 600, 0, {0} + n * 600, {0} + n * 600, 500 FROM c",
        clock.wall_ms()
    );
    conn.execute_batch(&sql).unwrap();
    drop(conn);
    clock.reboot(clock.wall_ms() + 3_600_000);
    open().close().unwrap();
    let conn = open_database(&folder.path().join("idem.db"));
    let first: i64 = conn.query_row("SELECT min(number) FROM idem_boot", [], |row| row.get(0)).unwrap();
    drop(conn);
    assert!(first > 1, "the boot of the record was not forgotten");
    clock.pass(hour * 98);
    let store = open();
    assert_eq!(make(&store, || unreachable!("it lives")).unwrap(), 1);
    clock.pass(hour * 3);
    assert_eq!(make(&store, || Ok(2)).unwrap(), 2, "it expires");
}

#[test]
fn files_of_owners_that_were_killed_in_open_or_close_are_removed() {
    let place = Place::new();
    place.open().close().unwrap();
    for n in 0..5 {
        // Killed before its row was written, or after it was deleted.
        std::fs::write(place.beside("-idem").join(format!("owner-{n:032x}.lock")), "").unwrap();
    }
    let worker = Worker::start(&place);
    let living: BTreeSet<_> = place.owner_files().into_iter().collect();
    assert_eq!(living.len(), 1, "{living:?}");
    let store = place.open();
    assert_eq!(place.owner_files().len(), 2, "the file of the living owner stays");
    run(Form::Sync, &store, "k").unwrap();
    store.close().unwrap();
    worker.leave();
    assert!(place.owner_files().is_empty());
}

/// A store would purge them.
#[test]
fn expired_rows_of_a_database_without_a_store_are_purged_by_tx_calls() {
    let books = Books::new();
    // The records are a day old.
    let day_ms = 86_400_000;
    let store = Store::builder().shared().clock(HandClock::at(SystemClock::new().wall_ms() - day_ms));
    let store = store.open(books.path()).unwrap();
    for n in 0..300 {
        let old = booking(&format!("old{n}")).store(&store).ttl(Duration::from_millis(1));
        old.run(|| Ok::<u32, Error>(1)).unwrap();
    }
    store.close().unwrap();
    let conn = books.open();
    let old = || -> i64 {
        let sql = "SELECT count(*) FROM idem_record WHERE key LIKE 'old%'";
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert!(old() > 0);
    for n in 0..600 {
        let key = format!("new{n}");
        booking(&key).tx(&conn).run(|| post(&conn, &key)).unwrap();
    }
    assert_eq!(old(), 0);
    let counted: (i64, i64) = conn
        .query_row("SELECT (SELECT records FROM idem_count), (SELECT count(*) FROM idem_record)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(counted.0, counted.1);
}

/// Another user than the one that owns the lock file.
fn as_nobody(part: &str, words: &[&str]) -> crate::support::role::Program {
    let mut command = crate::support::role::command(part, words);
    command.uid(65_534).gid(65_534).env("TMPDIR", "/tmp");
    crate::support::role::Program::start_command(command)
}

#[test]
fn the_other_user() {
    let Some(words) = crate::support::role::words() else { return };
    let [path] = words.try_into().unwrap();
    let answer = Store::open(&path).and_then(|store| {
        call(NAME).store(&store).key("held").wait(Duration::from_secs(40)).run(|| Ok::<u32, Error>(1))
    });
    let kind = answer.map_err(|error| error.kind());
    crate::support::role::say(&format!("answer {kind:?}"));
}

/// Root opened the store once and was killed: the application must not wait for a file that it may not read.
#[test]
fn an_owner_whose_lock_file_cannot_be_read_is_judged_by_its_process() {
    use std::os::unix::fs::chown;
    let place = Place::new();
    place.open().close().unwrap();
    let all = || {
        let sidecar = std::fs::read_dir(place.beside("-idem")).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = sidecar.collect();
        all.extend([place.folder(), place.database(), place.beside("-idem")]);
        all
    };
    if all().iter().any(|path| chown(path, Some(65_534), Some(65_534)).is_err()) {
        return skip("only root can give files to another user");
    }
    let mut root = Worker::start(&place);
    root.hold("held", Form::Sync, "refuse", "held");
    root.kill();
    let files = place.owner_files();
    let uid = |path: &std::path::Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert!(
        files.len() == 1 && uid(&files[0]) == 65_534,
        "an owner's file belongs to the user of the database"
    );
    chown(&files[0], Some(0), Some(0)).unwrap();
    let begun = std::time::Instant::now();
    let mut other = as_nobody("store::growth::the_other_user", &[place.database().to_str().unwrap()]);
    let mut answer = String::new();
    eventually("the other user has an answer", || {
        answer = if other.has_said("answer") { other.hear("answer") } else { String::new() };
        !answer.is_empty()
    });
    assert_eq!(answer, "Err(InDoubt)");
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited {:?}", begun.elapsed());
}
