//! `ttl` and `keep_result`, by a clock that the test sets.

#![allow(clippy::unchecked_time_subtraction, reason = "between constants, to name the moment before")]

use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, Lifetime, OnInterrupt, Settled, Status, Store, Verdict, idempotent, settle,
    with_store,
};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::eventually;
use idem_tests::hand_clock::{HandClock, SUMMER_MS};
use idem_tests::plain::block_on;
use idem_tests::shared::call;

const NAME: &str = "lifetimes.pay";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MS: Duration = Duration::from_millis(1);
/// A purge leaves an expired record this long, for waiters of other processes.
const GRACE: Duration = Duration::from_secs(60);

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

fn made(form: Form, call: Call, n: u32) -> Result<u32, ErrorKind> {
    form.make(call.map_err(|error: Error| error.kind()), || Ok(n))
}

// Field 22.
#[test]
fn the_ttl_ends_to_the_millisecond_and_the_call_runs_again() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let day = |n| made(form, pay(&store).ttl(DAY), n);
        assert_eq!(day(1), Ok(1));
        clock.pass(DAY - MS);
        assert_eq!(day(2), Ok(1));
        assert!(!store.get(NAME, "A-17").unwrap().unwrap().is_expired());
        clock.pass(MS);
        assert!(store.get(NAME, "A-17").unwrap().is_none());
        assert_eq!(day(3), Ok(3));
        clock.pass(DAY - MS);
        assert_eq!(day(4), Ok(3), "its lifetime begins anew");
    });
}

#[test]
fn a_result_is_kept_its_time_and_its_end_is_visible() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let kept = |n| made(form, pay(&store).keep_result(HOUR).ttl(DAY), n);
        assert_eq!(kept(1), Ok(1));
        clock.pass(HOUR - MS);
        assert_eq!(kept(2), Ok(1));
        clock.pass(MS);
        assert_eq!(kept(3), Err(ErrorKind::ResultGone));
        clock.pass(DAY - HOUR - MS);
        assert_eq!(kept(4), Err(ErrorKind::ResultGone), "never a second run while the key is remembered");
        clock.pass(MS);
        assert_eq!(kept(5), Ok(5));
    });
}

#[test]
fn by_default_keys_are_kept_for_ever_and_results_for_thirty_days() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        assert_eq!(made(form, pay(&store), 1), Ok(1));
        clock.pass(30 * DAY - MS);
        assert_eq!(made(form, pay(&store), 2), Ok(1));
        clock.pass(MS);
        assert_eq!(made(form, pay(&store), 3), Err(ErrorKind::ResultGone));
        clock.pass(100_000 * DAY);
        store.purge_expired(100).unwrap();
        assert_eq!(made(form, pay(&store), 4), Err(ErrorKind::ResultGone));
    });
}

// Field 25.
#[test]
fn a_result_that_is_not_kept_goes_to_its_first_caller_alone() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        assert_eq!(made(form, pay(&store).keep_result(Lifetime::ZERO), 1), Ok(1));
        assert_eq!(made(form, pay(&store).keep_result(Lifetime::ZERO), 2), Err(ErrorKind::ResultGone));
        let record = store.get(NAME, "A-17").unwrap().unwrap();
        assert_eq!(record.status(), Status::Done);
        assert_eq!(record.result::<u32>().unwrap_err().kind(), ErrorKind::ResultGone);
    });
}

#[test]
fn a_ttl_of_zero_is_refused_before_anything_happens() {
    const NEVER: Duration = Duration::ZERO;
    #[idempotent(name = "lifetimes.zero", key = id, ttl = NEVER)]
    fn expires_at_once(id: u32) -> Result<u32, Error> {
        unreachable!("it ran")
    }
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        for zero in [Lifetime::ZERO, NEVER.into()] {
            let call = pay(&store).ttl(zero);
            let error = form.make(call, || -> Result<u32, Error> { unreachable!("it ran") }).unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::BadArgument, idem_runtime::Ran::No));
            assert_eq!((error.name(), error.key()), (Some(NAME), Some("A-17")));
            assert!(
                error.to_string().contains("`ttl` is zero") && error.help().contains("`ttl`"),
                "{error:?}"
            );
        }
        let refused = with_store(&store, || expires_at_once(7)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadArgument);
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

#[test]
fn a_lifetime_below_a_millisecond_is_a_millisecond() {
    in_every_form(|form| {
        for (lifetime, full) in [(1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (1_999_999, 2)] {
            let lifetime = Duration::from_nanos(lifetime);
            let clock = HandClock::summer();
            let (_folder, store) = clock.store();
            let short = |n| made(form, pay(&store).ttl(lifetime), n);
            let kept = |n| made(form, call(NAME).store(&store).key("kept").keep_result(lifetime), n);
            assert_eq!((short(1), kept(1)), (Ok(1), Ok(1)));
            clock.pass((full - 1) * MS);
            assert_eq!((short(2), kept(2)), (Ok(1), Ok(1)), "{lifetime:?}");
            clock.pass(MS);
            assert_eq!((short(3), kept(3)), (Ok(3), Err(ErrorKind::ResultGone)), "{lifetime:?}");
        }
    });
}

#[test]
fn a_result_without_content_is_kept_as_long_as_its_key() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sent;
    fn is_kept<T: idem_runtime::Value + std::fmt::Debug + PartialEq>(form: Form, value: fn() -> T) {
        let zero = Duration::ZERO;
        for codec in [idem_runtime::Codec::default(), idem_runtime::Codec::Json] {
            for keep in [Lifetime::ZERO, zero.into(), HOUR.into(), (30 * DAY).into()] {
                let clock = HandClock::summer();
                let (_folder, store) = clock.store();
                let send = || {
                    pay(&store)
                        .keep_result(keep)
                        .ttl(90 * DAY)
                        .codec(codec)
                        .map_err(|error: Error| error.kind())
                };
                assert_eq!(form.make(send(), || Ok(value())), Ok(value()));
                clock.pass(90 * DAY - MS);
                store.purge_expired(100).unwrap();
                let again = || form.make(send(), || -> Result<T, ErrorKind> { unreachable!("it ran") });
                assert_eq!(again(), Ok(value()), "{keep:?}");
                assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().result::<T>().unwrap(), value());
                clock.pass(MS);
                assert_eq!(
                    form.make(send(), || Err::<T, _>(ErrorKind::BadKey)),
                    Err(ErrorKind::BadKey),
                    "it ran"
                );
            }
        }
    }
    in_every_form(|form| {
        is_kept(form, || ());
        is_kept(form, || Sent);
    });
}

#[test]
fn a_settled_call_without_content_keeps_its_result() {
    in_every_form(|form| {
        for verdict in [Verdict::Done(()), Verdict::DoneWithoutResult] {
            let clock = HandClock::summer();
            let (_folder, store) = clock.store();
            form.cut_off(pay(&store));
            eventually("it is in doubt", || {
                store.get(NAME, "A-17").unwrap().unwrap().status() == Status::InDoubt
            });
            let send = || form.make(pay(&store), || -> Result<(), Error> { unreachable!("it ran") });
            assert_eq!(settle(verdict, send).unwrap(), Settled::Done);
            clock.pass(100 * DAY);
            send().unwrap();
        }
    });
}

#[test]
fn lifetimes_begin_with_the_end_of_the_call_and_are_fixed_then() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let slow = pay(&store).ttl(HOUR).run(|| {
            clock.pass(10 * HOUR);
            Ok::<u32, Error>(1)
        });
        assert_eq!(slow.unwrap(), 1);
        clock.pass(HOUR - MS);
        assert_eq!(made(form, pay(&store).ttl(MS), 2), Ok(1), "another ttl changes nothing");
        clock.pass(MS);
        assert_eq!(made(form, pay(&store).ttl(Lifetime::FOREVER), 3), Ok(3));
    });
}

// Field 1, 24: nothing but a person ends a doubt.
#[test]
fn a_call_in_doubt_never_expires() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let short = || pay(&store).ttl(MS).keep_result(MS);
        form.cut_off(short());
        eventually("it is in doubt", || {
            store.get(NAME, "A-17").unwrap().unwrap().status() == Status::InDoubt
        });
        clock.pass(1_000 * DAY);
        assert!(!store.get(NAME, "A-17").unwrap().unwrap().is_expired());
        store.purge_expired(100).unwrap();
        assert_eq!(made(form, short(), 1), Err(ErrorKind::InDoubt));
        assert_eq!(made(form, short().on_interrupt(OnInterrupt::rerun()), 2), Ok(2));
    });
}

// Field 24.
#[test]
fn a_running_call_never_expires() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    let short = || pay(&store).ttl(MS).keep_result(MS);
    let outcome = short().run(|| {
        clock.pass(1_000 * DAY);
        assert_eq!(store.purge_expired(100).unwrap(), 0);
        let duplicate = std::thread::scope(|scope| {
            scope.spawn(|| made(Form::Sync, short().wait(Duration::ZERO), 2)).join().unwrap()
        });
        assert_eq!(duplicate, Err(ErrorKind::Running));
        Ok::<u32, Error>(1)
    });
    assert_eq!(outcome.unwrap(), 1);
}

// Field 22.
#[test]
fn within_one_boot_the_wall_clock_does_not_matter() {
    for jump in [-50 * 365_i64, -1, 1, 365] {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let day = |n| made(Form::Sync, pay(&store).ttl(DAY), n);
        assert_eq!(day(1), Ok(1));
        clock.set_wall(SUMMER_MS + jump * 86_400_000);
        assert_eq!(day(2), Ok(1), "a jump of {jump} days is no time");
        clock.pass(DAY - MS);
        assert_eq!(day(3), Ok(1));
        clock.pass(MS);
        assert_eq!(day(4), Ok(4));
    }
}

// Field 22.
#[test]
fn across_boots_the_wall_clock_tells() {
    let clock = HandClock::summer();
    let (folder, store) = clock.store();
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 1), Ok(1));
    store.close().unwrap();
    clock.reboot(SUMMER_MS + 3_600_000);
    let store = clock.open(folder.path());
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 2), Ok(1), "an hour later");
    clock.pass(DAY);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 3), Ok(3), "a day and an hour later");
}

// Field 22: the record lives longer, never shorter.
#[test]
fn a_machine_that_starts_in_1970_expires_nothing_until_its_clock_is_set() {
    let clock = HandClock::summer();
    let (folder, store) = clock.store();
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 1), Ok(1));
    store.close().unwrap();
    clock.reboot(0);
    let store = clock.open(folder.path());
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 2), Ok(1));
    clock.pass(100 * DAY);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 3), Ok(1), "the clock is not believed");
    store.purge_expired(100).unwrap();
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 3), Ok(1), "nor does the purge");
    clock.set_wall(SUMMER_MS + 200 * 86_400_000);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 4), Ok(4));
}

// Field 22.
#[test]
fn a_record_made_in_1970_does_not_vanish_when_the_clock_is_set() {
    let clock = HandClock::at(0);
    let (folder, store) = clock.store();
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 1), Ok(1));
    clock.set_wall(SUMMER_MS);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 2), Ok(1), "56 years in one jump");
    store.close().unwrap();
    clock.reboot(SUMMER_MS + 60_000);
    let store = clock.open(folder.path());
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 3), Ok(1));
    clock.pass(DAY);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 4), Ok(4));
}

// Field 22: a clock that is behind the newest time of the store is not believed.
#[test]
fn a_clock_behind_the_newest_time_seen_expires_nothing() {
    let clock = HandClock::at(SUMMER_MS);
    let (folder, store) = clock.store();
    clock.pass(10 * DAY);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 1), Ok(1));
    store.close().unwrap();
    clock.reboot(SUMMER_MS);
    let store = clock.open(folder.path());
    clock.pass(9 * DAY);
    assert_eq!(made(Form::Sync, pay(&store).ttl(DAY), 2), Ok(1));
}

// Field 22: seconds are not milliseconds.
#[test]
fn durations_in_literals_have_the_units_they_name() {
    #[idempotent(name = "lifetimes.ms", key = n, ttl = "1500ms", keep_result = "1500ms", skip(n, answer))]
    fn ms(n: u32, answer: u32) -> Result<u32, Error> {
        let _ = n;
        Ok(answer)
    }
    #[idempotent(name = "lifetimes.s", key = n, ttl = "90s", keep_result = "90s", skip(n, answer))]
    async fn s(n: u32, answer: u32) -> Result<u32, Error> {
        let _ = n;
        Ok(answer)
    }
    #[idempotent(name = "lifetimes.h", key = n, ttl = 12 * HOUR, keep_result = "12h", skip(n, answer))]
    fn h(n: u32, answer: u32) -> Result<u32, Error> {
        let _ = n;
        Ok(answer)
    }
    #[idempotent(name = "lifetimes.d", key = n, ttl = "30d", skip(n, answer))]
    async fn d(n: u32, answer: u32) -> Result<u32, Error> {
        let _ = n;
        Ok(answer)
    }
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    let check = |lifetime: Duration, mut call: Box<dyn FnMut(u32) -> Result<u32, Error>>| {
        assert_eq!(call(1).unwrap(), 1);
        clock.pass(lifetime - MS);
        assert_eq!(call(2).unwrap(), 1, "{lifetime:?} is not over");
        clock.pass(MS);
        assert_eq!(call(3).unwrap(), 3, "{lifetime:?} is over");
    };
    with_store(&store, || {
        check(Duration::from_millis(1_500), Box::new(|n| ms(1, n)));
        check(Duration::from_secs(90), Box::new(|n| block_on(s(1, n))));
        check(12 * HOUR, Box::new(|n| h(1, n)));
        check(30 * DAY, Box::new(|n| block_on(d(1, n))));
    });
}

// Field 24.
#[test]
fn a_purge_deletes_expired_records_and_leaves_the_rest() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    for n in 0..10 {
        let call = || call(NAME).store(&store).key(&n);
        call().ttl(if n < 4 { HOUR } else { DAY }).run(|| Ok::<u32, Error>(n)).unwrap();
    }
    assert_eq!(store.purge_expired(100).unwrap(), 0);
    clock.pass(HOUR + GRACE);
    assert_eq!(store.purge_expired(3).unwrap(), 3, "no more than asked for");
    assert_eq!(store.purge_expired(100).unwrap(), 1);
    assert_eq!(store.stats().unwrap().records, 6);
    clock.pass(DAY);
    assert_eq!(store.purge_expired(100).unwrap(), 6);
    assert_eq!(store.stats().unwrap().records, 0);
}

#[test]
fn a_purge_deletes_results_before_their_records() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    pay(&store).keep_result(HOUR).ttl(DAY).run(|| Ok::<u32, Error>(1)).unwrap();
    clock.pass(HOUR + GRACE);
    assert_eq!(store.purge_expired(100).unwrap(), 1);
    assert_eq!(store.purge_expired(100).unwrap(), 0);
    assert_eq!(made(Form::Sync, pay(&store), 2), Err(ErrorKind::ResultGone));
    assert!(store.get(NAME, "A-17").unwrap().unwrap().reason().unwrap().contains("keep_result"));
}

/// The records and the results in the database, expired ones included.
fn rows(store: &Store) -> (i64, i64) {
    #[expect(clippy::disallowed_methods, reason = "the path is absolute, and no URI")]
    let conn = rusqlite::Connection::open(store.path()).unwrap();
    conn.query_row("SELECT count(*), count(result) FROM idem_record WHERE key = 'A-17'", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .unwrap()
}

// Rule 8: a waiter of another process reads the record after its end.
#[test]
fn purge_expired_leaves_a_minute_for_waiters_of_other_processes() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    pay(&store).keep_result(MS).ttl(HOUR).run(|| Ok::<u32, Error>(1)).unwrap();
    clock.pass(MS);
    assert_eq!(store.purge_expired(100).unwrap(), 0);
    clock.pass(GRACE - MS);
    assert_eq!((store.purge_expired(100).unwrap(), rows(&store)), (0, (1, 1)));
    clock.pass(MS);
    assert_eq!((store.purge_expired(100).unwrap(), rows(&store)), (1, (1, 0)), "the result");
    clock.pass(HOUR - MS - MS);
    assert_eq!((store.purge_expired(100).unwrap(), rows(&store)), (0, (1, 0)));
    clock.pass(MS);
    assert_eq!((store.purge_expired(100).unwrap(), rows(&store)), (1, (0, 0)), "the record");
}

#[test]
fn the_purge_after_a_commit_leaves_a_minute_for_waiters_of_other_processes() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    pay(&store).ttl(MS).keep_result(MS).run(|| Ok::<u32, Error>(1)).unwrap();
    let commits = || {
        // The writer thread searches for expired records once a second.
        for key in 0..3 {
            idem_tests::halt::pause_for(Duration::from_millis(600));
            call("lifetimes.other").store(&store).key(&key).run(|| Ok::<u32, Error>(key)).unwrap();
            store.forget("lifetimes.other", &key).unwrap();
        }
    };
    clock.pass(GRACE);
    commits();
    assert_eq!(rows(&store), (1, 1));
    clock.pass(MS);
    commits();
    eventually("the record is purged", || rows(&store) == (0, 0));
}
