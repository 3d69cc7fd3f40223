//! Errors say what happened, whether the body ran, and the cure; never what was given or returned.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, Lifetime, Ran, Store, call, idempotent, on_err, with_store};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::Halt;
use idem_tests::plain::block_on;

const NAME: &str = "errors.pay";
/// What must be in no message.
const SECRET: &str = "4111-1111-1111-1111";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").arg("card", SECRET)
}

fn made(form: Form, call: Call) -> Error {
    form.make(call, || Ok::<String, Error>(SECRET.to_owned())).unwrap_err()
}

/// The message of an error of this kind has all these parts, and no secret.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, ran: Ran, parts: &[&str]) {
    assert_eq!((error.kind(), error.ran()), (kind, ran), "{error}");
    let (text, debug) = (error.to_string(), format!("{error:?}"));
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    assert!(!text.contains("4111") && !debug.contains("4111"), "a secret is in: {debug}");
    assert!(debug.contains(&text) && debug.contains(&format!("{kind:?}")), "`unwrap` shows: {debug}");
    assert!(!text.contains('\n') && !text.ends_with('.') || text.ends_with("yet."), "{text}");
}

#[test]
fn finished_and_interrupted_calls_explain_themselves() {
    in_every_form(|form| {
        let about = "`errors.pay` with key `A-17`: ";
        let store = Store::temporary().unwrap();
        pay(&store).keep_result(Lifetime::ZERO).run(|| Ok::<String, Error>(SECRET.to_owned())).unwrap();
        let gone = made(form, pay(&store));
        says(
            &gone,
            ErrorKind::ResultGone,
            Ran::No,
            &[about, "it is done", "keep_result", "Nothing was repeated"],
        );
        let other = call(NAME).store(&store).key("A-17").arg("card", "4111-2");
        says(
            &made(form, other),
            ErrorKind::Mismatch,
            Ran::No,
            &[about, "`card`", "not run", "`fingerprint = …`"],
        );

        let store = Store::temporary().unwrap();
        let doubts = pay(&store).on_err(on_err::InDoubt);
        doubts.run(|| Err::<u32, _>(SECRET.to_owned())).unwrap_err();
        let doubt = made(form, pay(&store));
        says(
            &doubt,
            ErrorKind::InDoubt,
            Ran::Unknown,
            &[about, "attempt 1", "Nothing was repeated", "`settle`"],
        );

        let store = Store::temporary().unwrap();
        pay(&store).run(|| Ok::<u32, Error>(41_111)).unwrap();
        let changed = form.make(pay(&store), || Ok::<Vec<String>, Error>(vec![]));
        let parts = [about, "it is done", "Nothing was repeated", "`codec = json`"];
        says(&changed.unwrap_err(), ErrorKind::Undecodable, Ran::No, &parts);
    });
}

#[test]
fn running_calls_explain_themselves() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let halt = Halt::new();
        let stands = std::sync::Arc::clone(&halt);
        let hung = form.spawn(pay(&store), move || {
            stands.stand();
            Ok::<String, Error>(SECRET.to_owned())
        });
        halt.wait_for(1);
        let running = made(form, pay(&store).wait(Duration::ZERO));
        says(&running, ErrorKind::Running, Ran::No, &["running", "not run", "Retry later"]);
        assert!(running.retry_after().is_some());
        store.steal(NAME, "A-17").unwrap();
        store.forget(NAME, "A-17").unwrap();
        halt.let_all_go();
        let fenced = hung.join().unwrap().0.unwrap_err();
        says(&fenced, ErrorKind::Fenced, Ran::Yes, &["`steal`", "not recorded", "Find out"]);
        assert_eq!((fenced.name(), fenced.key()), (Some(NAME), Some("A-17")));
    });
}

#[test]
fn mistakes_of_the_program_explain_themselves() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        says(&made(form, pay(&store).key("")), ErrorKind::BadKey, Ran::No, &["`errors.pay`", "empty"]);
        let twice = pay(&store).arg("card", "4111");
        says(&made(form, twice), ErrorKind::BadArgument, Ran::No, &["`card`", "skip(card)"]);
        let inner = form.make(pay(&store), || pay(&store).run(|| Ok::<String, Error>(SECRET.to_owned())));
        let parts = ["reached itself", "another key"];
        says(&inner.unwrap_err(), ErrorKind::Reentrant, Ran::No, &parts);
        store.close().unwrap();
        says(&made(form, pay(&store)), ErrorKind::Closed, Ran::No, &["closed", "open it again"]);
        let folder = tempfile::tempdir().unwrap();
        says(&Store::open(folder.path()).unwrap_err(), ErrorKind::Store, Ran::No, &["is a folder"]);
    });
}

#[test]
fn errors_become_what_functions_return() {
    #[idempotent(name = "errors.string", key = id)]
    fn string(id: &str) -> Result<u32, String> {
        Ok(u32::from(!id.is_empty()))
    }
    #[idempotent(name = "errors.io", key = id)]
    fn io(id: &str) -> io::Result<u32> {
        Ok(u32::from(!id.is_empty()))
    }
    #[idempotent(name = "errors.boxed", key = id)]
    async fn boxed(id: &str) -> Result<u32, Box<dyn StdError>> {
        Ok(id.parse()?)
    }
    #[idempotent(name = "errors.sync", key = id)]
    async fn send(id: &str) -> Result<u32, Box<dyn StdError + Send + Sync>> {
        Ok(id.parse()?)
    }
    #[idempotent(name = "errors.mapped", key = id, map_err = |error| (error.kind(), error.ran()))]
    fn mapped(id: &str) -> Result<u32, (ErrorKind, Ran)> {
        Ok(u32::from(!id.is_empty()))
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert!(string("").unwrap_err().contains("`errors.string`"));
        let error = io("").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inside = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(inside.kind(), ErrorKind::BadKey);
        let error = block_on(boxed("")).unwrap_err();
        assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::BadKey);
        let error = block_on(send("")).unwrap_err();
        assert_eq!(error.downcast_ref::<Error>().unwrap().ran(), Ran::No);
        assert_eq!(mapped("").unwrap_err(), (ErrorKind::BadKey, Ran::No));
    });
}

#[test]
fn errors_of_io_keep_their_kind_near() {
    let store = Store::temporary().unwrap();
    let kind = |call: Call| {
        let made = call.run(|| -> io::Result<u32> { Ok(1) });
        made.unwrap_err().kind()
    };
    pay(&store).run(|| Ok::<u32, Error>(1)).unwrap();
    let other = call(NAME).store(&store).key("A-17").arg("card", &1);
    assert_eq!(kind(other), io::ErrorKind::InvalidInput);
    call(NAME).store(&store).key("text").run(|| Ok::<String, Error>("x".to_owned())).unwrap();
    assert_eq!(kind(call(NAME).store(&store).key("text")), io::ErrorKind::InvalidData);
    Form::Sync.cut_off(call(NAME).store(&store).key("cut off"));
    assert_eq!(kind(call(NAME).store(&store).key("cut off")), io::ErrorKind::Other);
    let running = call(NAME).store(&store).key("running").run(|| {
        std::thread::scope(|scope| {
            let kind = || kind(call(NAME).store(&store).key("running").wait(Duration::ZERO));
            Ok::<_, Error>(scope.spawn(kind).join().unwrap() == io::ErrorKind::WouldBlock)
        })
    });
    assert!(running.unwrap());
}

#[test]
fn an_error_is_small_and_goes_anywhere() {
    fn goes_anywhere<T: StdError + Send + Sync + Clone + Unpin + 'static>() {}
    goes_anywhere::<Error>();
    assert!(size_of::<Error>() <= 2 * size_of::<usize>(), "it stands in every `Result`");
    let folder = tempfile::tempdir().unwrap();
    let missing = Store::open(folder.path().join("no such folder/idem.db")).unwrap_err();
    assert!(missing.to_string().contains("no such folder"), "{missing}");
    assert_eq!((missing.name(), missing.key(), missing.retry_after()), (None, None, None));
}
