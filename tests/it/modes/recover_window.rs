//! The window of `recover`, in which the verdict `NotDone` is not believed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use idem_runtime::{Clock, Error, ErrorKind, Ran, Status, Store, Verdict, observe};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::eventually;
use idem_tests::hand_clock::{HandClock, SUMMER_MS};

use crate::modes::recover::{
    Paid, WINDOW, attempt, cut_off, interrupted, make, not_run, pay, refused, status,
};

#[test]
fn not_done_is_not_believed_before_the_settle_window_is_over() {
    in_every_form(|form| {
        let (clock, _folder, store) = interrupted(form);
        let mut left = WINDOW;
        for step in [0, 10, 15, 4] {
            clock.pass(Duration::from_secs(step));
            left -= Duration::from_secs(step);
            let error = refused(make(form, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
            assert_eq!((error.ran(), error.retry_after()), (Ran::Unknown, Some(left)), "{error}");
            assert!(
                error.to_string().contains(&format!("{left:?} before the settle window ends")),
                "{error}"
            );
            assert_eq!(attempt(&store), 1, "asking is no attempt");
        }
        clock.pass(left);
        let (paid, seen) = observe(|| make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)));
        let seen = seen.unwrap();
        assert_eq!((paid.unwrap(), seen.attempt, seen.recovered), (5, 2, false));
        assert_eq!((status(&store), attempt(&store)), (Some(Status::Done), 2));
    });
}

#[test]
fn every_attempt_has_a_settle_window_of_its_own() {
    in_every_form(|form| {
        let (clock, _folder, store) = interrupted(form);
        clock.pass(WINDOW * 2);
        let cut = catch_unwind(AssertUnwindSafe(|| {
            make(
                form,
                pay(&store),
                || Verdict::NotDone,
                || -> Paid { panic!("the second attempt, on purpose") },
            )
        }));
        assert!(cut.is_err());
        eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
        assert_eq!(attempt(&store), 2);
        let error = refused(make(form, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
        assert_eq!(error.retry_after(), Some(WINDOW), "{error}");
        clock.pass(WINDOW);
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(3)).unwrap(), 3);
        assert_eq!(attempt(&store), 3);
    });
}

#[test]
fn the_settle_window_is_a_setting_of_the_store() {
    for (window, is_over) in [(Duration::ZERO, true), (Duration::from_secs(5), false)] {
        in_every_form(move |form| {
            let (clock, folder) = (HandClock::summer(), tempfile::tempdir().unwrap());
            let builder = Store::builder().clock(clock.clone()).settle_window(window);
            let store = builder.open(folder.path().join("idem.db")).unwrap();
            cut_off(form, &store);
            let paid = make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5));
            if is_over {
                assert_eq!(paid.unwrap(), 5);
            } else {
                assert_eq!(refused(paid, ErrorKind::InDoubt).retry_after(), Some(window));
            }
        });
    }
}

#[test]
fn a_restart_of_the_machine_does_not_end_the_settle_window() {
    in_every_form(|form| {
        let (clock, folder, store) = interrupted(form);
        clock.pass(WINDOW * 2);
        store.close().unwrap();
        drop(store);
        clock.reboot(SUMMER_MS + 1_000);
        let store = clock.open(folder.path());
        let error = refused(make(form, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
        assert_eq!(error.retry_after(), Some(WINDOW), "{error}");
        clock.pass(WINDOW);
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
    });
}

#[test]
fn after_a_restart_the_window_also_ends_for_programs_that_run_for_a_moment() {
    let (clock, folder, store) = interrupted(Form::Sync);
    store.close().unwrap();
    clock.reboot(SUMMER_MS + 1_000);
    for seconds in [0, 20, 9] {
        clock.pass(Duration::from_secs(seconds));
        let store = clock.open(folder.path());
        refused(make(Form::Sync, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
        store.close().unwrap();
    }
    clock.pass(Duration::from_secs(1));
    let store = clock.open(folder.path());
    assert_eq!(make(Form::Sync, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
}

/// A process whose clock is its own, as on systems without a boot id.
fn of_one_process(clock: &HandClock, process: u32) -> ProcessClock {
    ProcessClock(clock.clone(), process)
}

#[derive(Clone, Debug)]
struct ProcessClock(HandClock, u32);

impl Clock for ProcessClock {
    fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }

    fn boot_ms(&self) -> i64 {
        self.0.boot_ms()
    }

    fn boot_id(&self) -> String {
        format!("process {} 0123456789abcdef", self.1)
    }
}

#[test]
fn a_process_that_cannot_compare_boots_waits_for_a_window_of_its_own() {
    in_every_form(|form| {
        let (clock, folder) = (HandClock::summer(), tempfile::tempdir().unwrap());
        let open = |process| {
            let clock = of_one_process(&clock, process);
            Store::builder().clock(clock).open(folder.path().join("idem.db")).unwrap()
        };
        let store = open(1);
        cut_off(form, &store);
        store.close().unwrap();
        // The wall clock proves nothing.
        clock.set_wall(SUMMER_MS + 3_600_000);
        let store = open(2);
        clock.pass(WINDOW * 2);
        for left in [30, 10] {
            let error = refused(make(form, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
            assert_eq!(error.retry_after(), Some(Duration::from_secs(left)), "{error}");
            clock.pass(Duration::from_secs(20));
        }
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
    });
}

/// A container whose uptime starts anew under the boot id of its host.
#[test]
fn an_uptime_that_starts_anew_under_the_same_boot_id_delays_the_answer_by_one_window() {
    in_every_form(|form| {
        let (clock, folder, store) = interrupted(form);
        clock.pass(Duration::from_secs(3_600));
        run_another(&store);
        store.close().unwrap();
        drop(store);
        clock.set_boot(5_000);
        let store = clock.open(folder.path());
        let error = refused(make(form, pay(&store), || Verdict::NotDone, not_run), ErrorKind::InDoubt);
        assert_eq!(error.retry_after(), Some(WINDOW), "{error}");
        clock.pass(WINDOW);
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
    });
}

fn run_another(store: &Store) {
    assert_eq!(
        idem_runtime::call("recover.other").store(store).key("B").run(|| Ok::<u32, Error>(1)).unwrap(),
        1
    );
}
