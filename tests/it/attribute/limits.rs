//! Every limit, and one beyond it.

use std::time::Duration;

use idem_runtime::{Codec, Error, ErrorKind, Lifetime, Ran, Store};
use idem_tests::deadline;
use idem_tests::form::in_every_form;
use idem_tests::shared::call;

const NAME: &str = "limits.pay";

#[test]
fn a_key_has_at_most_1024_bytes() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = |key: &str| form.make(call(NAME).store(&store).key(key), || Ok::<u32, Error>(1));
        made(&"x".repeat(1_024)).unwrap();
        made(&"ß".repeat(512)).unwrap();
        for long in ["x".repeat(1_025), "ß".repeat(513), "x".repeat(1 << 20)] {
            let error = made(&long).unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::BadKey, Ran::No));
            let text = error.to_string();
            assert!(text.len() < 500 && text.contains("1024") || text.contains("1,024"), "{text}");
        }
        // The text of the key counts, quotes and brackets too: `["x…x"]`.
        let tuple =
            |n: usize| form.make(call(NAME).store(&store).key(&("x".repeat(n),)), || Ok::<u32, Error>(1));
        tuple(1_020).unwrap();
        assert_eq!(tuple(1_021).unwrap_err().kind(), ErrorKind::BadKey);
        assert_eq!(store.stats().unwrap().records, 3);
    });
}

// Rule 7. Field 13.
#[test]
fn a_result_has_at_most_the_bytes_of_the_store() {
    in_every_form(|form| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::builder().result_bytes_max(100).open(folder.path().join("idem.db")).unwrap();
        // In JSON the text has two quotes, in bincode a byte for its length.
        for (codec, longest) in [(Codec::Json, 98), (Codec::Bincode, 99)] {
            let made = |n: usize| {
                let call = call(NAME).store(&store).key(&(n, format!("{codec}"))).codec(codec);
                form.make(call, || Ok::<String, Error>("x".repeat(n)))
            };
            assert_eq!([made(longest).unwrap(), made(longest).unwrap()].map(|text| text.len()), [longest; 2]);
            assert_eq!(made(longest + 1).unwrap().len(), longest + 1, "the first caller gets it");
            assert_eq!(made(longest + 1).unwrap_err().kind(), ErrorKind::ResultGone);
        }
    });
}

#[test]
fn a_result_of_a_mebibyte_is_stored_by_default() {
    deadline::start();
    let store = Store::temporary().unwrap();
    let made = |n: usize| call(NAME).store(&store).key(&n).run(|| Ok::<String, Error>("x".repeat(n)));
    let most = (1 << 20) - 5;
    assert_eq!([made(most).unwrap().len(), made(most).unwrap().len()], [most; 2]);
    made(1 << 20).unwrap();
    assert_eq!(made(1 << 20).unwrap_err().kind(), ErrorKind::ResultGone);
}

#[test]
fn a_name_has_1_to_200_bytes() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = |name: String| form.make(call(name).store(&store).key("A-17"), || Ok::<u32, Error>(1));
        made("n".repeat(200)).unwrap();
        made("ß".repeat(100)).unwrap();
        for bad in [String::new(), "n".repeat(201), "ß".repeat(101)] {
            let error = made(bad).unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::BadArgument, Ran::No));
            assert!(error.to_string().contains("200"), "{error}");
        }
        assert_eq!(store.stats().unwrap().records, 2);
    });
}

#[test]
fn a_fingerprint_has_at_most_255_arguments() {
    deadline::start();
    let names: Vec<&'static str> = (0..256).map(|n| &*format!("a{n}").leak()).collect();
    let store = Store::temporary().unwrap();
    let made = |count: usize| {
        let start = call(NAME).store(&store).key(&count);
        let call = names.iter().take(count).fold(start, |call, name| call.arg(name, &1));
        call.run(|| Ok::<u32, Error>(1)).map_err(|error| error.kind())
    };
    assert_eq!([made(255), made(255)], [Ok(1), Ok(1)]);
    assert_eq!(made(256), Err(ErrorKind::BadArgument));
}

#[test]
fn durations_may_be_as_long_as_they_like() {
    in_every_form(|form| {
        let store = Store::temporary().unwrap();
        let made = || {
            let call = call(NAME).store(&store).key("A-17").wait(Duration::MAX).ttl(Duration::MAX);
            form.make(call.keep_result(Duration::MAX), || Ok::<u32, Error>(1))
        };
        assert_eq!([made().unwrap(), made().unwrap()], [1, 1]);
        assert_eq!(Lifetime::from(Duration::MAX), Lifetime::FOREVER);
    });
}
