//! Errors state one fact, give the advice in `help()` and the causes in `source()`, and never show arguments or results.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use idem_runtime::{Call, Error, ErrorKind, Lifetime, Ran, Store, idempotent, on_err, with_store};
use idem_tests::form::{Form, in_every_form};
use idem_tests::halt::Halt;
use idem_tests::plain::block_on;
use idem_tests::shared::call;

const NAME: &str = "errors.pay";
/// What must be in no message.
const SECRET: &str = "4111-1111-1111-1111";

fn pay(store: &Store) -> Call {
    call(NAME).store(store).key("A-17").arg("card", SECRET)
}

fn made(form: Form, call: Call) -> Error {
    form.make(call, || Ok::<String, Error>(SECRET.to_owned())).unwrap_err()
}

/// The error of this kind has these parts in its `Display` and in its advice.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, ran: Ran, parts: &[&str], advice: &[&str]) {
    assert_eq!((error.kind(), error.ran()), (kind, ran), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is missing in: {error}");
    }
    for part in advice {
        assert!(error.help().contains(part), "`{part}` is missing in: {}", error.help());
    }
    assert_states_one_fact(error);
}

/// `Display` is one clause without advice and causes; `Debug` has everything once.
#[track_caller]
fn assert_states_one_fact(error: &Error) {
    let (text, shown) = (error.to_string(), format!("{error:?}"));
    let about = error.name().map_or(0, |_| text.find(": ").unwrap() + 2);
    let fact = text.get(about..).unwrap();
    assert!(fact.starts_with(|c: char| c.is_lowercase() || c == '`' || c.is_ascii_digit()), "{text}");
    assert!(!fact.contains(['\n', ';']) && !fact.contains(". ") && !fact.ends_with('.'), "{text}");
    assert!(text.chars().count() <= about + 240, "{text}");
    for advice in ["use `", "retry", "see `", "try again", "settle`", error.help()] {
        assert!(!text.to_lowercase().contains(advice), "advises `{advice}`: {text}");
    }
    assert!(shown.starts_with(&format!("{:?}: {text}\nbody ran: ", error.kind())), "{shown}");
    assert_eq!(shown.matches(error.help()).count(), 1, "{shown}");
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        assert!(!text.contains(&words), "repeats `{words}`: {text}");
        assert_eq!(shown.matches(&words).count(), 1, "{shown}");
        next = cause.source();
    }
    assert!(!shown.contains("4111"), "a secret is in: {shown}");
    for outside in [error.name(), error.key(), Some("`"), Some("/")].into_iter().flatten() {
        assert!(!error.detail().contains(outside), "`{outside}` is in: {}", error.detail());
    }
}

#[test]
fn finished_and_interrupted_calls_explain_themselves() {
    in_every_form(|form| {
        let about = "`errors.pay` with key `A-17`: ";
        let store = Store::temporary().unwrap();
        pay(&store).keep_result(Lifetime::ZERO).run(|| Ok::<String, Error>(SECRET.to_owned())).unwrap();
        let gone = made(form, pay(&store));
        let parts = [about, "attempt 1 is done", "`keep_result` is zero"];
        says(&gone, ErrorKind::ResultGone, Ran::No, &parts, &["`keep_result`"]);
        let other = made(form, call(NAME).store(&store).key("A-17").arg("card", "4111-2"));
        says(&other, ErrorKind::Mismatch, Ran::No, &[about, "`card` differs"], &["`fingerprint = …`"]);

        let store = Store::temporary().unwrap();
        let doubts = pay(&store).on_err(on_err::InDoubt);
        doubts.run(|| Err::<u32, _>(SECRET.to_owned())).unwrap_err();
        let doubt = made(form, pay(&store));
        let parts = [about, "attempt 1 is in doubt"];
        says(&doubt, ErrorKind::InDoubt, Ran::Unknown, &parts, &["`settle`"]);

        let store = Store::temporary().unwrap();
        pay(&store).run(|| Ok::<u32, Error>(41_111)).unwrap();
        let changed = form.make(pay(&store), || Ok::<Vec<String>, Error>(vec![])).unwrap_err();
        let parts = [about, "the stored result cannot be read"];
        says(&changed, ErrorKind::Undecodable, Ran::No, &parts, &["`codec = json`"]);
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
        says(&running, ErrorKind::Running, Ran::No, &["still running"], &["Retry later"]);
        assert!(running.retry_after().is_some());
        store.steal(NAME, "A-17").unwrap();
        store.forget(NAME, "A-17").unwrap();
        halt.let_all_go();
        let fenced = hung.join().unwrap().0.unwrap_err();
        let parts = ["an operator took the call", "not recorded"];
        says(&fenced, ErrorKind::Fenced, Ran::Yes, &parts, &["Find out"]);
        assert_eq!((fenced.name(), fenced.key()), (Some(NAME), Some("A-17")));
    });
}

#[test]
fn mistakes_of_the_program_explain_themselves() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let empty = made(form, pay(&store).key(""));
        says(&empty, ErrorKind::BadKey, Ran::No, &["`errors.pay`", "empty"], &["an integer"]);
        let twice = made(form, pay(&store).arg("card", "4111"));
        says(&twice, ErrorKind::BadArgument, Ran::No, &["`card`", "twice"], &["`skip(…)`"]);
        let inner = form.make(pay(&store), || pay(&store).run(|| Ok::<String, Error>(SECRET.to_owned())));
        let inner = inner.unwrap_err();
        says(&inner, ErrorKind::Reentrant, Ran::No, &["reached itself"], &["another key"]);
        store.close().unwrap();
        let closed = made(form, pay(&store));
        says(&closed, ErrorKind::Closed, Ran::No, &["the store is closed"], &["Open the store again"]);
        let homeless = made(form, call(NAME).key("A-17"));
        says(&homeless, ErrorKind::NotInitialised, Ran::No, &["no store"], &["`idem_runtime::init"]);
        let folder = tempfile::tempdir().unwrap();
        let refused = Store::open(folder.path()).unwrap_err();
        says(&refused, ErrorKind::Store, Ran::No, &["is a folder"], &["Name a file"]);
        let twice = || idem_runtime::call("errors.twice").store(&store).key("A-17");
        made(form, twice());
        let named = made(form, twice().same_for_types());
        let parts = ["errors::made", "with `same_for_types` share this name"];
        says(&named, ErrorKind::DuplicateName, Ran::No, &parts, &["another `name`", "`same_for_types`"]);
    });
}

#[test]
fn a_cause_is_in_the_source_and_not_in_the_display() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let error = Store::open(folder.path().join("file/idem.db")).unwrap_err();
    says(&error, ErrorKind::Store, Ran::No, &["could not look at"], &["permissions"]);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("Not a directory"), "{cause}");
    assert_eq!(String::from(error.clone()), format!("{error}: {cause}"), "a text has no `source()`");

    std::fs::write(folder.path().join("text.db"), "x".repeat(10_000)).unwrap();
    let error = Store::open(folder.path().join("text.db")).unwrap_err();
    says(&error, ErrorKind::Store, Ran::No, &["not an SQLite database"], &["Check the path"]);
    assert!(error.source().is_some(), "{error:?}");
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
    assert!(size_of::<Error>() <= 2 * size_of::<usize>(), "an error is part of every `Result`");
    let folder = tempfile::tempdir().unwrap();
    let missing = Store::open(folder.path().join("no such folder/idem.db")).unwrap_err();
    assert!(missing.to_string().contains("no such folder"), "{missing}");
    assert_eq!((missing.name(), missing.key(), missing.retry_after()), (None, None, None));
}
