use std::fs;

use super::*;

fn in_flight() -> Arc<InFlight> {
    Arc::new(InFlight::default())
}

/// A call of this process, and its waiters in the order of their arrival.
fn local(in_flight: &Arc<InFlight>, claim: u64, count: usize) -> Vec<Waiter> {
    in_flight.register(claim, None);
    (0..count).map(|_| in_flight.subscribe_local(claim, &mut Turn::default()).unwrap()).collect()
}

/// The places of the waiters that a completion has woken.
fn woken(waiters: &[Waiter]) -> Vec<usize> {
    let places = waiters.iter().enumerate();
    places.filter(|(_, waiter)| waiter.signal.take().is_some()).map(|(place, _)| place).collect()
}

#[test]
fn a_released_call_wakes_exactly_one_waiter_and_a_dropped_handoff_the_rest() {
    let in_flight = in_flight();
    let waiters = local(&in_flight, 1, 3);
    in_flight.complete(1, None);
    let woken: Vec<_> = waiters.iter().map(|waiter| waiter.signal.take()).collect();
    assert_eq!(woken.iter().flatten().count(), 1);
    drop(woken);
    assert_eq!(waiters.iter().filter_map(|waiter| waiter.signal.take()).count(), 2);
}

#[test]
fn released_calls_wake_the_waiters_in_the_order_of_their_arrival() {
    let in_flight = in_flight();
    let waiters = local(&in_flight, 1, 4);
    for (claim, waiter) in (1..).zip(&waiters) {
        in_flight.complete(claim, None);
        let completion = waiter.signal.take().expect("the waiter that arrived first is woken");
        assert!(woken(&waiters).is_empty(), "the others wait");
        in_flight.register(claim + 1, completion.handoff);
    }
}

#[test]
fn a_waiter_that_a_newcomer_overtakes_keeps_its_place_and_wakes_nobody() {
    let in_flight = in_flight();
    in_flight.register(1, None);
    let mut turn = Turn::default();
    let first = in_flight.subscribe_local(1, &mut turn).unwrap();
    let others: Vec<_> =
        (0..2).map(|_| in_flight.subscribe_local(1, &mut Turn::default()).unwrap()).collect();
    in_flight.complete(1, None);
    turn.handoff = first.signal.take().expect("the waiter that arrived first is woken").handoff;
    in_flight.register(2, None);
    let newest = in_flight.subscribe_local(2, &mut Turn::default()).unwrap();
    let first = in_flight.subscribe_local(2, &mut turn).unwrap();
    assert!(woken(&others).is_empty());
    for (claim, waiter) in (2..).zip([&first, &others[0], &others[1], &newest]) {
        in_flight.complete(claim, None);
        let completion = waiter.signal.take().expect("the waiters are woken in the order of their arrival");
        in_flight.register(claim + 1, completion.handoff);
    }
}

#[test]
fn a_waiter_that_a_handoff_moved_and_that_gave_up_is_passed_over() {
    let in_flight = in_flight();
    let mut waiters = local(&in_flight, 1, 4);
    in_flight.complete(1, None);
    let handoff = waiters[0].signal.take().unwrap().handoff;
    in_flight.register(2, handoff);
    drop(waiters.remove(1));
    in_flight.complete(2, None);
    let completion = waiters[1].signal.take().expect("the next waiter is woken");
    assert!(woken(&waiters).is_empty(), "the last one waits behind it");
    drop(completion);
    assert_eq!(woken(&waiters), [2]);
}

#[test]
fn a_call_that_has_completed_leaves_the_handoff_to_its_waiter() {
    let in_flight = in_flight();
    let waiters = local(&in_flight, 1, 2);
    in_flight.complete(1, None);
    let mut turn = Turn { handoff: waiters[0].signal.take().unwrap().handoff, ..Turn::default() };
    assert!(in_flight.subscribe_local(2, &mut turn).is_none());
    assert!(woken(&waiters).is_empty());
    drop(turn);
    assert_eq!(woken(&waiters), [1]);
}

#[test]
fn the_last_waiter_of_a_remote_call_removes_its_entry() {
    let in_flight = in_flight();
    drop(in_flight.subscribe_remote(9, &mut Turn::default()));
    assert!(lock(&in_flight.0).by_claim.is_empty());
}

#[test]
fn a_dropped_waiter_gets_no_handoff() {
    let in_flight = in_flight();
    let mut waiters = local(&in_flight, 1, 2);
    drop(waiters.pop());
    in_flight.complete(1, None);
    assert!(waiters[0].signal.take().is_some());
}

/// The time that this thread has had on a processor, in nanoseconds. `None` where the system does not tell.
fn processor_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The processor time in which so many waiters leave, in rounds of `count` waiters that leave together.
///
/// The last to arrive leaves first, which is the worst order for a list.
fn time_to_leave(waiters: usize, count: usize) -> Option<u64> {
    let in_flight = in_flight();
    let rounds: Vec<_> = (1..).map(|claim| local(&in_flight, claim, count)).take(waiters / count).collect();
    let before = processor_time()?;
    for mut round in rounds {
        while round.pop().is_some() {}
    }
    Some(processor_time()?.saturating_sub(before).max(1))
}

#[test]
fn waiters_that_leave_together_take_steps_in_proportion_to_their_number() {
    const WAITERS: usize = 16_000;
    let least = |count| (0..3).filter_map(|_| time_to_leave(WAITERS, count)).min();
    let (Some(apart), Some(together)) = (least(1_000), least(WAITERS)) else {
        eprintln!("SKIPPED: the system does not tell the processor time of a thread");
        return;
    };
    // If each waiter searches a list, the waiters take 16 times as long together.
    assert!(together < 6 * apart, "{WAITERS} waiters left in {apart} ns apart, in {together} ns together");
}

#[test]
fn the_answer_of_a_hook_serves_the_waiters_that_were_there_when_it_was_given() {
    let in_flight = in_flight();
    let before = local(&in_flight, 1, 2);
    in_flight.note_answer(1);
    let after = in_flight.subscribe_local(1, &mut Turn::default()).unwrap();
    let record = crate::call::call("answer").key("k").plan.prepare().unwrap().first_record(None);
    in_flight.complete(1, Some(&record));
    let is_answered = |waiter: &Waiter| waiter.signal.take().unwrap().is_answered;
    assert_eq!([is_answered(&before[0]), is_answered(&before[1]), is_answered(&after)], [true, true, false]);
}
