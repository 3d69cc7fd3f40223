//! One name, one function: a second function of a name is refused, and its body does not run.

use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use idem_runtime::{
    Error, ErrorKind, Ran, Store, Verdict, call, idempotent, install, peek, settle, with_store,
};
use idem_tests::form::tokio_alone;
use idem_tests::plain::block_on;
use rusqlite::Connection;
use serde::Serialize;
use tokio::runtime::Runtime;

/// The first call runs, the second is refused with the names of both functions, and the first function continues.
#[track_caller]
fn second_is_refused<T: Debug + PartialEq>(
    first: impl Fn() -> Result<T, Error>,
    second: impl Fn() -> Result<T, Error>,
    functions: [&str; 2],
) {
    with_store(&Store::temporary().unwrap(), || {
        let result = first().unwrap();
        for _ in 0..2 {
            let error = second().unwrap_err();
            assert_eq!((error.kind(), error.ran()), (ErrorKind::DuplicateName, Ran::No), "{error}");
            let text = error.to_string();
            assert!(functions.iter().all(|function| text.contains(function)), "{text}");
            assert!(error.help().contains("`same_for_types`"), "{}", error.help());
        }
        assert_eq!(first().unwrap(), result, "the first function goes on");
    });
}

trait Event: Serialize {
    const KIND: &'static str;
    fn id(&self) -> u64;
}

#[derive(Serialize)]
struct Placed(u64);

#[derive(Serialize)]
struct Cancelled(u64);

impl Event for Placed {
    const KIND: &'static str = "placed";
    fn id(&self) -> u64 {
        self.0
    }
}

impl Event for Cancelled {
    const KIND: &'static str = "cancelled";
    fn id(&self) -> u64 {
        self.0
    }
}

#[idempotent(key = event.id())]
fn publish<E: Event>(event: &E) -> Result<String, Error> {
    Ok(format!("{} {}", E::KIND, event.id()))
}

#[idempotent(key = event.id())]
fn publish_any(event: &impl Event) -> Result<u64, Error> {
    Ok(event.id())
}

#[idempotent(key = event.id())]
async fn publish_async<E: Event + Sync>(event: &E) -> Result<String, Error> {
    Ok(E::KIND.to_owned())
}

#[test]
fn instances_of_a_generic_function_are_different_functions() {
    second_is_refused(
        || publish(&Placed(7)),
        || publish(&Cancelled(7)),
        ["publish<it::attribute::identity::Placed>", "publish<it::attribute::identity::Cancelled>"],
    );
    second_is_refused(
        || publish_any(&Placed(7)),
        || publish_any(&Cancelled(7)),
        ["publish_any<it::attribute::identity::Placed>", "publish_any<it::attribute::identity::Cancelled>"],
    );
    second_is_refused(
        || block_on(publish_async(&Placed(7))),
        || block_on(publish_async(&Cancelled(7))),
        [
            "publish_async<it::attribute::identity::Placed>",
            "publish_async<it::attribute::identity::Cancelled>",
        ],
    );
}

struct Repo<T>(T);

impl<T> Repo<T> {
    #[idempotent(name = "identity.delete", key = id, skip(self))]
    fn delete(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[idempotent(name = "identity.create", key = id)]
    fn create(id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

#[test]
fn methods_of_a_generic_type_are_different_functions() {
    let (orders, invoices) = (Repo(Placed(1)), Repo(Cancelled(1)));
    assert_eq!(orders.0.0, invoices.0.0);
    second_is_refused(
        || orders.delete(7),
        || invoices.delete(7),
        ["Repo<it::attribute::identity::Placed>::delete", "Repo<it::attribute::identity::Cancelled>::delete"],
    );
    second_is_refused(
        || Repo::<Placed>::create(7),
        || Repo::<Cancelled>::create(7),
        ["Repo<it::attribute::identity::Placed>::create", "Repo<it::attribute::identity::Cancelled>::create"],
    );
}

#[async_trait]
trait Pay: Event + Sync {
    #[idempotent(name = "identity.pay", key = self.id(), skip(self))]
    fn pay(&self) -> Result<String, Error> {
        Ok(Self::KIND.to_owned())
    }

    #[idempotent(name = "identity.pay_async", key = self.id(), skip(self))]
    async fn pay_async(&self) -> Result<String, Error> {
        Ok(Self::KIND.to_owned())
    }
}

impl Pay for Placed {}
impl Pay for Cancelled {}

#[test]
fn default_bodies_of_a_trait_are_different_functions() {
    let functions = |method: &str| {
        ["Placed", "Cancelled"]
            .map(|ty| format!("<it::attribute::identity::{ty} as it::attribute::identity::Pay>::{method}"))
    };
    let [placed, cancelled] = functions("pay");
    second_is_refused(|| Placed(7).pay(), || Cancelled(7).pay(), [&placed, &cancelled]);
    let [placed, cancelled] = functions("pay_async");
    second_is_refused(
        || block_on(Placed(7).pay_async()),
        || block_on(Cancelled(7).pay_async()),
        [&placed, &cancelled],
    );
}

macro_rules! siblings {
    ($($function:ident)*) => {
        $(
            #[idempotent(name = "identity.siblings", key = n)]
            fn $function(n: u32) -> Result<String, Error> {
                Ok(format!("{} {n}", stringify!($function)))
            }
        )*
    };
}

macro_rules! same_siblings {
    ($($function:ident)*) => {
        $(
            #[idempotent(name = "identity.same_siblings", key = n, same_for_types)]
            fn $function(n: u32) -> Result<String, Error> {
                Ok(format!("{} {n}", stringify!($function)))
            }
        )*
    };
}

siblings!(us eu);
same_siblings!(north south);

#[test]
fn functions_of_one_macro_are_different_functions() {
    second_is_refused(|| us(1), || eu(1), ["identity::us", "identity::eu"]);
    second_is_refused(
        || north(1),
        || south(1),
        ["attribute/identity.rs:184:16`", "attribute/identity.rs:184:22`"],
    );
}

#[test]
fn a_nested_function_needs_a_name_on_its_first_call() {
    fn a() -> Result<u32, Error> {
        #[idempotent(key = n)]
        fn step(n: u32) -> Result<u32, Error> {
            Ok(n)
        }
        step(1)
    }
    fn b() -> Result<u32, Error> {
        #[idempotent(key = n)]
        async fn step<T: Copy + Serialize>(n: T) -> Result<u32, Error> {
            let _ = n;
            Ok(2)
        }
        block_on(step(1_u32))
    }
    struct Shop;
    impl Shop {
        #[idempotent(key = n)]
        fn step(n: u32) -> Result<u32, Error> {
            Ok(n)
        }
    }
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        for (call, path) in [
            (a as fn() -> _, "a_nested_function_needs_a_name_on_its_first_call::a::step`"),
            (b, "a_nested_function_needs_a_name_on_its_first_call::b::step<u32>`"),
            (|| Shop::step(1), "::Shop::step`"),
        ] {
            for _ in 0..2 {
                let error = call().unwrap_err();
                assert_eq!((error.kind(), error.ran()), (ErrorKind::DuplicateName, Ran::No), "{error}");
                assert!(error.to_string().contains(path), "{error}");
                assert!(error.help().contains("Write a `name`"), "{}", error.help());
            }
        }
    });
    assert_eq!(store.stats().unwrap().records, 0, "no body ran");
}

#[idempotent(key = event.id(), detach)]
async fn detached<E: Event + Send + Sync + 'static>(event: E) -> Result<String, Error> {
    Ok(E::KIND.to_owned())
}

#[idempotent(key = event.id(), on_interrupt = recover(asked::<E>()))]
fn recovered<E: Event>(event: &E) -> Result<String, Error> {
    Ok(E::KIND.to_owned())
}

#[idempotent(key = event.id(), detach, on_interrupt = recover(async { asked::<E>() }.await))]
async fn detached_recovered<E: Event + Send + Sync + 'static>(event: E) -> Result<String, Error> {
    Ok(E::KIND.to_owned())
}

#[idempotent(key = event.id(), tx = conn)]
fn written<E: Event>(conn: &Connection, event: &E) -> Result<String, Error> {
    Ok(E::KIND.to_owned())
}

fn asked<E: Event>() -> Verdict<String> {
    ASKED.fetch_add(1, Ordering::Relaxed);
    Verdict::Done(E::KIND.to_owned())
}

static ASKED: AtomicU64 = AtomicU64::new(0);

#[test]
fn functions_in_every_mode_have_an_identity() {
    let runtime = tokio_alone();
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the path is absolute, and no URI")]
    let conn = Connection::open(folder.path().join("app.db")).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    install(&conn).unwrap();
    let functions =
        |name: &str| ["Placed", "Cancelled"].map(|ty| format!("{name}<it::attribute::identity::{ty}>"));
    let [placed, cancelled] = functions("::detached");
    second_is_refused(
        || runtime.block_on(detached(Placed(7))),
        || runtime.block_on(detached(Cancelled(7))),
        [&placed, &cancelled],
    );
    let [placed, cancelled] = functions("::recovered");
    second_is_refused(|| recovered(&Placed(7)), || recovered(&Cancelled(7)), [&placed, &cancelled]);
    let [placed, cancelled] = functions("::detached_recovered");
    second_is_refused(
        || runtime.block_on(detached_recovered(Placed(7))),
        || runtime.block_on(detached_recovered(Cancelled(7))),
        [&placed, &cancelled],
    );
    let [placed, cancelled] = functions("::written");
    second_is_refused(|| written(&conn, &Placed(7)), || written(&conn, &Cancelled(7)), [&placed, &cancelled]);
    assert_eq!(ASKED.load(Ordering::Relaxed), 0, "nothing was interrupted");
}

#[test]
fn the_hook_of_a_second_function_is_not_asked() {
    #[idempotent(name = "identity.cut", key = id)]
    fn cut(id: u64) -> Result<u64, Error> {
        panic!("cut off on purpose: {id}")
    }
    #[idempotent(name = "identity.cut", key = id, on_interrupt = recover(unreachable(id)))]
    fn other(id: u64) -> Result<u64, Error> {
        Ok(id)
    }
    fn unreachable(id: u64) -> Verdict<u64> {
        unreachable!("the hook of another function is asked about {id}")
    }
    with_store(&Store::temporary().unwrap(), || {
        std::panic::catch_unwind(|| cut(1)).unwrap_err();
        assert_eq!(other(1).unwrap_err().kind(), ErrorKind::DuplicateName);
        assert_eq!(cut(1).unwrap_err().kind(), ErrorKind::InDoubt);
    });
}

/// A helper that takes the closures of its callers. Each closure is a function.
fn made<F>(runtime: &Runtime, mode: usize, body: F) -> Result<u32, Error>
where
    F: FnOnce() -> Result<u32, Error> + Send + 'static,
{
    let call = |name| call(name).key(&1);
    let unknown = || Verdict::<u32>::Unknown;
    match mode {
        0 => call("identity.run").run(body),
        1 => runtime.block_on(call("identity.async").run_async(async || body())),
        2 => runtime.block_on(call("identity.detach").detach().run_async(async || body())),
        3 => call("identity.recover").recover(unknown).run(body),
        4 => call("identity.recover_item").recover(ask_nobody).run(body),
        5 => runtime.block_on(async {
            let recovered = call("identity.recover_async").recover_async(async || ask_nobody()).await;
            recovered.run_async(async || body()).await
        }),
        _ => runtime.block_on(async {
            let call = call("identity.recover_detach").detach();
            call.recover_async(ask_nobody_async).await.run_async(async || body()).await
        }),
    }
}

fn ask_nobody() -> Verdict<u32> {
    Verdict::Unknown
}

async fn ask_nobody_async() -> Verdict<u32> {
    Verdict::Unknown
}

fn first(runtime: &Runtime, mode: usize) -> Result<u32, Error> {
    made(runtime, mode, || Ok(1))
}

fn second(runtime: &Runtime, mode: usize) -> Result<u32, Error> {
    made(runtime, mode, || Ok(2))
}

#[test]
fn closures_of_other_functions_are_different_functions() {
    let runtime = tokio_alone();
    for mode in 0..7 {
        second_is_refused(
            || first(&runtime, mode),
            || second(&runtime, mode),
            ["attribute::identity::first", "attribute::identity::second"],
        );
    }
}

#[test]
fn a_helper_whose_name_and_key_tell_closures_apart_says_so() {
    fn once<F: FnOnce() -> Result<u32, Error>>(topic: &'static str, body: F) -> Result<u32, Error> {
        call("identity.helper").same_for_types().key(topic).run(body)
    }
    fn also<F: FnOnce() -> Result<u32, Error>>(topic: &'static str, body: F) -> Result<u32, Error> {
        call("identity.helper").same_for_types().key(topic).run(body)
    }
    with_store(&Store::temporary().unwrap(), || {
        assert_eq!(once("a", || Ok(1)).unwrap(), 1);
        assert_eq!(once("b", || Ok(2)).unwrap(), 2);
        assert_eq!(also("b", || Ok(3)).unwrap(), 2, "all who say so share the records");
        let silent = call("identity.helper").key("c").run(|| Ok::<u32, Error>(4)).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::DuplicateName);
        let text = silent.to_string();
        assert!(
            text.contains("functions with `same_for_types` and `") && text.contains("says_so`"),
            "{text}"
        );
    });
}

#[idempotent(key = text.as_ref(), skip(text), same_for_types)]
fn carries_text(text: impl AsRef<str>) -> Result<u64, Error> {
    Ok(text.as_ref().len() as u64)
}

trait Gateway {
    fn charge(&self, id: u64) -> u64;
}

struct Live;
struct Double;

impl Gateway for Live {
    fn charge(&self, id: u64) -> u64 {
        id + 1
    }
}

impl Gateway for Double {
    fn charge(&self, id: u64) -> u64 {
        id + 2
    }
}

#[idempotent(key = id, skip(gateway), same_for_types)]
fn charge<G: Gateway>(gateway: &G, id: u64) -> Result<u64, Error> {
    Ok(gateway.charge(id))
}

#[idempotent(key = id, skip(body), same_for_types)]
async fn with_body<F, Fut>(id: u64, body: F) -> Result<u64, Error>
where
    F: FnOnce(u64) -> Fut,
    Fut: Future<Output = u64>,
{
    Ok(body(id).await)
}

#[test]
fn a_function_that_does_the_same_for_every_type_says_so() {
    with_store(&Store::temporary().unwrap(), || {
        assert_eq!(carries_text("abc").unwrap(), 3);
        assert_eq!(carries_text(String::from("abc")).unwrap(), 3);
        assert_eq!(charge(&Live, 1).unwrap(), 2);
        assert_eq!(charge(&Double, 1).unwrap(), 2, "replayed");
        assert_eq!(charge(&Double, 2).unwrap(), 4);
        assert_eq!(block_on(with_body(1, async |id| id)).unwrap(), 1);
        let other = |id| std::future::ready(id + 1);
        assert_eq!(block_on(with_body(1, other)).unwrap(), 1, "replayed");
    });
}

#[idempotent(key = (E::KIND, N, id))]
fn told_apart<E: Event, const N: u8>(id: u64) -> Result<String, Error> {
    Ok(format!("{} {N} {id}", E::KIND))
}

#[test]
fn a_key_with_a_constant_of_every_type_tells_instances_apart() {
    with_store(&Store::temporary().unwrap(), || {
        assert_eq!(told_apart::<Placed, 1>(7).unwrap(), "placed 1 7");
        assert_eq!(told_apart::<Cancelled, 1>(7).unwrap(), "cancelled 1 7");
        assert_eq!(told_apart::<Cancelled, 2>(7).unwrap(), "cancelled 2 7");
    });
}

struct Shop<T>(T);

impl<T> Shop<T> {
    #[idempotent(name = "identity.of_type", key = (E::KIND, id), skip(self))]
    fn of_type<E: Event>(&self, id: u64) -> Result<String, Error> {
        Ok(format!("{} {id}", E::KIND))
    }
}

#[test]
fn a_key_does_not_tell_the_types_of_the_impl_apart() {
    let (first, second) = (Shop(1_u8), Shop(1_u16));
    assert_eq!(u16::from(first.0), second.0);
    second_is_refused(
        || first.of_type::<Placed>(7),
        || second.of_type::<Placed>(7),
        ["Shop<u8>::of_type", "Shop<u16>::of_type"],
    );
    with_store(&Store::temporary().unwrap(), || {
        assert_eq!(first.of_type::<Cancelled>(7).unwrap(), "cancelled 7");
    });
}

#[idempotent(key = id)]
async fn from_everywhere(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[async_trait]
trait Refund {
    async fn refund(&self, id: u64) -> Result<u64, Error>;
}

struct Card;

#[async_trait]
impl Refund for Card {
    #[idempotent(name = "identity.refund", key = id, skip(self))]
    async fn refund(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }
}

#[test]
fn one_function_is_called_from_many_places_threads_and_executors() {
    let store = Store::temporary().unwrap();
    let runtime = tokio_alone();
    with_store(&store, || {
        assert_eq!(block_on(from_everywhere(1)).unwrap(), 1);
        assert_eq!(runtime.block_on(async { from_everywhere(1).await }).unwrap(), 1);
        let card: &dyn Refund = &Card;
        assert_eq!(block_on(card.refund(1)).unwrap(), 1);
        assert_eq!(runtime.block_on(Card.refund(1)).unwrap(), 1);
    });
    let other = store.clone();
    let thread = std::thread::spawn(move || with_store(&other, || block_on(from_everywhere(1))));
    assert_eq!(thread.join().unwrap().unwrap(), 1);
}

#[test]
fn a_call_that_is_inspected_through_another_function_is_refused() {
    with_store(&Store::temporary().unwrap(), || {
        assert!(peek(|| inspected::<Cancelled>(1)).unwrap().is_none(), "no function is known yet");
        inspected::<Placed>(1).unwrap_err();
        assert_eq!(peek(|| inspected::<Cancelled>(1)).unwrap_err().kind(), ErrorKind::DuplicateName);
        let settled = settle(Verdict::Done("x".to_owned()), || inspected::<Cancelled>(1));
        assert_eq!(settled.unwrap_err().kind(), ErrorKind::DuplicateName);
        settle(Verdict::Done("x".to_owned()), || inspected::<Placed>(1)).unwrap();
        assert_eq!(inspected::<Placed>(1).unwrap(), "x");
    });
}

#[idempotent(name = "identity.inspected", key = (id, size_of::<E>()), on_err = in_doubt)]
fn inspected<E: Event>(id: u64) -> Result<String, Error> {
    // A call that has no key fails: the outcome of this one is then unknown.
    call("identity.no_key").run(|| Ok(format!("{} {id}", E::KIND)))
}
