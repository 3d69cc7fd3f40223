//! Part 5: schedules of the threads that meet in memory, by shuttle.
//!
//! The in-flight calls and the queue of the writer thread are the runtime's own text with shuttle's locks, which try
//! another schedule each time. Deadlines never pass there: a lost wake-up is a deadlock, and shuttle reports it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::frame::{Options, Report};
use crate::tally::Tally;

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let schedules = options.points(1_500, 100_000);
    let scenarios: [(&str, Scenario, Scenario); 2] = [
        ("in-flight calls: releases, timeouts and dropped handoffs", sound::flight, broken::flight),
        ("the writer's queue: callers, closing and the end", sound::queue, broken::queue),
    ];
    scenarios.map(|(what, sound, broken)| report(what, schedules, sound, broken)).into()
}

type Scenario = fn();

fn report(what: &str, schedules: usize, sound: Scenario, broken: Scenario) -> Report {
    let mut report = Report::new(format!("schedules: {what}"));
    report.points_tried(2 * schedules);
    report.note(format!("{schedules} random schedules and {schedules} with 3 preemptions (PCT)"));
    report_failure(&mut report, check(schedules, sound));
    let shown = check(schedules, broken).is_some();
    report.control("a planted lost wake-up", usize::from(shown));
    report
}

fn report_failure(report: &mut Report, failure: Option<String>) {
    if let Some(failure) = failure {
        report.violation(failure);
    }
}

/// Why a schedule failed, if one did. Quietly: the control is meant to.
fn check(schedules: usize, scenario: Scenario) -> Option<String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let checked = catch_unwind(AssertUnwindSafe(|| {
        shuttle::check_random(scenario, schedules);
        shuttle::check_pct(scenario, schedules, 3);
    }));
    std::panic::set_hook(hook);
    let panic = checked.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

macro_rules! scenarios {
    ($($variant:ident)*) => {$(
        mod $variant {
            use std::time::{Duration, Instant};

            use shuttle::rand::Rng;
            use shuttle::sync::atomic::{AtomicBool, Ordering};
            use shuttle::sync::{Arc, Mutex};
            use shuttle::thread;

            use crate::real::$variant::waiting::in_flight::{InFlight, Turn};
            use crate::real::$variant::protocol::change::{Change, Expect};
            use crate::real::$variant::engine::queue::{Queue, Work};
            use crate::real::$variant::backend::request::{Reply, Request, OnFailure};
            use crate::real::$variant::sync::lock;
            use crate::real::$variant::waiting::oneshot::OneShot;

            const CALLERS: usize = 4;
            const LONG: Duration = Duration::from_secs(3_600);

            /// One key: the claim that runs, if any, and the last number given.
            #[derive(Default)]
            struct Key {
                running: Option<u64>,
                issued: u64,
            }

            /// Every body returns an `Err` that releases the key: all callers get their turn, one at a time.
            pub(super) fn flight() {
                let in_flight = Arc::new(InFlight::default());
                let key = Arc::new(Mutex::new(Key::default()));
                let callers: Vec<_> = (0..CALLERS)
                    .map(|_| {
                        let (in_flight, key) = (Arc::clone(&in_flight), Arc::clone(&key));
                        thread::spawn(move || call(&in_flight, &key))
                    })
                    .collect();
                for caller in callers {
                    caller.join().unwrap();
                }
                assert_eq!(in_flight.count_local(), 0);
            }

            fn call(in_flight: &Arc<InFlight>, key: &Mutex<Key>) {
                let mut turn = Turn::default();
                loop {
                    match claim(in_flight, key, &mut turn) {
                        Ok(claim) => return end(in_flight, key, claim),
                        Err(running) => {
                            let Some(waiter) = in_flight.subscribe_local(running, &mut turn) else { continue };
                            if shuttle::rand::thread_rng().gen_range(0..4) == 0 {
                                // Its `wait` was over, or its future was dropped.
                                return;
                            }
                            let completion = waiter.signal.wait(Instant::now() + LONG).unwrap();
                            turn.handoff = completion.handoff;
                            if shuttle::rand::thread_rng().gen_range(0..4) == 0 {
                                // Woken, and gone before it could claim.
                                return;
                            }
                        }
                    }
                }
            }

            /// The claim is known in memory before its row is visible.
            fn claim(in_flight: &InFlight, key: &Mutex<Key>, turn: &mut Turn) -> Result<u64, u64> {
                let mut key = lock(key);
                if let Some(running) = key.running {
                    return Err(running);
                }
                key.issued += 1;
                in_flight.register(key.issued, turn.handoff.take());
                key.running = Some(key.issued);
                Ok(key.issued)
            }

            fn end(in_flight: &InFlight, key: &Mutex<Key>, claim: u64) {
                thread::yield_now();
                assert_eq!(lock(key).running.take(), Some(claim), "two ran side by side");
                in_flight.complete(claim, None);
            }

            /// Callers send, or write alone, while the store closes: every one is answered, one at a time writes, and the
            /// writer ends.
            pub(super) fn queue() {
                let queue = Arc::new(Queue::default());
                let desk = Arc::new(AtomicBool::new(false));
                let (writing, written_at) = (Arc::clone(&queue), Arc::clone(&desk));
                let writer = thread::spawn(move || write(&writing, &written_at));
                let callers: Vec<_> = (0..CALLERS - 1)
                    .map(|n| {
                        let (queue, desk) = (Arc::clone(&queue), Arc::clone(&desk));
                        thread::spawn(move || send(&queue, &desk, n))
                    })
                    .collect();
                // Half of the time the store closes after its callers: only a caller wakes the writer thread then.
                let outlived = shuttle::rand::thread_rng().gen_range(0..2) == 0;
                let (early, late) = if outlived { (callers, Vec::new()) } else { (Vec::new(), callers) };
                for caller in early {
                    caller.join().unwrap();
                }
                queue.begin_close();
                queue.close();
                for caller in late {
                    caller.join().unwrap();
                }
                let written: usize = writer.join().unwrap();
                assert!(written < CALLERS);
                assert!(queue.is_idle());
            }

            /// Checks that one thread writes at a time.
            fn write_at(desk: &AtomicBool) {
                assert!(!desk.swap(true, Ordering::SeqCst), "two write at once");
                thread::yield_now();
                desk.store(false, Ordering::SeqCst);
            }

            fn send(queue: &Queue, desk: &AtomicBool, n: usize) {
                if shuttle::rand::thread_rng().gen_range(0..2) == 0 && queue.try_begin_inline() {
                    write_at(desk);
                    queue.end_inline(shuttle::rand::thread_rng().gen_range(0..2) == 0);
                    return;
                }
                let on_failure = if n == 0 { OnFailure::RetryForever } else { OnFailure::FailAfter(Instant::now() + LONG) };
                let reply = OneShot::new();
                queue.push(Request::new(Change { slot: [0; 12], expect: Expect::Any, new: None }, on_failure, Some(Arc::clone(&reply))));
                assert!(reply.wait(Instant::now() + LONG).is_some());
            }

            fn write(queue: &Queue, desk: &AtomicBool) -> usize {
                let mut written = 0;
                loop {
                    match queue.next(None) {
                        Work::Batch(batch) => {
                            write_at(desk);
                            written += batch.len();
                            for request in batch {
                                request.answer(Reply::Written);
                            }
                        }
                        Work::Idle => write_at(desk),
                        Work::Closed => {
                            queue.end(&crate::real::$variant::error::Error::closed());
                            return written;
                        }
                    }
                }
            }
        }
    )*};
}

scenarios! { sound broken }
