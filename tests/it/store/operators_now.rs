//! Operators see what a caller who asks now would see.

use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, Filter, Settled, Status, Store, Verdict, call, idempotent, on_err, peek, settle,
    with_store,
};
use idem_tests::form::{Form, in_every_form};
use idem_tests::hand_clock::HandClock;

const NAME: &str = "now.pay";
const HOUR: Duration = Duration::from_secs(3_600);
/// Enough that a write is still queued in most of them.
const ROUNDS: u32 = 40;

fn pay(store: &Store, key: u32) -> Call {
    call(NAME).same_for_types().store(store).key(&key)
}

/// Calls that have just been cut off, one after the other: an operator acts before the write of their doubt.
fn right_after_each(form: Form, check: impl Fn(&Store, u32)) {
    let store = Store::temporary().unwrap();
    for key in 0..ROUNDS {
        form.cut_off(pay(&store, key));
        check(&store, key);
    }
}

#[test]
fn get_list_and_peek_see_a_call_in_doubt_right_after_it_was_cut_off() {
    in_every_form(|form| {
        right_after_each(form, |store, key| {
            assert_eq!(store.get(NAME, &key).unwrap().unwrap().status(), Status::InDoubt);
        });
        right_after_each(form, |store, key| {
            let doubts = Filter::new().status(Status::InDoubt);
            assert_eq!(store.list(&doubts).unwrap().len(), usize::try_from(key).unwrap() + 1);
        });
        right_after_each(form, |store, key| {
            let seen = peek(|| form.make(pay(store, key), || Ok::<u32, Error>(1))).unwrap().unwrap();
            assert_eq!(seen.status(), Status::InDoubt);
            assert!(seen.reason().is_some_and(|reason| !reason.contains("owner")), "{:?}", seen.reason());
        });
    });
}

#[test]
fn a_call_is_settled_right_after_it_was_cut_off() {
    in_every_form(|form| {
        right_after_each(form, |store, key| {
            let made = || form.make(pay(store, key), || Ok::<u32, Error>(1));
            assert_eq!(settle(Verdict::Done(42_u32), made).unwrap(), Settled::Done);
            assert_eq!(made().unwrap(), 42);
        });
    });
}

#[test]
fn a_call_is_forgotten_right_after_it_was_cut_off() {
    in_every_form(|form| {
        right_after_each(form, |store, key| {
            assert!(store.forget(NAME, &key).unwrap());
            assert_eq!(form.make(pay(store, key), || Ok::<u32, Error>(7)).unwrap(), 7);
        });
        right_after_each(form, |store, key| {
            assert!(!store.steal(NAME, &key).unwrap(), "there is no owner to take the call from");
            assert!(!store.record_done(NAME, &key, &1_u32).unwrap());
        });
    });
}

#[test]
fn a_record_whose_ttl_is_over_is_absent_for_operators() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let made = |n| form.make(pay(&store, 1).ttl(HOUR), || Ok::<u32, Error>(n));
        made(1).unwrap();
        assert!(store.get(NAME, &1).unwrap().is_some());
        clock.pass(HOUR);
        assert!(store.get(NAME, &1).unwrap().is_none());
        assert!(peek(|| made(2)).unwrap().is_none());
        assert!(store.list(&Filter::new()).unwrap().is_empty());
        assert_eq!(settle(Verdict::Done(2_u32), || made(2)).unwrap(), Settled::NotInDoubt(None));
        assert!(!store.forget(NAME, &1).unwrap());
        assert!(store.record_done(NAME, &1, &3_u32).unwrap());
        assert_eq!(made(4).unwrap(), 3);
        assert_eq!(store.verify().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_snapshot_tells_the_end_of_its_lifetime() {
    let store = Store::temporary().unwrap();
    pay(&store, 1).ttl(Duration::from_millis(300)).run(|| Ok::<u32, Error>(1)).unwrap();
    let record = store.get(NAME, &1).unwrap().unwrap();
    assert!(!record.is_expired());
    idem_tests::halt::pause_for(Duration::from_millis(400));
    assert!(record.is_expired());
}

#[test]
fn an_expired_record_does_not_hide_one_under_an_earlier_name() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    call("now.new").store(&store).key(&1).ttl(HOUR).run(|| Ok::<u32, Error>(1)).unwrap();
    call("now.old").store(&store).key(&1).run(|| Ok::<u32, Error>(2)).unwrap();
    clock.pass(HOUR);
    let renamed = || call("now.new").store(&store).was(&["now.old"]).key(&1).run(|| Ok::<u32, Error>(3));
    assert_eq!(peek(renamed).unwrap().unwrap().result::<u32>().unwrap(), 2);
    assert_eq!(renamed().unwrap(), 2);
}

#[idempotent(name = "now.charge", key = id)]
fn charge(id: u32, cents: u32) -> Result<u32, Error> {
    let _ = id;
    Ok(cents)
}

// Other arguments are another call.
#[test]
fn peek_and_settle_refuse_other_arguments() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let doubtful = |cents| {
            let made = call("now.pay").same_for_types().key(&1).arg("cents", &cents).on_err(on_err::InDoubt);
            made.run(|| Err::<u32, _>("timed out".to_owned()))
        };
        doubtful(13).unwrap_err();
        for verdict in [Verdict::NotDone, Verdict::Done(1_u32), Verdict::DoneWithoutResult] {
            let error = settle(verdict, || doubtful(99)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        }
        assert_eq!(peek(|| doubtful(99)).unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(peek(|| doubtful(13)).unwrap().unwrap().status(), Status::InDoubt);
        assert_eq!(charge(2, 50).unwrap(), 50);
        assert_eq!(peek(|| charge(2, 99)).unwrap_err().kind(), ErrorKind::Mismatch);
        assert!(peek(|| charge(3, 99)).unwrap().is_none());
        let settled = settle(Verdict::Done(7_u32), || charge(2, 99));
        assert_eq!(settled.unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(settle(Verdict::<u32>::NotDone, || doubtful(13)).unwrap(), Settled::NotDone);
    });
}

#[test]
fn a_verdict_of_another_type_is_refused_before_anything_is_written() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = || form.make(pay(&store, 1).on_err(on_err::InDoubt), || Err::<u32, Error>(not_now()));
        made().unwrap_err();
        let error = settle(Verdict::Done("seven".to_owned()), || made().map(|n| n.to_string())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgument, "{error}");
        assert_eq!(store.get(NAME, &1).unwrap().unwrap().status(), Status::InDoubt);
        let error = settle(Verdict::Done(7_u64), || made().map(u64::from)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArgument, "a later call could not read it: {error}");
        assert_eq!(settle(Verdict::Done(7_u32), made).unwrap(), Settled::Done);
        assert_eq!(made().unwrap(), 7);
    });
}

fn not_now() -> Error {
    call("").run(|| Ok::<u32, Error>(1)).unwrap_err()
}
