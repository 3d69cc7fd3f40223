//! `on_interrupt = recover(…)`: a hook is asked about an interrupted call before a body runs again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use idem_runtime::on_err::ErrPolicy;
use idem_runtime::{
    Call, Error, ErrorKind, IntoError, IntoVerdict, Outcome, Ran, Status, Store, Verdict, current,
    idempotent, observe, on_err, with_store,
};
use idem_tests::form::{Form, in_every_form, tokio_alone};
use idem_tests::halt::{Halt, Runs, eventually, pause};
use idem_tests::hand_clock::HandClock;
use idem_tests::plain::{self, yield_now};
use idem_tests::shared::call;

const NAME: &str = "recover.pay";
pub(crate) const WINDOW: Duration = Duration::from_secs(30);

pub(crate) fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17")
}

/// Makes the call with a hook and a body that, where they are async, are polled twice.
pub(crate) fn make<R, V, P, M>(
    form: Form,
    call: Call<P, M>,
    hook: impl FnOnce() -> V,
    body: impl FnOnce() -> R,
) -> R
where
    R: Outcome,
    V: IntoVerdict<R::Ok>,
    P: ErrPolicy<R::Err>,
    M: IntoError<R::Err>,
{
    match form {
        Form::Sync => call.recover(hook).run(body),
        Form::Tokio => tokio_alone().block_on(make_async(call, hook, body)),
        Form::Plain => plain::block_on(make_async(call, hook, body)),
    }
}

async fn make_async<R, V, P, M>(call: Call<P, M>, hook: impl FnOnce() -> V, body: impl FnOnce() -> R) -> R
where
    R: Outcome,
    V: IntoVerdict<R::Ok>,
    P: ErrPolicy<R::Err>,
    M: IntoError<R::Err>,
{
    let recovered = call.recover_async(|| soon(hook)).await;
    recovered.run_async(|| soon(body)).await
}

async fn soon<T>(it: impl FnOnce() -> T) -> T {
    yield_now().await;
    it()
}

pub(crate) type Paid = Result<u32, Error>;

fn not_asked() -> Verdict<u32> {
    unreachable!("the hook ran")
}

pub(crate) fn not_run() -> Paid {
    unreachable!("the body ran")
}

pub(crate) fn cut_off(form: Form, store: &Store) {
    form.cut_off(call(NAME).store(store).key("A-17"));
    eventually("it is in doubt", || status(store) == Some(Status::InDoubt));
}

pub(crate) fn status(store: &Store) -> Option<Status> {
    store.get(NAME, "A-17").unwrap().map(|record| record.status())
}

pub(crate) fn attempt(store: &Store) -> u32 {
    store.get(NAME, "A-17").unwrap().unwrap().attempt()
}

pub(crate) fn refused(paid: Paid, kind: ErrorKind) -> Error {
    let error = paid.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    error
}

/// A store by the test's clock, with a call that was cut off.
pub(crate) fn interrupted(form: Form) -> (HandClock, tempfile::TempDir, Store) {
    let clock = HandClock::summer();
    let (folder, store) = clock.store();
    cut_off(form, &store);
    (clock, folder, store)
}

#[test]
fn a_first_call_and_a_replay_do_not_ask_the_hook() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        assert_eq!(make(form, pay(&store), not_asked, || Ok::<u32, Error>(1)).unwrap(), 1);
        assert_eq!(make(form, pay(&store), not_asked, not_run).unwrap(), 1);
        let declined = || pay(&store).key("B-4").on_err(on_err::Remember);
        for _ in 0..2 {
            let paid = make(form, declined(), not_asked, || Err::<u32, String>("declined".to_owned()));
            assert_eq!(paid, Err("declined".to_owned()));
        }
    });
}

// Field 2.
#[test]
fn done_is_recorded_with_its_result_and_the_body_does_not_run() {
    in_every_form(|form| {
        let (_clock, _folder, store) = interrupted(form);
        let (paid, seen) = observe(|| make(form, pay(&store), || Verdict::Done(42), not_run));
        let seen = seen.unwrap();
        assert_eq!((paid.unwrap(), seen.recovered, seen.attempt, seen.replayed), (42, true, 1, None));
        assert_eq!((status(&store), attempt(&store)), (Some(Status::Done), 1));
        let (paid, seen) = observe(|| make(form, pay(&store), not_asked, not_run));
        assert_eq!((paid.unwrap(), seen.unwrap().recovered), (42, false));
        assert_eq!(form.make(pay(&store), not_run).unwrap(), 42);
    });
}

#[test]
fn done_without_a_result_is_done_and_its_result_is_gone() {
    in_every_form(|form| {
        let (_clock, _folder, store) = interrupted(form);
        let error =
            refused(make(form, pay(&store), || Verdict::DoneWithoutResult, not_run), ErrorKind::ResultGone);
        assert_eq!((error.ran(), error.name(), error.key()), (Ran::No, Some(NAME), Some("A-17")));
        refused(make(form, pay(&store), not_asked, not_run), ErrorKind::ResultGone);
        refused(form.make(pay(&store), not_run), ErrorKind::ResultGone);
        assert_eq!(status(&store), Some(Status::Done));
    });
}

#[test]
fn the_verdict_unknown_and_a_failing_hook_leave_the_call_in_doubt() {
    in_every_form(|form| {
        let (clock, _folder, store) = interrupted(form);
        clock.pass(WINDOW);
        let hooks = [Ok(Verdict::Unknown), Err("the bank is down".to_owned())];
        for (hook, says) in hooks.into_iter().zip(["could not find out", "(the bank is down)"]) {
            let error = refused(make(form, pay(&store), || hook, not_run), ErrorKind::InDoubt);
            assert_eq!(error.ran(), Ran::Unknown);
            let text = error.to_string();
            assert!(text.contains(says) && text.contains("attempt 1"), "{text}");
            assert!(error.help().contains("`settle`"), "{error:?}");
            eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
            assert_eq!(attempt(&store), 1);
        }
        // And can be asked again.
        assert_eq!(make(form, pay(&store), || Verdict::Done(7), not_run).unwrap(), 7);
    });
}

// The request of a second attempt can be as late as that of the first.
#[test]
fn a_hook_that_panics_leaves_the_call_in_doubt_and_is_no_attempt() {
    in_every_form(|form| {
        let (clock, _folder, store) = interrupted(form);
        clock.pass(WINDOW);
        for _ in 0..3 {
            let hook = || -> Verdict<u32> { panic!("the hook, on purpose") };
            let cut = catch_unwind(AssertUnwindSafe(|| make(form, pay(&store), hook, not_run)));
            assert!(cut.is_err());
            eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
            assert_eq!(attempt(&store), 1);
        }
        refused(form.make(pay(&store), not_run), ErrorKind::InDoubt);
        assert_eq!(make(form, pay(&store), || Verdict::NotDone, || Ok::<u32, Error>(5)).unwrap(), 5);
    });
}

#[test]
fn a_hook_whose_future_is_dropped_leaves_the_call_in_doubt_and_is_no_attempt() {
    let (clock, _folder, store) = interrupted(Form::Tokio);
    clock.pass(WINDOW);
    let asked = Cell::new(false);
    {
        let hook = async || {
            asked.set(true);
            std::future::pending::<Verdict<u32>>().await
        };
        let mut recovering = std::pin::pin!(pay(&store).recover_async(hook));
        eventually("the hook runs", || {
            assert!(plain::poll_once(recovering.as_mut()).is_pending());
            asked.get()
        });
        assert_eq!(status(&store), Some(Status::Running));
    }
    eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
    assert_eq!(attempt(&store), 1);
    // Dropped between hook and body: the body's attempt is given back.
    let recovered = plain::block_on(pay(&store).recover_async(async || Verdict::<u32>::NotDone));
    drop(recovered);
    eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
    assert_eq!(attempt(&store), 1);
}

#[test]
fn current_is_the_call_in_hook_and_body() {
    in_every_form(|form| {
        let clock = HandClock::summer();
        let (_folder, store) = clock.store();
        let first_token = Mutex::new(String::new());
        let cut = catch_unwind(AssertUnwindSafe(|| {
            form.make(pay(&store), || -> Paid {
                let call = current().unwrap();
                assert!(call.in_doubt_since().is_none());
                *first_token.lock().unwrap() = call.token();
                panic!("on purpose")
            })
        }));
        assert!(cut.is_err());
        eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
        clock.pass(WINDOW * 2);
        let check = |attempt: u32| {
            let call = current().unwrap();
            assert_eq!((call.name(), call.key(), call.attempt()), (NAME, "A-17", attempt));
            assert_eq!(call.token(), *first_token.lock().unwrap());
            let since = call.in_doubt_since().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let begun = u128::try_from(idem_tests::hand_clock::SUMMER_MS).unwrap();
            assert!((begun..begun + 1_000).contains(&since.as_millis()), "{since:?}");
        };
        let hook = || {
            check(1);
            Verdict::NotDone
        };
        let body = || {
            check(2);
            Ok::<u32, Error>(1)
        };
        assert_eq!(make(form, pay(&store), hook, body).unwrap(), 1);
        assert!(current().is_none());
    });
}

#[test]
fn of_two_callers_one_asks_and_the_other_waits() {
    in_every_form(|form| {
        for verdict in [Verdict::Done(5), Verdict::NotDone] {
            let (clock, _folder, store) = interrupted(form);
            clock.pass(WINDOW);
            let (halt, hooks, bodies) = (Halt::new(), Runs::new(), Runs::new());
            let hook = || {
                halt.stand();
                verdict
            };
            let paying = || {
                make(form, pay(&store), || hooks.count(|_| hook()), || bodies.count(|_| Ok::<u32, Error>(5)))
            };
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..4).map(|_| scope.spawn(paying)).collect();
                halt.wait_for(1);
                pause();
                assert_eq!(hooks.started(), 1, "two hooks run");
                halt.let_all_go();
                for caller in callers {
                    assert_eq!(caller.join().unwrap().unwrap(), 5);
                }
            });
            assert_eq!(hooks.started(), 1);
            assert_eq!(bodies.started(), usize::from(verdict == Verdict::NotDone));
        }
    });
}

#[test]
fn a_waiter_of_a_hook_that_does_not_know_asks_its_own_hook() {
    in_every_form(|form| {
        let (_clock, _folder, store) = interrupted(form);
        let (halt, hooks) = (Halt::new(), Runs::new());
        let hook = || {
            halt.stand();
            Verdict::<u32>::Unknown
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| make(form, pay(&store), || hooks.count(|_| hook()), not_run));
            halt.wait_for(1);
            let second = scope.spawn(|| make(form, pay(&store), || Verdict::Done(5), not_run));
            pause();
            halt.let_all_go();
            refused(first.join().unwrap(), ErrorKind::InDoubt);
            assert_eq!(second.join().unwrap().unwrap(), 5);
        });
        assert_eq!(hooks.most_at_once(), 1);
    });
}

// Rule 5.
#[test]
fn other_arguments_are_refused_before_the_hook_is_asked() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let with = |cents: u32| call(NAME).store(&store).key("A-17").arg("cents", &cents);
        form.cut_off(with(500));
        eventually("it is in doubt", || status(&store) == Some(Status::InDoubt));
        let error = make(form, with(501), not_asked, not_run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(make(form, with(500), || Verdict::Done(1), not_run).unwrap(), 1);
    });
}

#[test]
fn a_hook_may_make_calls_of_its_own_but_not_this_one() {
    in_every_form(|form| {
        let (_clock, _folder, store) = interrupted(form);
        let hook = || -> Result<Verdict<u32>, Error> {
            let itself = pay(&store).run(not_run).unwrap_err();
            assert_eq!(itself.kind(), ErrorKind::Reentrant);
            Ok(Verdict::Done(call("recover.ask").store(&store).key("A-17").run(|| Ok::<u32, Error>(9))?))
        };
        assert_eq!(make(form, pay(&store), hook, not_run).unwrap(), 9);
    });
}

#[derive(Debug, PartialEq)]
enum PayError {
    Ours(ErrorKind),
    Cut,
}

impl From<Error> for PayError {
    fn from(error: Error) -> PayError {
        PayError::Ours(error.kind())
    }
}

/// A provider that can be asked.
#[derive(Debug, Default)]
struct Bank {
    receipts: Mutex<Vec<(String, u32)>>,
    is_down: bool,
}

impl Bank {
    fn charge(&self, order: String) -> u32 {
        let mut receipts = self.receipts.lock().unwrap();
        let number = u32::try_from(receipts.len()).unwrap() + 1;
        receipts.push((order, number));
        number
    }

    fn find(&self, order: &str) -> Result<Verdict<u32>, std::num::ParseIntError> {
        if self.is_down {
            "down".parse::<u32>()?;
        }
        let receipts = self.receipts.lock().unwrap();
        let found = receipts.iter().find(|(of, _)| of == order);
        Ok(found.map_or(Verdict::NotDone, |(_, number)| Verdict::Done(*number)))
    }

    async fn ask(&self, order: &str) -> Result<Verdict<u32>, std::num::ParseIntError> {
        yield_now().await;
        self.find(order)
    }
}

#[idempotent(name = "recover.sync", key = order, skip(bank, cut), on_err = in_doubt, on_interrupt = recover(bank.find(&order)))]
fn pay_sync(bank: &Bank, order: String, cut: bool) -> Result<u32, PayError> {
    let number = bank.charge(order);
    if cut { Err(PayError::Cut) } else { Ok(number) }
}

#[idempotent(
    name = "recover.async",
    key = order,
    skip(bank, cut),
    on_err = in_doubt,
    on_interrupt = recover({
        let seen = bank.ask(&order).await?;
        Ok::<_, std::num::ParseIntError>(seen)
    })
)]
async fn pay_async(bank: &Bank, order: String, cut: bool) -> Result<u32, PayError> {
    yield_now().await;
    let number = bank.charge(order);
    if cut { Err(PayError::Cut) } else { Ok(number) }
}

type Pay = dyn Fn(&Bank, bool) -> Result<u32, PayError>;

#[test]
fn the_attribute_asks_with_the_arguments_before_the_body_takes_them() {
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        let awaited = |bank: &Bank, cut| plain::block_on(pay_async(bank, "A-17".to_owned(), cut));
        let blocking = |bank: &Bank, cut| pay_sync(bank, "A-17".to_owned(), cut);
        let pays: [&Pay; 2] = [&blocking, &awaited];
        for pay in pays {
            let mut bank = Bank::default();
            assert_eq!(pay(&bank, true), Err(PayError::Cut), "the provider charged and its answer was lost");
            bank.is_down = true;
            assert_eq!(pay(&bank, false), Err(PayError::Ours(ErrorKind::InDoubt)));
            bank.is_down = false;
            assert_eq!(pay(&bank, false), Ok(1), "the bank knows it");
            assert_eq!(pay(&bank, false), Ok(1));
            assert_eq!(bank.receipts.lock().unwrap().len(), 1);
        }
    });
}
