//! The view and the tools of an operator: every call can be seen, and no call stays stuck.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::{
    Call, Error, ErrorKind, Filter, Lifetime, Ran, Settled, Status, Store, Verdict, idempotent, observe,
    observe_async, on_err, peek, peek_async, settle, settle_async, with_store,
};
use idem_tests::deadline;
use idem_tests::form::{Form, in_every_form, kind};
use idem_tests::halt::{Halt, eventually};
use idem_tests::hand_clock::HandClock;
use idem_tests::plain::block_on;
use idem_tests::shared::call;

const NAME: &str = "operators.pay";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// A store with a call in doubt.
fn in_doubt() -> Store {
    let store = Store::temporary().unwrap();
    pay(&store).on_err(on_err::InDoubt).run(|| Err::<u32, _>("timed out".to_owned())).unwrap_err();
    store
}

/// Runs `test` while the call runs on another thread; gives what that call answers.
fn while_it_runs(store: &Store, form: Form, test: impl FnOnce()) -> Result<u32, ErrorKind> {
    let halt = Halt::new();
    let stands = Arc::clone(&halt);
    let running = form.spawn(pay(store).map_err(kind), move || {
        stands.stand();
        Ok(1)
    });
    halt.wait_for(1);
    test();
    halt.let_all_go();
    running.join().unwrap().0
}

// Field 20.
#[test]
fn get_shows_one_record() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    assert!(store.get(NAME, "A-17").unwrap().is_none());
    pay(&store).run(|| Ok::<u32, Error>(42)).unwrap();
    clock.pass(Duration::from_secs(90));
    let record = store.get(NAME, "A-17").unwrap().unwrap();
    assert_eq!((record.name(), record.key()), (NAME, "A-17"));
    assert_eq!((record.status(), record.attempt(), record.is_expired()), (Status::Done, 1, false));
    assert_eq!(record.age(), Some(Duration::from_secs(90)));
    assert_eq!(record.reason(), None);
    assert_eq!(record.result::<u32>().unwrap(), 42);
    assert_eq!(record.result::<String>().unwrap_err().kind(), ErrorKind::Undecodable);
    let owner = record.owner().unwrap();
    assert!(owner.contains(&format!("process {}", std::process::id())), "{owner}");
    let since = record.since().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since, Duration::from_millis(idem_tests::hand_clock::SUMMER_MS.unsigned_abs()));
}

#[test]
fn get_shows_a_running_call() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let answer = while_it_runs(&store, form, || {
            let record = store.get(NAME, "A-17").unwrap().unwrap();
            assert_eq!((record.status(), record.attempt()), (Status::Running, 1));
            assert_eq!(record.result::<u32>().unwrap_err().kind(), ErrorKind::ResultGone);
            let stats = store.stats().unwrap();
            assert_eq!((stats.records, stats.unfinished, stats.running_here), (1, 1, 1));
        });
        assert_eq!(answer, Ok(1));
        let stats = store.stats().unwrap();
        assert_eq!((stats.records, stats.unfinished, stats.running_here, stats.queued), (1, 0, 0, 0));
        assert!(stats.database_bytes > 0);
    });
}

fn keys(store: &Store, filter: &Filter) -> Vec<String> {
    store.list(filter).unwrap().iter().map(|record| record.key().to_owned()).collect()
}

// Field 20.
#[test]
fn list_filters() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    let made = |name: &'static str, key: &str| call(name).store(&store).key(key);
    made("operators.a", "eu/1").run(|| Ok::<u32, Error>(1)).unwrap();
    made("operators.a", "us/1").on_err(on_err::Remember).run(|| Err::<u32, _>(String::new())).unwrap_err();
    clock.pass(Duration::from_secs(60));
    made("operators.b", "eu/2").on_err(on_err::InDoubt).run(|| Err::<u32, _>(String::new())).unwrap_err();
    made("operators.b", "%").run(|| Ok::<u32, Error>(1)).unwrap();
    let new = Filter::new;
    assert_eq!(keys(&store, &new()), ["eu/1", "us/1", "eu/2", "%"], "in the order they were made");
    assert_eq!(keys(&store, &new().name("operators.a")), ["eu/1", "us/1"]);
    assert_eq!(keys(&store, &new().key_prefix("eu/")), ["eu/1", "eu/2"]);
    assert_eq!(keys(&store, &new().key_prefix("%")), ["%"], "a prefix is no pattern");
    assert_eq!(keys(&store, &new().key_prefix("_")), [""; 0]);
    assert_eq!(keys(&store, &new().status(Status::Done)), ["eu/1", "%"]);
    assert_eq!(keys(&store, &new().status(Status::Failed)), ["us/1"]);
    assert_eq!(keys(&store, &new().status(Status::InDoubt)), ["eu/2"]);
    assert_eq!(keys(&store, &new().status(Status::Running)), [""; 0]);
    assert_eq!(keys(&store, &new().older_than(Duration::from_secs(60))), ["eu/1", "us/1"]);
    assert_eq!(keys(&store, &new().older_than(Duration::from_secs(61))), [""; 0]);
    assert_eq!(keys(&store, &new().name("operators.b").key_prefix("eu").status(Status::InDoubt)), ["eu/2"]);
}

#[test]
fn list_goes_page_by_page() {
    let store = Store::temporary().unwrap();
    for n in 0..25 {
        let call = call(NAME).store(&store).key(&n);
        if n % 2 == 0 {
            call.run(|| Ok::<u32, Error>(n)).unwrap();
        } else {
            Form::Sync.cut_off(call);
        }
    }
    eventually("all have ended", || store.stats().unwrap().running_here == 0);
    for status in [None, Some(Status::InDoubt)] {
        let filter = || status.map_or(Filter::new(), |status| Filter::new().status(status)).limit(4);
        let (mut found, mut next) = (Vec::new(), filter());
        loop {
            let page = store.list(&next).unwrap();
            assert!(page.len() <= 4);
            let Some(last) = page.last() else { break };
            next = filter().after(last);
            found.extend(page.iter().map(|record| record.key().parse::<u32>().unwrap()));
        }
        let expected: Vec<_> = (0..25).filter(|n| status.is_none() || n % 2 == 1).collect();
        assert_eq!(found, expected);
    }
    assert!(store.list(&Filter::new().limit(0)).unwrap().is_empty());
}

// Field 20.
#[test]
fn forget_frees_a_key_that_does_not_run() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        assert!(!store.forget(NAME, "A-17").unwrap(), "the record is absent");
        form.make(pay(&store), || Ok::<u32, Error>(1)).unwrap();
        assert!(store.forget(NAME, "A-17").unwrap());
        assert_eq!(form.make(pay(&store), || Ok::<u32, Error>(2)).unwrap(), 2);

        let store = in_doubt();
        assert!(store.forget(NAME, "A-17").unwrap());
        assert_eq!(form.make(pay(&store), || Ok::<u32, Error>(3)).unwrap(), 3);

        let store = Store::temporary().unwrap();
        let answer = while_it_runs(&store, form, || {
            let error = store.forget(NAME, "A-17").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Running);
            assert!(error.help().contains("`Store::steal`"), "{error:?}");
        });
        assert_eq!(answer, Ok(1));
    });
}

#[idempotent(name = "operators.pay", key = id, same_for_types)]
fn sync(id: &str, cents: u32) -> Result<u32, String> {
    let _ = id;
    Ok(cents)
}

#[idempotent(name = "operators.pay.async", key = id, same_for_types)]
async fn asynchronous(id: &str, cents: u32) -> Result<u32, String> {
    let _ = id;
    Ok(cents)
}

// Field 20.
#[test]
fn peek_looks_through_the_call_and_makes_nothing() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert!(peek(|| sync("A-17", 1)).unwrap().is_none());
        assert!(block_on(peek_async(asynchronous("A-17", 1))).unwrap().is_none());
        assert_eq!(store.stats().unwrap().records, 0);
        sync("A-17", 1).unwrap();
        block_on(asynchronous("A-17", 2)).unwrap();
        let record = peek(|| sync("A-17", 999)).unwrap().unwrap();
        assert_eq!(record.result::<u32>().unwrap(), 1, "other arguments than the key do not matter");
        let record = block_on(peek_async(asynchronous("A-17", 999))).unwrap().unwrap();
        assert_eq!(record.result::<u32>().unwrap(), 2);
    });
}

#[test]
fn peek_and_settle_take_exactly_one_call() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let none = peek(|| Ok::<u32, String>(1)).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::BadArgument);
        assert!(none.to_string().contains("no idempotent call"), "{none}");
        let bad = peek(|| sync("", 1)).unwrap_err();
        assert_eq!(bad.kind(), ErrorKind::BadKey);
        let mut second = None;
        peek(|| {
            let _ = sync("A-17", 1);
            second = Some(sync("B-4", 1));
            Ok::<u32, String>(1)
        })
        .unwrap();
        assert!(second.unwrap().unwrap_err().contains("a second call"), "the second one does not run either");
        let none = settle(Verdict::Done(1_u32), || Ok::<u32, String>(1)).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::BadArgument);
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

// Field 20: a person decides.
#[test]
fn a_call_in_doubt_is_settled_through_the_call() {
    in_every_form(|form| {
        let made = |store: &Store, n: u32| form.make(pay(store).map_err(kind), || Ok(n));
        let settled = |verdict: Verdict<u32>| {
            let store = in_doubt();
            let settled = settle(verdict, || made(&store, 1));
            (store, settled)
        };
        let (store, done) = settled(Verdict::Done(42));
        assert_eq!(done.unwrap(), Settled::Done);
        assert_eq!(made(&store, 2), Ok(42));
        assert_eq!(
            settle(Verdict::Done(43), || made(&store, 3)).unwrap(),
            Settled::NotInDoubt(Some(Status::Done))
        );
        assert_eq!(made(&store, 4), Ok(42), "a done call keeps its result");

        let (store, done) = settled(Verdict::DoneWithoutResult);
        assert_eq!(done.unwrap(), Settled::Done);
        assert_eq!(made(&store, 2), Err(ErrorKind::ResultGone));

        let (store, not_done) = settled(Verdict::NotDone);
        assert_eq!(not_done.unwrap(), Settled::NotDone);
        assert_eq!(made(&store, 2), Ok(2));

        let (store, unknown) = settled(Verdict::Unknown);
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::BadArgument);
        assert_eq!(made(&store, 2), Err(ErrorKind::InDoubt));

        let store = Store::temporary().unwrap();
        assert_eq!(settle(Verdict::Done(1), || made(&store, 1)).unwrap(), Settled::NotInDoubt(None));
        assert_eq!(store.stats().unwrap().records, 0);
    });
}

#[test]
fn a_running_call_is_not_settled() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let answer = while_it_runs(&store, form, || {
            let settled = settle(Verdict::Done(9_u32), || pay(&store).map_err(kind).run(|| Ok(2)));
            let error = settled.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Running);
            assert!(error.help().contains("steal"), "{error:?}");
        });
        assert_eq!(answer, Ok(1));
    });
}

#[test]
fn a_verdict_lasts_and_settle_works_async() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idem.db");
    let store = Store::open(&path).unwrap();
    let call = || call("operators.pay.async").store(&store).key("A-17").on_err(on_err::InDoubt);
    block_on(call().run_async(async || Err::<u32, _>("timed out".to_owned()))).unwrap_err();
    let verdict = with_store(&store, || block_on(settle_async(Verdict::Done(42), asynchronous("A-17", 1))));
    assert_eq!(verdict.unwrap(), Settled::Done);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(with_store(&store, || block_on(asynchronous("A-17", 1))), Ok(42));
}

#[test]
fn a_verdict_that_cannot_be_stored_settles_nothing() {
    deadline::start();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder().result_bytes_max(100).open(folder.path().join("idem.db")).unwrap();
    let call = || pay(&store).on_err(on_err::InDoubt);
    call().run(|| Err::<String, _>("timed out".to_owned())).unwrap_err();
    let verdict = Verdict::Done("x".repeat(1_000));
    let error = settle(verdict, || call().run(|| Ok::<_, String>(String::new()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArgument);
    assert_eq!(store.get(NAME, "A-17").unwrap().unwrap().status(), Status::InDoubt);
}

#[test]
fn record_done_takes_over_from_another_store() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        assert!(store.record_done(NAME, "A-17", &42_u32).unwrap());
        assert!(!store.record_done(NAME, "A-17", &43_u32).unwrap(), "the call has a record");
        let call = pay(&store).arg("cents", &1).map_err(kind);
        assert_eq!(form.make(call, || Ok(1_u32)), Ok(42), "with any arguments");
        assert_eq!(store.record_done(NAME, "", &1).unwrap_err().kind(), ErrorKind::BadKey);
        let answer = {
            let store = Store::temporary().unwrap();
            while_it_runs(&store, form, || assert!(!store.record_done(NAME, "A-17", &9_u32).unwrap()))
        };
        assert_eq!(answer, Ok(1));
    });
}

#[test]
fn record_done_refuses_what_cannot_be_stored() {
    deadline::start();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder().result_bytes_max(10).open(folder.path().join("idem.db")).unwrap();
    let error = store.record_done(NAME, "A-17", &"x".repeat(100)).unwrap_err();
    assert_eq!((error.kind(), error.ran()), (ErrorKind::BadArgument, Ran::No));
    assert!(store.get(NAME, "A-17").unwrap().is_none());
}

#[test]
fn verify_finds_nothing_in_a_sound_store() {
    deadline::start();
    let store = in_doubt();
    call("operators.other").store(&store).key(&1).run(|| Ok::<u32, Error>(1)).unwrap();
    assert_eq!(store.verify().unwrap(), Vec::<String>::new());
}

// Field 21.
#[test]
fn observe_tells_a_replay_from_a_run() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let observed = || observe(|| form.make(pay(&store), || Ok::<u32, Error>(1)));
        let seen = observed().1.unwrap();
        assert_eq!(
            (seen.replayed, seen.attempt, seen.waited, seen.recovered),
            (None, 1, Duration::ZERO, false)
        );
        clock.pass(Duration::from_secs(7));
        let seen = observed().1.unwrap();
        assert_eq!((seen.replayed, seen.attempt), (Some(Duration::from_secs(7)), 1));
    });
    assert_eq!(observe(|| 7), (7, None), "no idempotent call was made");
}

// Field 21.
#[test]
fn observe_async_tells_the_same_and_sees_the_outer_call() {
    #[idempotent(name = "operators.outer", key = id)]
    async fn outer(id: &str) -> Result<u32, String> {
        asynchronous(id, 1).await?;
        asynchronous(id, 1).await
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let (paid, seen) = block_on(observe_async(outer("A-17")));
        assert_eq!((paid, seen.unwrap().replayed), (Ok(1), None), "not the replay inside");
        let (paid, seen) = block_on(observe_async(outer("A-17")));
        assert!(paid == Ok(1) && seen.unwrap().replayed.is_some());
    });
}

#[test]
fn a_damaged_looking_name_or_key_finds_nothing() {
    let store = in_doubt();
    assert!(store.get("operators.pa", "A-17").unwrap().is_none());
    assert!(store.get(NAME, "A-17 ").unwrap().is_none());
    assert!(!store.forget("", "A-17").unwrap());
    assert_eq!(store.get(NAME, &1.5).unwrap_err().kind(), ErrorKind::BadKey);
}

#[test]
fn forever_is_longer_than_any_purge() {
    let clock = HandClock::summer();
    let (_folder, store) = clock.store();
    let kept = pay(&store).ttl(Lifetime::FOREVER).keep_result(Lifetime::FOREVER);
    kept.run(|| Ok::<u32, Error>(1)).unwrap();
    clock.pass(Duration::from_secs(1_000 * 365 * 86_400));
    assert_eq!(store.purge_expired(100).unwrap(), 0);
    assert_eq!(pay(&store).run(|| Ok::<u32, Error>(2)).unwrap(), 1);
}
