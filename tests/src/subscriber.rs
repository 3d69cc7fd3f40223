//! Subscribers for the `tracing` events of a store.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// Calls a function at every event of a store, from a level on.
#[derive(Debug)]
pub struct OnEvent<F>(pub Level, pub F);

impl<F: Fn(&Event<'_>) + 'static> Subscriber for OnEvent<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "idem" && *metadata.level() <= self.0
    }

    fn event(&self, event: &Event<'_>) {
        (self.1)(event);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").expect("a string grows");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string grows");
    }
}

/// The level and the fields of an event: `WARN message=… key=…`.
pub fn line(event: &Event<'_>) -> String {
    let mut fields = Fields(event.metadata().level().to_string());
    event.record(&mut fields);
    fields.0
}

/// The lines of the events on this thread during `run`, from a level on.
pub fn events(from: Level, run: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let hear =
        move |event: &Event<'_>| heard.lock().unwrap_or_else(PoisonError::into_inner).push(line(event));
    with_default(OnEvent(from, hear), run);
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.clone()
}
