//! A detached body runs in the tracing span of its caller.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use idem_runtime::{Error, Store};
use idem_tests::form::tokio_alone;
use idem_tests::plain::yield_now;
use idem_tests::shared::call;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

/// Knows which spans this thread is in.
#[derive(Default)]
struct Spans {
    metadata: Mutex<Vec<&'static Metadata<'static>>>,
}

thread_local! {
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The spans around this line, outermost first.
fn inside(subscriber: &Spans) -> Vec<&'static str> {
    let metadata = subscriber.metadata.lock().unwrap();
    let name = |id: &u64| metadata.get(place(*id)).unwrap().name();
    INSIDE.with_borrow(|inside| inside.iter().map(name).collect())
}

/// Ids begin at 1.
fn place(id: u64) -> usize {
    usize::try_from(id).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("it::")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut metadata = self.metadata.lock().unwrap();
        metadata.push(span.metadata());
        Id::from_u64(u64::try_from(metadata.len()).unwrap())
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.retain(|id| *id != span.into_u64()));
    }

    fn current_span(&self) -> Current {
        let Some(inner) = INSIDE.with_borrow(|inside| inside.last().copied()) else { return Current::none() };
        let spans = self.metadata.lock().unwrap();
        Current::new(Id::from_u64(inner), spans.get(place(inner)).unwrap())
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

#[test]
fn the_body_runs_in_the_span_of_its_caller() {
    let spans = Arc::new(Spans::default());
    let subscriber = Arc::clone(&spans);
    let _set = tracing::subscriber::set_default(subscriber);
    tokio_alone().block_on(async {
        let store = Store::temporary().unwrap();
        let request = |key: &'static str| {
            let spans = Arc::clone(&spans);
            let body = move || async move {
                let before = inside(&spans);
                yield_now().await;
                assert_eq!(inside(&spans), before);
                Ok::<_, Error>(before.into_iter().map(str::to_owned).collect::<Vec<_>>())
            };
            call("detach.span").store(&store).key(key).detach().run_async(body)
        };
        let in_span = request("a").instrument(info_span!("inner")).instrument(info_span!("request"));
        // The body is polled in the innermost span of the one who called.
        assert_eq!(in_span.await.unwrap(), ["inner"]);
        assert_eq!(request("b").await.unwrap(), [""; 0]);
        assert!(inside(&spans).is_empty());
    });
}
