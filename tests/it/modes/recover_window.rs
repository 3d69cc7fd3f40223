//! The window of `recover`, in which the verdict `NotDone` is not believed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Ran, Status, Store, Verdict, observe};
use idem_tests::form::in_every_form;
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
fn a_restart_of_the_machine_ends_the_settle_window() {
    in_every_form(|form| {
        let (clock, folder, store) = interrupted(form);
        store.close().unwrap();
        drop(store);
        clock.reboot(SUMMER_MS + 1_000);
        let store = clock.open(folder.path());
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
    });
}
