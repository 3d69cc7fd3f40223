//! The handoff of a woken waiter.

use super::*;
use crate::call::call;
use crate::engine::tests::Threadless;
use crate::waiting::in_flight::Turn;
use crate::{OnInterrupt, on_err};

const NAME: &str = "tests.handoff";

// Each waiter of an interrupted call follows its own `on_interrupt`, at once.
#[test]
fn a_woken_waiter_that_reruns_an_interrupted_call_wakes_the_waiters_behind_it() {
    let place = Threadless::new();
    let engine = &place.store.inner.engine;
    let in_flight = &engine.state.in_flight;
    in_flight.register(1_000, None);
    let (mut turn, mut turn_behind) = (Turn::default(), Turn::default());
    let first = in_flight.subscribe_local(1_000, &mut turn).unwrap();
    let behind = in_flight.subscribe_local(1_000, &mut turn_behind).unwrap();
    in_flight.complete(1_000, None);
    // Another process ran the call meanwhile, and left it in doubt.
    let doubt = call(NAME).store(&place.store).key(&1).on_err(on_err::InDoubt);
    doubt.run(|| Err::<u32, String>("timed out".into())).unwrap_err();

    let prepared = call(NAME).key(&1).plan.prepare().unwrap();
    let mode = Mode::Interrupt(OnInterrupt::rerun());
    let mut acquisition = Acquisition::new(&prepared, engine, mode, Known::Nothing, Caller::Blocking);
    let completion = first.signal.take().unwrap();
    assert!(completion.handoff.is_some() && behind.signal.take().is_none());
    acquisition.on_completion(Some(completion)).unwrap();
    let Step::Find(found, deadline) = acquisition.step().unwrap() else { panic!("no search") };
    acquisition.on_found(found.wait(deadline)).unwrap();
    let Step::Claim(..) = acquisition.step().unwrap() else { panic!("no claim") };
    let woken = behind.signal.take().unwrap();
    assert!(woken.record.is_none() && woken.handoff.is_none());
}
