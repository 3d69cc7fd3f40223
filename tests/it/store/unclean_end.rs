//! The check after an unclean end: other processes go on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::{ErrorKind, Store};
use idem_tests::form::Form;
use idem_tests::halt::eventually;

use crate::store::corruption::{find, slot_of};
use crate::support::place::Place;
use crate::support::worker::{Worker, run};

/// Fills a store with small records. Their rows are no calls, but the pages do not know.
fn fill(place: &Place, records: u64) {
    let conn = place.connect();
    let sql = format!(
        "BEGIN;
         INSERT INTO idem_record (slot, name, key, status, claim, owner, facts)
             SELECT randomblob(32), 'tests.filler', 'k' || value, 3, 1000 + value, 0, randomblob(60)
             FROM (WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < {records})
                   SELECT value FROM c);
         UPDATE idem_count SET records = records + {records}, claims = claims + 1000 + {records};
         COMMIT;
         PRAGMA wal_checkpoint(TRUNCATE);"
    );
    conn.execute_batch(&sql).unwrap();
}

fn kill_one(place: &Place) {
    let mut worker = Worker::start(place);
    worker.hold("held", Form::Sync, "refuse", "held");
    worker.kill();
}

#[test]
fn a_damaged_store_is_refused_while_another_program_holds_the_write_lock() {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    for key in ["a", "b"] {
        worker.call(key, Form::Sync, "refuse", key, "quick");
        worker.hear(&format!("{key} ok"));
    }
    worker.kill();
    let slot = slot_of(&place, "b");
    place.connect().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(place.database()).unwrap();
    let at = find(&bytes, &slot)[0];
    bytes[at] ^= 1;
    std::fs::write(place.database(), &bytes).unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let error = Store::open(place.database()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "the check waited for the write lock");
}

/// How long the calls of a busy process take, and how many are refused, while `work` is done.
fn calls_during(store: &Store, tag: &str, work: impl FnOnce()) -> (Vec<Duration>, usize) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let (mut took, mut refused) = (Vec::new(), 0);
            for n in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let begun = Instant::now();
                refused += usize::from(run(Form::Sync, store, &format!("{tag}{n}")).is_err());
                took.push(begun.elapsed());
            }
            took.sort();
            (took, refused)
        });
        work();
        is_over.store(true, Ordering::SeqCst);
        busy.join().unwrap()
    })
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// With `IDEM_RECORDS=1000000` this is the measurement for a store of 200 MB.
#[test]
fn a_crash_of_one_process_does_not_stop_the_calls_of_another() {
    let records = std::env::var("IDEM_RECORDS").map_or(120_000, |records| records.parse().unwrap());
    let watched =
        Duration::from_secs(std::env::var("IDEM_SECONDS").map_or(2, |seconds| seconds.parse().unwrap()));
    let place = Place::new();
    place.open().close().unwrap();
    fill(&place, records);
    let store = place.open();
    kill_one(&place);
    let (usual, refused) = calls_during(&store, "usual", || idem_tests::halt::pause_for(watched));
    assert_eq!(refused, 0);
    let (mut opened, mut left) = (Duration::ZERO, None);
    let (during, refused) = calls_during(&store, "during", || {
        let begun = Instant::now();
        let again = Worker::start(&place);
        opened = begun.elapsed();
        idem_tests::halt::pause_for(watched);
        left = Some(again);
    });
    left.take().unwrap().leave();
    eprintln!(
        "{records} records, {} MB: opened in {opened:?}; usual p99 {:?} of {}, during the restart p99 {:?} of {}, worst {:?}",
        std::fs::metadata(place.database()).unwrap().len() >> 20,
        p99(&usual),
        usual.len(),
        p99(&during),
        during.len(),
        during[during.len() - 1],
    );
    assert_eq!(refused, 0, "calls were refused during the restart");
    assert!(during[during.len() - 1] < Duration::from_secs(3), "a call waited for the restart");
    assert!(opened < Duration::from_secs(20), "the open took {opened:?}");
}

#[test]
fn a_large_store_that_is_damaged_is_found_out_after_its_open() {
    let place = Place::new();
    let store = place.open();
    run(Form::Sync, &store, "a").unwrap();
    let slot = slot_of(&place, "a");
    store.close().unwrap();
    fill(&place, 100_100);
    kill_one(&place);
    place.connect().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(place.database()).unwrap();
    let at = find(&bytes, &slot);
    // The last place is that in the index: the row itself stays whole.
    bytes[at[at.len() - 1]] ^= 1;
    std::fs::write(place.database(), &bytes).unwrap();
    let store = place.open();
    let is_found = || store.stats().is_err_and(|error| error.kind() == ErrorKind::Damaged);
    eventually("the damage is found", is_found);
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_store_closes_while_it_is_checked() {
    let place = Place::new();
    place.open().close().unwrap();
    fill(&place, 300_000);
    kill_one(&place);
    let store = place.open();
    let begun = Instant::now();
    store.close().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
