//! `current().token()`: the key for a downstream service, equal at every attempt of one call.

use std::collections::BTreeSet;

use idem_runtime::{Error, OnInterrupt, Store, current, idempotent, on_err, with_store};
use idem_tests::deadline;
use idem_tests::form::{Form, in_every_form};
use idem_tests::plain::{block_on, yield_now};
use idem_tests::shared::call;

use crate::support::role;

const PART: &str = "call::tokens::the_program_that_tells_its_token";

fn tokens() -> [String; 3] {
    let call = current().unwrap();
    [call.token(), call.token_for("label"), call.token_for("mail")]
}

/// The tokens of a call that is made now.
fn tokens_of(form: Form, store: &Store, name: &'static str, key: &str) -> [String; 3] {
    form.make(call(name).store(store).key(key), || Ok::<_, Error>(tokens())).unwrap()
}

#[test]
fn a_token_is_a_uuid_of_version_eight() {
    let store = Store::temporary().unwrap();
    for token in tokens_of(Form::Sync, &store, "tokens.pay", "A-17") {
        let groups: Vec<usize> = token.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{token}");
        assert!(token.chars().all(|digit| digit == '-' || digit.is_ascii_hexdigit()), "{token}");
        assert_eq!(token.as_bytes()[14], b'8', "{token}");
        assert!(matches!(token.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{token}");
    }
}

#[test]
fn a_token_is_the_same_at_every_attempt_of_one_call() {
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = BTreeSet::new();
        for attempt in 1..=4 {
            // Every second attempt uses a store that was opened again.
            let store = Store::open(folder.path().join("idem.db")).unwrap();
            let call = || call("tokens.pay").store(&store).key("A-17").on_interrupt(OnInterrupt::rerun());
            let cut = form.make(call().on_err(on_err::InDoubt), || {
                assert_eq!(current().unwrap().attempt(), attempt);
                seen.insert(tokens());
                Err::<u32, String>("timed out".to_owned())
            });
            assert!(cut.is_err());
            if attempt % 2 == 0 {
                store.close().unwrap();
            }
        }
        let store = Store::open(folder.path().join("idem.db")).unwrap();
        // Released and made again it is still the same call.
        seen.insert(tokens_of(form, &store, "tokens.released", "B-4"));
        assert!(store.forget("tokens.released", "B-4").unwrap());
        seen.insert(tokens_of(form, &store, "tokens.released", "B-4"));
        assert_eq!(seen.len(), 2, "{seen:?}");
    });
}

#[test]
fn calls_steps_and_stores_have_tokens_of_their_own() {
    let (store, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let mut all = Vec::new();
    for (store, name, key) in [
        (&store, "tokens.a", "1"),
        (&store, "tokens.a", "2"),
        (&store, "tokens.a", "12"),
        (&store, "tokens.a1", "2"),
        (&store, "tokens.b", "1"),
        (&other, "tokens.a", "1"),
    ] {
        all.extend(tokens_of(Form::Plain, store, name, key));
    }
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn a_step_is_not_mistaken_for_another_call() {
    deadline::start();
    let store = Store::temporary().unwrap();
    let step = |key: &str, step: &str| {
        let call = call("tokens.step").store(&store).key(key);
        call.run(|| Ok::<_, Error>(current().unwrap().token_for(step))).unwrap()
    };
    let all = BTreeSet::from([step("k", "abc"), step("ka", "bc"), step("kab", "c"), step("kabc", "")]);
    assert_eq!(all.len(), 4);
}

#[test]
fn a_namespace_takes_the_place_of_the_store() {
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let open = |file: &str, namespace: &str| {
            let builder = Store::builder().token_namespace(namespace.to_owned());
            builder.open(folder.path().join(file)).unwrap()
        };
        let eu = tokens_of(form, &open("a.db", "shop-eu"), "tokens.pay", "A-17");
        // The store was lost: the downstream services know the call all the same.
        assert_eq!(tokens_of(form, &open("b.db", "shop-eu"), "tokens.pay", "A-17"), eu);
        let us = tokens_of(form, &open("c.db", "shop-us"), "tokens.pay", "A-17");
        let none = tokens_of(form, &Store::temporary().unwrap(), "tokens.pay", "A-17");
        let different: BTreeSet<_> = [eu, us, none].into_iter().flatten().collect();
        assert_eq!(different.len(), 9);
    });
}

#[test]
fn the_program_that_tells_its_token() {
    let Some(words) = role::words() else { return };
    let [store] = words.try_into().unwrap();
    let store = Store::open(store).unwrap();
    let _: Result<u32, Error> = call("tokens.pay").store(&store).key("A-17").run(|| {
        role::say(&format!("tokens {:?}", tokens()));
        role::stand_still()
    });
}

#[test]
fn a_token_is_the_same_in_another_process_after_a_kill() {
    for form in Form::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idem.db");
        let mut program = role::Program::start(PART, &[path.to_str().unwrap()]);
        let there = program.hear("tokens");
        program.kill();
        let store = Store::open(path).unwrap();
        let call = call("tokens.pay").store(&store).key("A-17").on_interrupt(OnInterrupt::rerun());
        let here =
            form.make(call, || Ok::<_, Error>((current().unwrap().attempt(), format!("{:?}", tokens()))));
        assert_eq!(here.unwrap(), (2, there));
    }
}

#[idempotent(name = "tokens.outer", key = id)]
async fn outer(id: u32) -> Result<[String; 3], Error> {
    let before = current().unwrap();
    let inner = inner(id)?;
    yield_now().await;
    let after = current().unwrap();
    assert_eq!((before.name(), before.key()), ("tokens.outer", "7"));
    assert_eq!((after.name(), after.token()), ("tokens.outer", before.token()));
    Ok([before.token(), inner, after.token_for("label")])
}

#[idempotent(name = "tokens.inner", key = id)]
fn inner(id: u32) -> Result<String, Error> {
    let call = current().unwrap();
    assert_eq!((call.name(), call.key(), call.attempt()), ("tokens.inner", "7", 1));
    assert!(call.in_doubt_since().is_none());
    Ok(call.token())
}

#[test]
fn current_is_the_innermost_call_and_none_outside() {
    assert!(current().is_none());
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert!(current().is_none(), "a store in scope is no call");
        let first = block_on(outer(7)).unwrap();
        let different: BTreeSet<_> = first.iter().collect();
        assert_eq!(different.len(), 3);
        // The stored token is the token that the program printed.
        assert_eq!(block_on(outer(7)).unwrap(), first);
        assert!(current().is_none());
    });
    // A thread of its own is out of sight.
    let elsewhere: Result<bool, Error> = call("tokens.thread").store(&store).key(&1).run(|| {
        assert!(current().is_some());
        Ok(std::thread::spawn(|| current().is_none()).join().unwrap())
    });
    assert!(elsewhere.unwrap());
}
