//! Every shape of a blocking function runs once and is replayed.

use std::{borrow::Cow, fmt::Display, io, pin::Pin, sync::Arc};

use idem_runtime::{Error, Store, idempotent, with_store};
use serde::{Deserialize, Serialize};

use crate::support::runs_once::{fresh, runs_once};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: String,
    cents: u64,
}

fn order(id: &str) -> Order {
    Order { id: id.to_owned(), cents: 100 }
}

#[test]
fn plain_function() {
    #[idempotent(name = "shapes.charge", key = id)]
    fn charge(id: u64) -> Result<u64, Error> {
        let _ = id;
        Ok(fresh())
    }
    runs_once(charge);
}

#[test]
fn owned_borrowed_and_copied_arguments() {
    #[idempotent(name = "shapes.by_reference", key = order.id)]
    fn by_reference(order: &Order, tenant: &str, cents: u64) -> Result<u64, Error> {
        Ok(fresh() + u64::from(tenant.is_empty()) + cents - order.cents)
    }
    #[idempotent(name = "shapes.by_value", key = (tenant, order.id))]
    fn by_value(order: Order, tenant: String) -> Result<u64, Error> {
        // Both are moved by the body, after they were lent to the key.
        drop((order, tenant));
        Ok(fresh())
    }
    #[idempotent(name = "shapes.as_cow", key = text)]
    fn as_cow(text: Cow<'_, str>) -> Result<u64, Error> {
        Ok(fresh() + u64::from(text.is_empty()))
    }
    runs_once(|n| by_reference(&order(&format!("o{n}")), "eu", 100));
    runs_once(|n| by_value(order(&format!("o{n}")), "eu".to_owned()));
    runs_once(|n| as_cow(Cow::Owned(n.to_string())));
}

#[test]
fn key_expressions() {
    #[idempotent(name = "shapes.cast", key = n + 1)]
    fn cast(n: u64) -> Result<u64, Error> {
        Ok(fresh() + n - n)
    }
    #[idempotent(name = "shapes.formatted", key = format!("{n:>4}"))]
    fn formatted(n: u64) -> Result<u64, Error> {
        Ok(fresh() + n - n)
    }
    #[idempotent(name = "shapes.fallible", key = text.parse::<u64>()?, map_err = |error| error.to_string().into())]
    fn fallible(text: &str) -> Result<u64, Box<dyn std::error::Error>> {
        Ok(fresh() + u64::from(text.is_empty()))
    }
    #[idempotent(name = "shapes.nested", key = (order.id, ("v1", order.cents)))]
    fn nested(order: Order) -> Result<String, Error> {
        Ok(format!("{}{}", order.id, fresh()))
    }
    #[idempotent(name = "shapes.matched", key = match n { 0 => "none", _ => "some" })]
    fn matched(n: u64) -> Result<u64, Error> {
        Ok(fresh() + n - n)
    }
    #[idempotent(name = "shapes.chosen", key = if n > 3 { 3 } else { n }, skip(n))]
    fn chosen(n: u64) -> Result<u64, Error> {
        Ok(fresh() + n - n)
    }
    runs_once(cast);
    runs_once(formatted);
    runs_once(|n| fallible(&n.to_string()));
    runs_once(|n| nested(order(&n.to_string())));
    runs_once(|n| matched(n.saturating_sub(1)));
    runs_once(chosen);
    assert!(fallible("none").is_err(), "`?` in the key returns from the function");
}

#[test]
fn methods_with_every_receiver() {
    #[derive(Clone, Serialize)]
    struct Shop {
        id: u64,
        sold: u64,
    }
    impl Shop {
        #[idempotent(name = "shop.by_ref", key = self.id)]
        fn by_ref(&self) -> Result<u64, Error> {
            Ok(fresh() + self.sold)
        }
        #[idempotent(name = "shop.by_mut", key = self.id, skip(self))]
        fn by_mut(&mut self) -> Result<u64, Error> {
            self.sold += 1;
            Ok(fresh())
        }
        #[idempotent(name = "shop.by_value", key = self.id)]
        fn by_value(self) -> Result<u64, Error> {
            let Self { id: _, sold } = self;
            Ok(fresh() + sold)
        }
        #[idempotent(name = "shop.by_mut_value", key = self.id)]
        fn by_mut_value(mut self) -> Result<u64, Error> {
            self.sold += 1;
            Ok(fresh())
        }
        #[idempotent(name = "shop.by_arc", key = self.id, fingerprint = self.sold)]
        fn by_arc(self: Arc<Self>) -> Result<u64, Error> {
            Ok(fresh() + Arc::strong_count(&self) as u64)
        }
        #[idempotent(name = "shop.by_arc_ref", key = self.id, skip(self))]
        fn by_arc_ref(self: &Arc<Self>) -> Result<u64, Error> {
            let kept = Arc::clone(self);
            Ok(fresh() + kept.sold)
        }
        #[idempotent(name = "shop.by_box", key = self.id)]
        fn by_box(self: Box<Self>) -> Result<u64, Error> {
            let Self { id: _, sold } = *self;
            Ok(fresh() + sold)
        }
        #[idempotent(name = "shop.by_pin", key = self.id, skip(self))]
        fn by_pin(mut self: Pin<&mut Self>) -> Result<u64, Error> {
            self.as_mut().sold += 1;
            Ok(fresh())
        }
        #[idempotent(name = "shop.without", key = id)]
        fn without(id: u64) -> Result<u64, Error> {
            Ok(fresh() + Self::zero(id))
        }
        fn zero(id: u64) -> u64 {
            id - id
        }
    }
    let shop = |id| Shop { id, sold: 0 };
    runs_once(|n| shop(n).by_ref());
    runs_once(|n| shop(n).by_mut());
    runs_once(|n| shop(n).by_value());
    runs_once(|n| shop(n).by_mut_value());
    runs_once(|n| Arc::new(shop(n)).by_arc());
    runs_once(|n| Arc::new(shop(n)).by_arc_ref());
    runs_once(|n| Box::new(shop(n)).by_box());
    runs_once(|n| Pin::new(&mut shop(n)).by_pin());
    runs_once(Shop::without);
}

#[test]
fn methods_of_traits() {
    trait Pay {
        fn id(&self) -> u64;
        fn pay(&self) -> Result<u64, Error>;
        #[idempotent(name = "trait.refund", key = self.id(), skip(self))]
        fn refund(&self) -> Result<u64, Error> {
            Ok(fresh() + self.id() - self.id())
        }
    }
    struct Card(u64);
    impl Pay for Card {
        fn id(&self) -> u64 {
            self.0
        }
        #[idempotent(name = "card.pay", key = self.id(), skip(self))]
        fn pay(&self) -> Result<u64, Error> {
            Ok(fresh() + self.0 - self.id())
        }
    }
    runs_once(|n| Card(n).pay());
    runs_once(|n| Card(n).refund());
}

#[test]
fn generics_lifetimes_and_impl_trait() {
    #[idempotent(name = "shapes.generic", key = value, same_for_types)]
    fn generic<T: Serialize + Display>(value: T) -> Result<String, Error> {
        Ok(format!("{value}{}", fresh()))
    }
    #[idempotent(name = "shapes.constant", key = (N, values))]
    fn constant<const N: usize>(values: &[u64]) -> Result<u64, Error>
    where
        [u64; N]: Sized,
    {
        Ok(fresh() + (values.len() + N - N) as u64 - 1)
    }
    #[idempotent(name = "shapes.array", key = values.as_slice(), skip(values))]
    fn array<const N: usize>(values: [u64; N]) -> Result<u64, Error> {
        Ok(fresh() + values.len() as u64)
    }
    #[idempotent(name = "shapes.told_apart", key = (size_of::<T>(), n), same_for_types)]
    fn told_apart<T: Default + Serialize + serde::de::DeserializeOwned>(n: u64) -> Result<(T, u64), Error> {
        Ok((T::default(), fresh() + n - n))
    }
    #[idempotent(name = "shapes.impl_argument", key = text.as_ref(), skip(text))]
    fn impl_argument(text: impl AsRef<str>) -> Result<u64, Error> {
        Ok(fresh() + u64::from(text.as_ref().is_empty()))
    }
    #[idempotent(name = "shapes.closure_argument", key = id, skip(effect))]
    fn closure_argument<F>(id: u64, effect: F) -> Result<u64, Error>
    where
        F: FnOnce(u64) -> u64,
    {
        Ok(effect(id))
    }
    #[idempotent(name = "shapes.explicit", key = a, map_err = |_| "failed")]
    fn explicit<'a>(a: &'a str, b: &'a str) -> Result<u64, &'a str> {
        if a == b { Err(a) } else { Ok(fresh()) }
    }
    #[idempotent(name = "shapes.error_borrows", key = list, skip(list), map_err = |_| "failed")]
    fn error_borrows<'a>(list: &'a mut Vec<u64>, text: &'a str) -> Result<u64, &'a str> {
        list.push(1);
        if list.is_empty() { Err(text) } else { Ok(fresh()) }
    }
    runs_once(generic::<u64>);
    runs_once(|n| generic(format!("{n}!")));
    runs_once(|n| constant::<3>(&[n]));
    runs_once(|n| array([n, 2, 3]));
    runs_once(told_apart::<u8>);
    runs_once(told_apart::<String>);
    runs_once(|n| impl_argument(n.to_string()));
    runs_once(|n| closure_argument(n, |_| fresh()));
    runs_once(|n| explicit(&n.to_string(), "b").map_err(str::to_owned));
    runs_once(|n| error_borrows(&mut vec![n], "text").map_err(str::to_owned));
}

#[test]
fn patterns() {
    #[derive(Serialize, Deserialize)]
    struct Point {
        x: u64,
        y: u64,
    }
    #[idempotent(name = "shapes.of_struct", key = (x, y))]
    fn of_struct(Point { x, y }: Point) -> Result<u64, Error> {
        Ok(fresh() + x + y - x - y)
    }
    #[idempotent(name = "shapes.of_tuple", key = first)]
    fn of_tuple((first, [second, ..]): (u64, [u64; 2]), _: &str) -> Result<u64, Error> {
        Ok(fresh() + first + second - first - second)
    }
    #[idempotent(name = "shapes.of_reference", key = id)]
    fn of_reference(&Point { x: id, .. }: &Point) -> Result<u64, Error> {
        Ok(fresh() + id - id)
    }
    #[allow(clippy::toplevel_ref_arg, reason = "it is a pattern like any other")]
    #[idempotent(name = "shapes.bound", key = whole.x, skip(whole))]
    fn bound(ref whole @ Point { x: _, y: _ }: Point) -> Result<u64, Error> {
        Ok(fresh() + whole.y - whole.y)
    }
    runs_once(|n| of_struct(Point { x: n, y: 1 }));
    runs_once(|n| of_tuple((n, [1, 2]), "not compared"));
    runs_once(|n| of_reference(&Point { x: n, y: 1 }));
    runs_once(|n| bound(Point { x: n, y: 1 }));
}

#[test]
fn mutable_arguments() {
    #[idempotent(name = "shapes.mutable", key = n)]
    fn mutable(mut n: u64, mut names: Vec<String>) -> Result<u64, Error> {
        n += 1;
        names.push(n.to_string());
        Ok(fresh() + names.len() as u64)
    }
    #[idempotent(name = "shapes.through_a_reference", key = n, skip(log))]
    fn through_a_reference(n: u64, log: &mut Vec<u64>) -> Result<u64, Error> {
        log.push(n);
        Ok(fresh())
    }
    runs_once(|n| mutable(n, Vec::new()));
    let mut log = Vec::new();
    runs_once(|n| through_a_reference(n, &mut log));
    assert_eq!(log, [1, 2], "a replay does not repeat the change");
}

#[test]
#[allow(clippy::too_many_arguments)]
fn arguments_named_like_internals() {
    #[idempotent(name = "shapes.names", key = key)]
    fn names(
        key: u64,
        store: u8,
        result: u8,
        call: u8,
        name: u8,
        args: u8,
        body: u8,
        r#type: &str,
        concat: u8,
    ) -> Result<u64, Error> {
        let sum = store + result + call + name + args + body + concat;
        Ok(fresh() + u64::from(sum) + r#type.len() as u64)
    }
    #[idempotent(name = "shapes.match", key = r#fn)]
    fn r#match(r#fn: u64) -> Result<u64, Error> {
        Ok(fresh() + r#fn - r#fn)
    }
    runs_once(|n| names(n, 1, 2, 3, 4, 5, 6, "type", 7));
    runs_once(r#match);
}

#[test]
fn arguments_under_cfg() {
    #[idempotent(name = "shapes.gated", key = id)]
    fn gated(
        #[cfg(any(unix, windows))] id: u64,
        #[cfg(not(any(unix, windows)))] id: u64,
        #[cfg(miri)] never: Vec<std::convert::Infallible>,
        call: u8,
    ) -> Result<u64, Error> {
        Ok(fresh() + u64::from(call))
    }
    runs_once(|n| gated(n, 1));
}

#[test]
fn bodies() {
    #[idempotent(name = "shapes.early", key = n)]
    fn early(n: u64) -> Result<u64, Error> {
        if n > 1 {
            return Ok(fresh());
        }
        let n = n + 1;
        loop {
            if n > 0 {
                return Ok(fresh());
            }
        }
    }
    #[idempotent(name = "shapes.question_mark", key = n, map_err = io::Error::other)]
    fn question_mark(n: u64) -> io::Result<u64> {
        let text = String::from_utf8(n.to_string().into_bytes()).map_err(io::Error::other)?;
        let parse = |text: &str| text.parse::<u64>();
        assert_eq!(parse(&text).map_err(io::Error::other)?, n);
        Ok(fresh())
    }
    #[idempotent(name = "shapes.inner_attribute_and_item", key = n)]
    fn inner_attribute_and_item(n: u64) -> Result<u64, Error> {
        #![allow(unused_variables)]
        fn add(n: u64) -> u64 {
            n + fresh()
        }
        let unused = n;
        Ok(add(0))
    }
    #[idempotent(name = "shapes.recursive", key = n)]
    fn recursive(n: u64) -> Result<u64, Error> {
        if n == 0 { Ok(fresh()) } else { Ok(recursive(n - 1)? + 1) }
    }
    #[idempotent(name = "shapes.not_safe", key = n)]
    unsafe fn not_safe(n: u64) -> Result<u64, Error> {
        Ok(fresh() + n - n)
    }
    runs_once(early);
    runs_once(question_mark);
    runs_once(inner_attribute_and_item);
    runs_once(|n| recursive(if n == 1 { 3 } else { 10 + n }));
    // SAFETY: nothing in it is unsafe.
    let _ = not_safe;
}

#[test]
fn results_and_errors() {
    type Answer<T = u64> = Result<T, String>;
    #[idempotent(name = "shapes.alias", key = n)]
    fn alias(n: u64) -> Answer {
        Ok(fresh() + n - n)
    }
    #[idempotent(name = "shapes.boxed_error", key = n)]
    fn boxed_error(n: u64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        if n == 0 {
            return Err("none".into());
        }
        Ok(fresh().to_string())
    }
    #[idempotent(name = "shapes.unit", key = n)]
    fn unit(n: u64) -> Result<(), String> {
        if n == 0 {
            Err("none")?;
        }
        Ok(())
    }
    runs_once(alias);
    runs_once(boxed_error);
    let store = Store::temporary().unwrap();
    with_store(&store, || {
        assert_eq!(unit(1), Ok(()));
        assert_eq!(unit(1), Ok(()));
        assert_eq!(unit(0), Err("none".to_owned()));
    });
}

#[test]
fn store_as_an_argument() {
    #[idempotent(name = "shapes.given", key = id, store = store)]
    fn given(store: &Store, id: u64) -> Result<u64, Error> {
        Ok(fresh() + id - id)
    }
    #[idempotent(name = "shapes.shared", key = id, store = store)]
    fn shared(store: Arc<Store>, id: u64) -> Result<u64, Error> {
        Ok(fresh() + id - id)
    }
    struct App {
        store: Store,
    }
    impl App {
        #[idempotent(name = "app.held", key = id, skip(self), store = self.store)]
        fn held(&self, id: u64) -> Result<u64, Error> {
            Ok(fresh() + id - id)
        }
    }
    let store = Store::temporary().unwrap();
    let app = App { store: store.clone() };
    assert_eq!(given(&store, 1).unwrap(), given(&store, 1).unwrap());
    assert_eq!(shared(Arc::new(store.clone()), 1).unwrap(), shared(Arc::new(store), 1).unwrap());
    assert_eq!(app.held(1).unwrap(), app.held(1).unwrap());
}

/// A `macro_rules!` macro hands over literals, expressions and bodies wrapped in invisible groups.
#[test]
fn functions_written_by_macro_rules() {
    macro_rules! charge {
        ($name:literal, $function:ident, $argument:ident, $key:expr, $body:block) => {
            #[idempotent(name = $name, key = $key)]
            fn $function($argument: u64) -> Result<u64, Error> $body
        };
    }
    charge!("rules.first", first, n, n, { Ok(fresh() + n - n) });
    charge!("rules.second", second, n, (n, 1), { Ok(fresh() + n - n) });
    runs_once(first);
    runs_once(second);
    let store = Store::temporary().unwrap();
    with_store(&store, || assert_ne!(first(1).unwrap(), second(1).unwrap()));
}

#[test]
fn every_option_at_once() {
    const LATER: std::time::Duration = std::time::Duration::from_secs(7);
    #[idempotent(
        name = "options.all",
        was("options.before", "options.first"),
        key = id,
        skip(note),
        ttl = "365d",
        keep_result = "1500ms",
        wait = LATER,
        on_err = remember,
        on_interrupt = rerun(3),
        codec = json,
        map_err = |error| error.to_string(),
        crate = idem_runtime,
    )]
    fn all(id: u64, note: &str) -> Result<u64, String> {
        Ok(fresh() + u64::from(note.is_empty()))
    }
    #[idempotent(name = "shapes.some", key = id, fingerprint = (order.id, order.cents), ttl = "forever", on_err = in_doubt)]
    fn some(id: u64, order: Order) -> Result<u64, Error> {
        drop(order);
        Ok(fresh() + id - id)
    }
    #[idempotent(name = "shapes.few", key = id, fingerprint = none, on_err = release, on_interrupt = rerun)]
    fn few(id: u64, ignored: std::rc::Rc<u64>) -> Result<u64, Error> {
        Ok(fresh() + *ignored)
    }
    runs_once(|n| all(n, "note"));
    runs_once(|n| some(n, order("o")));
    runs_once(|n| few(n, std::rc::Rc::new(fresh())));
}
