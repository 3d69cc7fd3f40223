//! The cells of the failure table in `docs/design.md` that no other module proves: each mode of an interrupted call, and
//! `tx`, at each moment of a failure.

// Commits that the disk refuses.
mod failed_writes;

use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, OnInterrupt, Ran, Status, Store, Verdict};
use idem_tests::form::Form;
use idem_tests::halt::pause;
use idem_tests::hand_clock::{HandClock, SUMMER_MS};
use idem_tests::shared::call;
use rusqlite::{Connection, OpenFlags};

use crate::modes::recover::{WINDOW, make};
use crate::support::ledger::{Books, booking, not_run, open, post, postings, refused};
use crate::support::place::Place;
use crate::support::role::{self, Program};
use crate::support::worker::{FORMS, NAME, Worker, holding, status};

const YEAR_MS: i64 = 31_536_000_000;
const SHORT: Duration = Duration::from_millis(50);

/// The mode of the next caller for an interrupted call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Refuse,
    Rerun,
    Recover(Verdict<&'static str>),
}

const MODES: [Mode; 3] = [Mode::Refuse, Mode::Rerun, Mode::Recover(Verdict::Done("found"))];

/// The outcome of the next call.
#[derive(Debug)]
struct Next {
    asked: bool,
    ran: bool,
    answer: Result<String, Error>,
}

/// Makes the call of the workers in this process.
fn next(form: Form, store: &Store, key: &str, mode: Mode, wait: Duration) -> Next {
    let (asked, ran) = (Cell::new(false), Cell::new(false));
    let call = call(NAME).store(store).key(key).wait(wait);
    let body = || {
        ran.set(true);
        Ok("ran".to_owned())
    };
    let answer = match mode {
        Mode::Refuse => form.make(call, body),
        Mode::Rerun => form.make(call.on_interrupt(OnInterrupt::rerun()), body),
        Mode::Recover(verdict) => {
            let hook = || {
                asked.set(true);
                match verdict {
                    Verdict::Done(found) => Verdict::Done(found.to_owned()),
                    Verdict::DoneWithoutResult => Verdict::DoneWithoutResult,
                    Verdict::NotDone => Verdict::NotDone,
                    Verdict::Unknown => Verdict::Unknown,
                }
            };
            make(form, call, hook, body)
        }
    };
    Next { asked: asked.get(), ran: ran.get(), answer }
}

fn attempt(store: &Store, key: &str) -> u32 {
    store.get(NAME, key).unwrap().unwrap().attempt()
}

/// The call was cut off, and every mode applies.
fn assert_interrupted(form: Form, store: &Store, key: &str, mode: Mode) {
    let Next { asked, ran, answer } = next(form, store, key, mode, WINDOW);
    match mode {
        Mode::Refuse => {
            let error = answer.unwrap_err();
            assert_eq!(
                (error.kind(), error.ran(), ran),
                (ErrorKind::InDoubt, Ran::Unknown, false),
                "{error}"
            );
            assert_eq!(status(store, key), Status::InDoubt);
        }
        Mode::Rerun => assert_eq!((answer.unwrap().as_str(), ran, attempt(store, key)), ("ran", true, 2)),
        Mode::Recover(_) => {
            assert_eq!((answer.unwrap().as_str(), asked, ran), ("found", true, false));
            assert_eq!(attempt(store, key), 1, "asking is no attempt");
        }
    }
}

/// Ends a program at a moment of its call, and gives the place it leaves.
fn killed_at(plan: &str, form: Form) -> Place {
    let place = Place::new();
    let mut worker = Worker::start(&place);
    if plan == "during" {
        worker.hold("first", form, "refuse", "k");
        worker.kill();
    } else {
        worker.call("first", form, "refuse", "k", plan);
        assert!(worker.has_aborted(), "{plan}");
    }
    place
}

fn in_every_mode_after(plan: &str, effects: usize, check: impl Fn(Form, &Store, Mode)) {
    for form in FORMS {
        for mode in MODES {
            let place = killed_at(plan, form);
            assert_eq!(place.effects("k").len(), effects, "{plan}");
            check(form, &place.open(), mode);
        }
    }
}

#[test]
fn killed_before_its_claim_a_call_runs_as_if_for_the_first_time_in_every_mode() {
    in_every_mode_after("die-before-the-claim", 0, |form, store, mode| {
        let Next { asked, ran, answer } = next(form, store, "k", mode, WINDOW);
        assert_eq!((answer.unwrap().as_str(), asked, ran), ("ran", false, true), "{mode:?}");
        assert_eq!(attempt(store, "k"), 1);
    });
}

#[test]
fn killed_between_claim_and_effect_each_mode_does_what_it_is_for() {
    for plan in ["die-when-claimed", "die-before-the-effect"] {
        in_every_mode_after(plan, 0, |form, store, mode| assert_interrupted(form, store, "k", mode));
    }
}

#[test]
fn killed_during_the_effect_each_mode_does_what_it_is_for() {
    in_every_mode_after("during", 1, |form, store, mode| assert_interrupted(form, store, "k", mode));
}

#[test]
fn killed_between_effect_and_record_each_mode_does_what_it_is_for() {
    for plan in ["die-after-the-effect", "die-before-the-record"] {
        in_every_mode_after(plan, 1, |form, store, mode| assert_interrupted(form, store, "k", mode));
    }
}

#[test]
fn killed_between_record_and_return_every_mode_replays() {
    in_every_mode_after("die-when-executed", 1, |form, store, mode| {
        let Next { asked, ran, answer } = next(form, store, "k", mode, WINDOW);
        assert!(answer.is_ok_and(|value| value != "ran") && !asked && !ran, "{mode:?}");
    });
}

/// The machine is on again: another boot, and the newest small files are gone. What the disk itself may do is the
/// business of the proof campaign.
#[test]
fn after_a_restart_of_the_machine_each_mode_does_what_it_is_for_and_the_settle_window_begins() {
    let not_done = Mode::Recover(Verdict::NotDone);
    for form in FORMS {
        for mode in MODES.into_iter().chain([not_done]) {
            let place = killed_at("during", form);
            place.owner_files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
            let conn = Connection::open_with_flags(place.database(), OpenFlags::default()).unwrap();
            assert_eq!(conn.execute("UPDATE idem_owner SET boot_id = 'before'", []).unwrap(), 1);
            drop(conn);
            // Its clock starts in 1970, so that the age of the doubt is unknown.
            let clock = HandClock::at(0);
            let store = clock.open(&place.folder());
            if mode == not_done {
                let Next { asked, ran, answer } = next(form, &store, "k", mode, WINDOW);
                assert_eq!((answer.unwrap_err().kind(), asked, ran), (ErrorKind::InDoubt, true, false));
                clock.pass(Duration::from_secs(30));
                let Next { asked, ran, answer } = next(form, &store, "k", mode, WINDOW);
                assert_eq!((answer.unwrap().as_str(), asked, ran), ("ran", true, true));
            } else {
                assert_interrupted(form, &store, "k", mode);
            }
        }
    }
}

#[test]
fn a_paused_owner_keeps_its_call_in_every_mode() {
    for form in FORMS {
        let (place, mut owner) = holding(form);
        owner.pause();
        let store = place.open();
        for mode in MODES {
            let Next { asked, ran, answer } = next(form, &store, "k", mode, SHORT);
            assert_eq!(
                (answer.unwrap_err().kind(), asked, ran),
                (ErrorKind::Running, false, false),
                "{mode:?}"
            );
        }
        owner.go_on();
        owner.tell("first end ok");
        let value = owner.hear("first ok");
        for mode in MODES {
            let Next { asked, ran, answer } = next(form, &store, "k", mode, WINDOW);
            assert_eq!((answer.unwrap(), asked, ran), (value.clone(), false, false), "{mode:?}");
        }
    }
}

#[test]
fn the_program_that_is_paused_in_its_transaction() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    let conn = open(path.as_ref());
    let posted = booking("a").tx(&conn).run(|| {
        role::say(&format!("stands {}", std::process::id()));
        role::listen();
        post(&conn, "a")
    });
    role::say(&format!("posted {}", posted.unwrap()));
}

#[test]
fn a_program_that_is_paused_in_its_transaction_keeps_its_call() {
    let books = Books::new();
    let path = books.path();
    let part = "modes::failure_matrix::the_program_that_is_paused_in_its_transaction";
    let mut program = Program::start(part, &[path.to_str().unwrap()]);
    let pid = program.hear("stands");
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let conn = books.open();
    conn.busy_timeout(SHORT).unwrap();
    let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::Store);
    assert!(error.ran() == Ran::No && error.to_string().contains("write lock"), "{error}");
    signal("-CONT");
    program.tell("go on");
    program.hear("posted 1");
    assert_eq!(booking("a").tx(&conn).run(not_run).unwrap(), 1);
    assert_eq!(postings(&conn), ["a"]);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_interrupted_call_in_any_mode() {
    for form in FORMS {
        for wall_ms in [SUMMER_MS + YEAR_MS, SUMMER_MS - YEAR_MS, 0] {
            for mode in MODES {
                let clock = HandClock::summer();
                let (_folder, store) = clock.store();
                form.cut_off(call(NAME).store(&store).key("k").ttl(SHORT).keep_result(SHORT));
                clock.set_wall(wall_ms);
                // The settle window is a time since boot.
                let early = next(form, &store, "k", Mode::Recover(Verdict::NotDone), WINDOW);
                let error = early.answer.unwrap_err();
                assert_eq!(
                    (error.kind(), error.retry_after(), early.ran),
                    (ErrorKind::InDoubt, Some(WINDOW), false)
                );
                assert_interrupted(form, &store, "k", mode);
            }
        }
    }
}

#[test]
fn a_wall_clock_that_fell_back_over_a_restart_expires_no_record_of_a_transaction() {
    let books = Books::new();
    let conn = books.open();
    let hour = Duration::from_secs(3_600);
    let posting = || booking("a").ttl(hour).keep_result(hour);
    assert_eq!(posting().tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    // The boot in which it was posted was a year ahead of this one.
    let ahead = "UPDATE idem_boot SET boot_id = 'before', high_offset_ms = high_offset_ms + ?1, \
                 low_offset_ms = low_offset_ms + ?1";
    assert_eq!(conn.execute(ahead, [YEAR_MS]).unwrap(), 1);
    assert_eq!(posting().tx(&conn).run(not_run).unwrap(), 1);
    // And one in which it was posted two years ago ends it.
    let behind = "UPDATE idem_boot SET high_offset_ms = high_offset_ms - 3 * ?1, low_offset_ms = low_offset_ms - 3 * ?1,
                  after_ms = 0";
    conn.execute(behind, [YEAR_MS]).unwrap();
    assert_eq!(posting().tx(&conn).run(|| post(&conn, "b")).unwrap(), 2);
}

#[test]
fn the_program_that_asks() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    let store = Store::open(path).unwrap();
    let asked = call(NAME).store(&store).key("k").recover(|| {
        role::say("asks");
        Verdict::Done(role::listen().unwrap())
    });
    let answer: Result<String, Error> = asked.run(|| unreachable!("the body ran"));
    role::say(&format!("got {}", answer.unwrap()));
}

#[test]
fn of_two_processes_one_asks_and_the_other_waits_for_what_it_hears() {
    for form in FORMS {
        let place = killed_at("during", form);
        let database = place.database();
        let mut asker =
            Program::start("modes::failure_matrix::the_program_that_asks", &[database.to_str().unwrap()]);
        asker.hear("asks");
        let store = place.open();
        std::thread::scope(|scope| {
            let other =
                scope.spawn(|| next(form, &store, "k", Mode::Recover(Verdict::Done("found")), WINDOW));
            pause();
            assert!(!other.is_finished(), "two hooks ran side by side");
            asker.tell("heard");
            asker.hear("got heard");
            let Next { asked, ran, answer } = other.join().unwrap();
            assert_eq!((answer.unwrap().as_str(), asked, ran), ("heard", false, false));
        });
    }
}

/// A deploy renames the function, adds an argument and changes the mode.
#[test]
fn after_a_deploy_finished_calls_are_replayed_and_interrupted_ones_follow_the_new_mode() {
    for form in FORMS {
        for mode in MODES {
            let store = Store::temporary().unwrap();
            let before = |key: &'static str| call("tests.before").store(&store).key(key).arg("cents", &5);
            let after = |key: &'static str| {
                call(NAME)
                    .was(&["tests.before"])
                    .store(&store)
                    .key(key)
                    .arg("cents", &5)
                    .arg("currency", &"EUR")
            };
            form.make(before("done"), || Ok::<_, Error>("first".to_owned())).unwrap();
            form.cut_off(before("cut"));
            let body = || Ok::<_, Error>("ran".to_owned());
            let deployed = |key| match mode {
                Mode::Refuse => form.make(after(key), body),
                Mode::Rerun => form.make(after(key).on_interrupt(OnInterrupt::rerun()), body),
                Mode::Recover(_) => make(form, after(key), || Verdict::Done("found".to_owned()), body),
            };
            assert_eq!(deployed("done").unwrap(), "first");
            match (mode, deployed("cut")) {
                (Mode::Refuse, answer) => assert_eq!(answer.unwrap_err().kind(), ErrorKind::InDoubt),
                (Mode::Rerun, answer) => assert_eq!(answer.unwrap(), "ran"),
                (Mode::Recover(_), answer) => assert_eq!(answer.unwrap(), "found"),
            }
        }
    }
}

/// A deploy changed the type of the result: nothing is repeated, and nothing is made up.
#[test]
fn after_a_deploy_a_result_of_another_type_is_undecodable_in_every_mode() {
    let undecodable = |answer: Result<String, Error>| {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.ran()), (ErrorKind::Undecodable, Ran::No), "{error}");
    };
    for form in FORMS {
        let store = Store::temporary().unwrap();
        form.make(call(NAME).store(&store).key("k"), || Ok::<u64, Error>(7)).unwrap();
        for mode in MODES {
            let Next { asked, ran, answer } = next(form, &store, "k", mode, WINDOW);
            undecodable(answer);
            assert!(!asked && !ran, "{mode:?}");
        }
    }
    let books = Books::new();
    let conn = books.open();
    assert_eq!(booking("a").tx(&conn).run(|| post(&conn, "a")).unwrap(), 1);
    undecodable(booking("a").tx(&conn).run(|| unreachable!("the body ran")));
}
