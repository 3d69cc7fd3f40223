//! Sagas: an outer call that runs again resumes behind its completed inner calls.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use idem_runtime::{Error, ErrorKind, OnInterrupt, Status, Store, current, idempotent, install, with_store};
use idem_tests::deadline;
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::{Runs, eventually};
use idem_tests::plain::{block_on, yield_now};
use idem_tests::shared::call;
use rusqlite::Connection;

use crate::support::ledger::{self, Books};
use crate::support::role;

const PART: &str = "call::sagas::the_program_that_ships_orders";
const STEPS: [&str; 3] = ["reserve", "charge", "ship"];

/// A warehouse, a bank and a carrier: one line per effect, written at once, with the token they were given.
struct World {
    ledger: PathBuf,
    /// The moment at which the program dies.
    dies: String,
}

impl World {
    fn effect(&self, step: &str, order: &str) -> u32 {
        self.pass(&format!("before {step}"));
        let mut ledger = OpenOptions::new().append(true).create(true).open(&self.ledger).unwrap();
        let token = current().unwrap().token();
        ledger.write_all(format!("{order} {step} {token}\n").as_bytes()).unwrap();
        self.pass(&format!("after {step}"));
        u32::try_from(order.len()).unwrap()
    }

    fn pass(&self, moment: &str) {
        if self.dies == moment {
            std::process::abort();
        }
    }
}

#[idempotent(name = "saga.reserve", key = order, skip(world), on_interrupt = rerun)]
fn reserve(world: &World, order: &str) -> Result<u32, Error> {
    Ok(world.effect("reserve", order))
}

#[idempotent(name = "saga.charge", key = order, skip(world), on_interrupt = rerun)]
async fn charge(world: &World, order: &str) -> Result<u32, Error> {
    yield_now().await;
    Ok(world.effect("charge", order))
}

#[idempotent(name = "saga.ship", key = order, skip(world), on_interrupt = rerun)]
fn ship(world: &World, order: &str) -> Result<u32, Error> {
    Ok(world.effect("ship", order))
}

#[idempotent(name = "saga.order", key = order, skip(world), on_interrupt = rerun(unlimited))]
async fn fulfil(world: &World, order: &str) -> Result<u32, Error> {
    world.pass("begun");
    let reserved = reserve(world, order)?;
    world.pass("between reserve and charge");
    let charged = charge(world, order).await?;
    world.pass("between charge and ship");
    let shipped = ship(world, order)?;
    world.pass("at the end");
    Ok(reserved + charged + shipped)
}

#[test]
fn the_program_that_ships_orders() {
    let Some(words) = role::words() else { return };
    let [folder, order, dies] = words.try_into().unwrap();
    let store = Store::open(Path::new(&folder).join("idem.db")).unwrap();
    let world = World { ledger: Path::new(&folder).join("ledger"), dies };
    let done = with_store(&store, || block_on(fulfil(&world, &order))).unwrap();
    role::say(&format!("done {done}"));
    store.close().unwrap();
}

#[test]
fn a_saga_resumes_where_it_was_killed_and_its_steps_keep_their_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let moments = [
        "begun",
        "before reserve",
        "after reserve",
        "between reserve and charge",
        "before charge",
        "after charge",
        "between charge and ship",
        "before ship",
        "after ship",
        "at the end",
    ];
    let ship = |order: &str, dies: &str| {
        deadline::start();
        let part = role::command(PART, &[folder.path().to_str().unwrap(), order, dies]).output().unwrap();
        String::from_utf8_lossy(&part.stdout).contains(&format!(">> done {}", order.len() * 3))
    };
    for (number, moment) in moments.iter().enumerate() {
        let order = format!("order{number}");
        assert!(!ship(&order, moment), "the program survived `{moment}`");
        // Killed there a second time, the steps before are not repeated.
        assert!(!ship(&order, moment), "the program survived `{moment}`");
        assert!(ship(&order, "never"));
        assert!(ship(&order, "never"), "and that was a replay");
        let ledger = std::fs::read_to_string(folder.path().join("ledger")).unwrap();
        for step in STEPS {
            let prefix = format!("{order} {step} ");
            let mut tokens: Vec<&str> =
                ledger.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
            // Killed right after its effect, a step is repeated: with the token that the other side knows.
            let at_most = if *moment == format!("after {step}") { 3 } else { 1 };
            assert!(
                (1..=at_most).contains(&tokens.len()),
                "`{step}` happened {} times, killed {moment}",
                tokens.len()
            );
            tokens.dedup();
            assert_eq!(tokens.len(), 1, "`{step}` had several tokens, killed {moment}");
        }
    }
    let store = Store::open(folder.path().join("idem.db")).unwrap();
    assert_eq!(store.stats().unwrap().records, 4 * u64::try_from(moments.len()).unwrap());
    let last = store.get("saga.order", "order9").unwrap().unwrap();
    assert_eq!((last.status(), last.attempt()), (Status::Done, 3));
}

#[test]
fn a_step_in_doubt_stops_the_saga_until_it_is_settled() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let (first, second) = (Runs::new(), Runs::new());
        let outer =
            || call("interplay.outer").store(&store).key("A-17").on_interrupt(OnInterrupt::rerun_unlimited());
        let careful = || call("interplay.careful").store(&store).key("A-17");
        form.cut_off(careful());
        eventually("it is in doubt", || {
            store.get("interplay.careful", "A-17").unwrap().unwrap().status() == Status::InDoubt
        });
        let run = || {
            form.make(outer(), || -> Result<usize, Error> {
                let before = call("interplay.first").store(&store).key("A-17");
                let before = before.run(|| Ok::<usize, Error>(first.count(|number| number)))?;
                let careful = careful().run(|| Ok::<usize, Error>(second.count(|number| number)))?;
                Ok(before + careful)
            })
        };
        for _ in 0..3 {
            assert_eq!(run().unwrap_err().kind(), ErrorKind::InDoubt);
            assert!(store.get("interplay.outer", "A-17").unwrap().is_none(), "the call is released");
        }
        let settled = idem_runtime::settle(idem_runtime::Verdict::Done(40_usize), || {
            careful().run(|| Ok::<usize, Error>(0))
        });
        assert_eq!(settled.unwrap(), idem_runtime::Settled::Done);
        assert_eq!(run().unwrap(), 41);
        assert_eq!((first.started(), second.started()), (1, 0));
    });
}

/// Makes an outer call with three steps that panics before the second, the first and the third, and then does not.
fn resume(form: Form, store: &Store, step: impl Fn(u32) -> i64) {
    let run = |dies_before: u32| {
        let outer = call("sagas.outer").store(store).key("A-17").on_interrupt(OnInterrupt::rerun());
        let body = || {
            let steps = (1..=3).map(|number| {
                if number == dies_before {
                    resume_unwind(Box::new("as asked"));
                }
                step(number)
            });
            Ok::<_, Error>(steps.collect::<Vec<_>>())
        };
        catch_unwind(AssertUnwindSafe(|| form.make(outer, body)))
    };
    for dies_before in [2, 1, 3] {
        assert!(run(dies_before).is_err(), "the body survived step {dies_before}");
    }
    assert_eq!(run(9).unwrap().unwrap(), [1, 2, 3]);
}

// Field 6: a saga that resumes when it is called again.
#[test]
fn an_outer_rerun_repeats_no_completed_step() {
    in_every_form(|form| {
        let (store, runs) = (Store::temporary().unwrap(), Runs::new());
        resume(form, &store, |step| {
            let call = call("sagas.step").store(&store).key(&step);
            let body = || runs.count(|number| Ok::<_, Error>(i64::try_from(number).unwrap()));
            call.run(body).unwrap()
        });
        assert_eq!(runs.started(), 3, "each step ran once");

        let (books, store) = (Books::new(), Store::temporary().unwrap());
        let conn = books.open();
        resume(form, &store, |step| {
            let entry = format!("step {step}");
            ledger::booking(&entry).tx(&conn).run(|| ledger::post(&conn, &entry)).unwrap()
        });
        assert_eq!(ledger::postings(&books.open()), ["step 1", "step 2", "step 3"]);
    });
}

/// The recipe for another database: the token goes into a column that must be unique.
#[idempotent(name = "interplay.elsewhere", key = order, skip(theirs, dies), on_interrupt = rerun(unlimited))]
fn elsewhere(theirs: &Connection, order: &str, dies: &mut dyn FnMut(&str)) -> Result<i64, Error> {
    dies("before");
    let token = current().map(|call| call.token()).unwrap_or_default();
    // A second attempt finds the row of the first.
    let insert = "INSERT INTO payment (order_id, token) VALUES (?1, ?2) ON CONFLICT (token) DO NOTHING";
    theirs.execute(insert, [order, &token]).unwrap();
    dies("after");
    Ok(theirs.query_row("SELECT id FROM payment WHERE token = ?1", [&token], |row| row.get(0)).unwrap())
}

#[test]
fn rerun_and_a_unique_token_are_exactly_once_in_another_database() {
    deadline::start();
    let folder = tempfile::tempdir().unwrap();
    let theirs = ledger::open(&folder.path().join("theirs.db"));
    theirs
        .execute_batch(
            "CREATE TABLE payment (id INTEGER PRIMARY KEY, order_id TEXT, token TEXT NOT NULL UNIQUE)",
        )
        .unwrap();
    for round in 0..6 {
        let order = format!("order {round}");
        for dies in ["before", "after", "after", "never", "never"] {
            // As in another process, the store is opened again each time.
            let store = Store::open(folder.path().join("idem.db")).unwrap();
            let mut die = |moment: &str| {
                if moment == dies {
                    resume_unwind(Box::new("as asked"));
                }
            };
            let paid = catch_unwind(AssertUnwindSafe(|| {
                with_store(&store, || elsewhere(&theirs, &order, &mut die))
            }));
            match dies {
                "never" => assert_eq!(paid.unwrap().unwrap(), round + 1),
                _ => assert!(paid.is_err()),
            }
            store.close().unwrap();
        }
    }
    let payments: i64 = theirs.query_row("SELECT count(*) FROM payment", [], |row| row.get(0)).unwrap();
    assert_eq!(payments, 6);
}

#[test]
fn one_file_can_hold_the_store_the_books_and_a_queue() {
    let books = Books::new();
    let conn = books.open();
    install(&conn).unwrap();
    let store = books.shared();
    for form in Form::ALL {
        let key = format!("{form:?}");
        // Outside of a transaction one and the other take turns.
        let sent = form.make(call("interplay.send").store(&store).key(&key), || Ok::<i64, Error>(1));
        assert_eq!(sent.unwrap(), 1);
        assert!(ledger::booking(&key).tx(&conn).run(|| ledger::post(&conn, &key)).is_ok());
    }
    assert_eq!(store.stats().unwrap().records, 6);
    assert!(store.verify().unwrap().is_empty());
}
