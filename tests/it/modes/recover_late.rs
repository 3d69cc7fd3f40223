//! Recovery after a kill: an effect that arrives after the hook was asked, and a hook whose process is killed.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use idem_runtime::{Error, ErrorKind, Status, Store, Verdict, current};
use idem_tests::form::{Form, tokio_alone};
use idem_tests::halt::eventually;
use idem_tests::hand_clock::{HandClock, SUMMER_MS};
use idem_tests::shared::call;

use crate::support::role::{self, Program};

const BEFORE: &str = "modes::recover_late::the_program_before_the_restart";
const ASKER: &str = "modes::recover_late::the_asker";
const SENDER: &str = "modes::recover_late::the_sender";

/// Charges through the provider and never gets its answer.
#[test]
fn the_sender() {
    let Some(words) = role::words() else { return };
    let [store, provider] = words.try_into().unwrap();
    let store = Store::open(store).unwrap();
    let charged: Result<u32, Error> = call("late.charge").store(&store).key("A-17").run(|| {
        let mut stream = TcpStream::connect(provider).unwrap();
        writeln!(stream, "{}", current().unwrap().token()).unwrap();
        role::say("sent");
        role::stand_still()
    });
    unreachable!("{charged:?}");
}

/// A provider in trouble: its connections are taken by the kernel, and read when it gets round to it.
struct Provider {
    listener: TcpListener,
    charges: Mutex<Vec<String>>,
}

impl Provider {
    fn new() -> Provider {
        Provider { listener: TcpListener::bind("127.0.0.1:0").unwrap(), charges: Mutex::default() }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Reads the next request.
    fn work(&self) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut token = String::new();
        BufReader::new(stream).read_line(&mut token).unwrap();
        self.charge(token.trim_end());
    }

    fn charge(&self, token: &str) -> u32 {
        let mut charges = self.charges.lock().unwrap();
        charges.push(token.to_owned());
        u32::try_from(charges.len()).unwrap()
    }

    /// The provider's answer to the hook.
    fn ask(&self, token: &str) -> Verdict<u32> {
        let found = self.charges.lock().unwrap().iter().position(|charge| charge == token);
        found.map_or(Verdict::NotDone, |at| Verdict::Done(u32::try_from(at + 1).unwrap()))
    }
}

/// A store with a call whose process was killed after it sent its request, which the provider has not read yet.
fn killed_after_sending(provider: &Provider, window: Duration) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idem.db");
    let mut sender = Program::start(SENDER, &[path.to_str().unwrap(), &provider.address()]);
    sender.hear("sent");
    sender.kill();
    let store = Store::builder().settle_window(window).open(path).unwrap();
    (folder, store)
}

fn recover(form: Form, store: &Store, provider: &Provider) -> Result<u32, Error> {
    let hook = || provider.ask(&current().unwrap().token());
    let body = || Ok(provider.charge(&current().unwrap().token()));
    let call = call("late.charge").store(store).key("A-17");
    match form {
        Form::Sync => call.recover(hook).run(body),
        _ => tokio_alone().block_on(async {
            let recovered = call.recover_async(async || hook()).await;
            recovered.run_async(async || body()).await
        }),
    }
}

#[test]
fn within_the_settle_window_a_late_payment_is_not_charged_twice() {
    for form in [Form::Sync, Form::Tokio] {
        let provider = Provider::new();
        let window = Duration::from_secs(60);
        let (_folder, store) = killed_after_sending(&provider, window);
        let error = recover(form, &store, &provider).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InDoubt, "{error}");
        let retry_after = error.retry_after().unwrap();
        assert!(!retry_after.is_zero() && retry_after <= window, "{retry_after:?}");
        // The dead sender's request arrives.
        provider.work();
        assert_eq!(recover(form, &store, &provider).unwrap(), 1, "the provider knows it now");
        assert_eq!(provider.charges.lock().unwrap().len(), 1);
    }
}

#[test]
fn after_the_settle_window_a_payment_that_never_arrived_is_charged() {
    for form in [Form::Sync, Form::Tokio] {
        let provider = Provider::new();
        let (_folder, store) = killed_after_sending(&provider, Duration::from_millis(150));
        assert_eq!(recover(form, &store, &provider).unwrap_err().kind(), ErrorKind::InDoubt);
        eventually("the window is over", || recover(form, &store, &provider).is_ok());
        assert_eq!(provider.charges.lock().unwrap().len(), 1);
    }
}

/// Why there is a window at all.
#[test]
fn without_a_settle_window_a_late_payment_is_charged_twice() {
    let provider = Provider::new();
    let (_folder, store) = killed_after_sending(&provider, Duration::ZERO);
    assert_eq!(recover(Form::Sync, &store, &provider).unwrap(), 1);
    provider.work();
    let charges = provider.charges.lock().unwrap();
    assert_eq!(charges.len(), 2, "the late request never came: the tests above show nothing");
    // What saves the day is a provider that knows its idempotency keys.
    assert_eq!(charges[0], charges[1]);
}

/// Asks and never gets the answer.
#[test]
fn the_asker() {
    let Some(words) = role::words() else { return };
    let [store] = words.try_into().unwrap();
    let store = Store::builder().settle_window(Duration::ZERO).open(store).unwrap();
    let call = call("late.charge").store(&store).key("A-17");
    let asked = call.recover(|| -> Verdict<u32> {
        role::say("asks");
        role::stand_still()
    });
    let charged: Result<u32, Error> = asked.run(|| unreachable!("the program got no line"));
    unreachable!("{charged:?}");
}

#[test]
fn a_hook_that_is_killed_leaves_the_call_in_doubt_and_is_no_attempt() {
    for form in [Form::Sync, Form::Tokio] {
        let provider = Provider::new();
        let (folder, store) = killed_after_sending(&provider, Duration::ZERO);
        let path = folder.path().join("idem.db");
        for _ in 0..2 {
            let mut asker = Program::start(ASKER, &[path.to_str().unwrap()]);
            asker.hear("asks");
            let seen = store.get("late.charge", "A-17").unwrap().unwrap();
            assert_eq!((seen.status(), seen.attempt()), (Status::Running, 1));
            asker.kill();
            let seen = store.get("late.charge", "A-17").unwrap().unwrap();
            assert_eq!((seen.status(), seen.attempt()), (Status::InDoubt, 1));
        }
        let refused =
            call("late.charge").store(&store).key("A-17").run(|| -> Result<u32, Error> { unreachable!() });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InDoubt);
        provider.work();
        assert_eq!(recover(form, &store, &provider).unwrap(), 1);
    }
}

/// Stands in its body when the machine stops.
#[test]
fn the_program_before_the_restart() {
    let Some(words) = role::words() else { return };
    let [store] = words.try_into().unwrap();
    let store = Store::builder().clock(HandClock::summer()).open(store).unwrap();
    let charged: Result<u32, Error> = call("late.charge").store(&store).key("A-17").run(|| {
        role::say("runs");
        role::stand_still()
    });
    unreachable!("{charged:?}");
}

#[test]
fn a_call_before_a_restart_of_the_machine_has_a_settle_window_too() {
    for form in [Form::Sync, Form::Tokio] {
        for restarted in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("idem.db");
            let mut before = Program::start(BEFORE, &[path.to_str().unwrap()]);
            before.hear("runs");
            before.kill();
            let clock = HandClock::summer();
            if restarted {
                clock.reboot(SUMMER_MS + 60_000);
            }
            let store = Store::builder().clock(clock.clone()).open(path).unwrap();
            let provider = Provider::new();
            let charged = recover(form, &store, &provider);
            assert_eq!(charged.unwrap_err().retry_after(), Some(Duration::from_secs(30)), "{restarted}");
            clock.pass(Duration::from_secs(30));
            assert_eq!(recover(form, &store, &provider).unwrap(), 1, "{restarted}");
        }
    }
}
