//! The same operations on a real store.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use idem_runtime::on_err::Classify;
use idem_runtime::{Clock, Error, Lifetime, OnErr, OnInterrupt, Settled, Store, Verdict, settle};
use serde::{Deserialize, Serialize};

use super::oracle::{Answer, Oracle, Trust};
use super::{Body, Make, Mode, Op, Seen};
use crate::frame::{child, fast_folder};
use crate::shared::call;

const NAME: &str = "model.effect";
const WALL_MS: i64 = 1_780_272_000_000;
const BOOT_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
struct Hands(Arc<(AtomicI64, AtomicI64)>);

impl Hands {
    fn at(wall_ms: i64, boot_ms: i64) -> Hands {
        Hands(Arc::new((AtomicI64::new(wall_ms), AtomicI64::new(boot_ms))))
    }
}

impl Clock for Hands {
    fn wall_ms(&self) -> i64 {
        self.0.0.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.0.1.load(Ordering::SeqCst)
    }

    fn boot_id(&self) -> String {
        "the only boot".into()
    }
}

/// What a body answers that is no value; how it is judged is part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Failure {
    Own(u32, u8),
    Ours(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(format!("{:?}", error.kind()))
    }
}

fn judge(failure: &Failure) -> OnErr {
    match failure {
        Failure::Own(_, 0) | Failure::Ours(_) => OnErr::Release,
        Failure::Own(_, 1) => OnErr::Remember,
        Failure::Own(..) => OnErr::InDoubt,
    }
}

pub(super) struct Driver {
    folder: tempfile::TempDir,
    clock: Hands,
    store: Store,
    oracle: Oracle,
    value: u32,
}

impl Driver {
    pub(super) fn new(trust: Trust) -> Driver {
        let folder = fast_folder();
        let clock = Hands::at(WALL_MS, BOOT_MS);
        let store = open(&folder.path().join("idem.db"), &clock);
        Driver { folder, clock, store, oracle: Oracle::new(trust), value: 0 }
    }

    pub(super) fn run(mut self, ops: &[Op], seen: &Seen) -> Result<(), String> {
        for op in ops {
            self.value += 1;
            let (what, expected, got) = self.step(op);
            seen.lock().expect("not poisoned").entry(what).and_modify(|n| *n += 1).or_insert(1);
            if expected != got {
                return Err(format!("{op:?}: the contract says {expected:?}, the store {got:?}"));
            }
        }
        let mut seen = seen.lock().expect("not poisoned");
        self.oracle.seen.drain(..).for_each(|what| *seen.entry(what).or_default() += 1);
        drop(seen);
        self.store.close().map_err(|error| format!("the store does not close: {error}"))
    }

    /// What kind of operation it is, what it should answer, and what it answers.
    fn step(&mut self, op: &Op) -> (&'static str, String, String) {
        let value = self.value;
        match *op {
            Op::Make(make) => {
                let got = made(&self.store, make, value);
                // The writer thread may answer within the one poll, or the claim existed before: the body had started.
                let begun = make.body == Body::DropBefore && POLLED.take();
                let make = Make { body: if begun { Body::DropDuring } else { make.body }, ..make };
                let expected = self.oracle.make(&make, value);
                self.settle_down();
                ("op call", format!("{expected:?}"), format!("{got:?}"))
            }
            Op::Crash { key } => {
                self.oracle.crash(key);
                let path = self.folder.path().join("idem.db");
                let clocks = [self.clock.wall_ms(), self.clock.boot_ms()].map(|ms| ms.to_string());
                let status = child("model")
                    .arg(path)
                    .arg(key.to_string())
                    .args(clocks)
                    .output()
                    .map(|output| output.status);
                ("op crash", "true".into(), status.is_ok().to_string())
            }
            Op::Pass { minutes } => {
                self.oracle.now_min += u64::from(minutes);
                let ms = i64::from(minutes) * 60_000;
                self.clock.0.0.fetch_add(ms, Ordering::SeqCst);
                self.clock.0.1.fetch_add(ms, Ordering::SeqCst);
                ("op clock step", String::new(), String::new())
            }
            Op::SetWall { days } => {
                let boot_ms = self.clock.boot_ms();
                self.clock.0.0.store(WALL_MS + boot_ms + i64::from(days) * 86_400_000, Ordering::SeqCst);
                ("op clock step", String::new(), String::new())
            }
            Op::Reopen => {
                let closed = self.store.close().map_err(|error| error.to_string());
                self.store = open(&self.folder.path().join("idem.db"), &self.clock);
                ("op reopen", "Ok(())".into(), format!("{closed:?}"))
            }
            Op::Purge => {
                self.oracle.purge();
                let purged = self.store.purge_expired(100).is_ok();
                ("op purge", "true".into(), purged.to_string())
            }
            Op::Steal { key } => {
                let stolen = self.store.steal(NAME, &key).map_err(|error| error.kind());
                // The record of a dead process reads as running until a store looks at it.
                let expected =
                    if self.oracle.is_in_doubt(key) && stolen == Ok(true) { "Ok(true)" } else { "Ok(false)" };
                ("op steal", expected.into(), format!("{stolen:?}"))
            }
            Op::Forget { key } => {
                let (over, had) = (self.oracle.is_expired(key), self.oracle.forget(key));
                let got = self.store.forget(NAME, &key).map_err(|error| error.kind());
                let expected = !(over && got == Ok(false)) && had;
                ("op forget", format!("Ok({expected})"), format!("{got:?}"))
            }
            Op::SettleDone { key } => self.settle(key, Ok(Some(value)), Verdict::Done(value)),
            Op::SettleWithoutResult { key } => self.settle(key, Ok(None), Verdict::DoneWithoutResult),
            Op::SettleNotDone { key } => self.settle(key, Err(()), Verdict::NotDone),
            Op::RecordDone { key } => {
                let got = self.store.record_done(NAME, &key, &value).map_err(|error| error.kind());
                if self.oracle.is_expired(key) && got == Ok(true) {
                    self.oracle.forget(key);
                }
                let expected = self.oracle.record_done(key, value);
                ("op record_done", format!("Ok({expected})"), format!("{got:?}"))
            }
        }
    }

    fn settle(
        &mut self,
        key: u8,
        expected: Result<Option<u32>, ()>,
        verdict: Verdict<u32>,
    ) -> (&'static str, String, String) {
        let expected = self.oracle.settle(key, expected);
        let settled = settled(&self.store, key, verdict);
        ("op settle", format!("Ok({expected})"), format!("{settled:?}"))
    }

    /// What a dropped or panicked call left is with the writer: nobody waits for it. What it has in hand is in no count,
    /// so a write of ours goes through it, and another behind what a claim without a caller gives back.
    fn settle_down(&self) {
        for _ in 0..2 {
            self.store.record_done("model.behind", &0_u8, &0_u32).expect("a writer that answers");
            while self.store.stats().is_ok_and(|stats| stats.running_here + stats.queued > 0) {
                std::thread::yield_now();
            }
        }
    }
}

fn open(path: &Path, clock: &Hands) -> Store {
    Store::builder()
        .clock(clock.clone())
        .settle_window(Duration::ZERO)
        .log_bytes(0)
        .open(path)
        .expect("a store")
}

fn settled(store: &Store, key: u8, verdict: Verdict<u32>) -> Result<bool, idem_runtime::ErrorKind> {
    let settled = settle(verdict, || call(NAME).store(store).key(&key).run(|| Ok::<u32, Error>(0)));
    settled.map(|settled| !matches!(settled, Settled::NotInDoubt(_))).map_err(|error| error.kind())
}

fn lifetime(minutes: Option<u16>) -> Lifetime {
    minutes.map_or(Lifetime::FOREVER, |minutes| Duration::from_secs(60 * u64::from(minutes)).into())
}

fn made(store: &Store, make: Make, value: u32) -> Answer {
    let answer = catch_unwind(AssertUnwindSafe(|| match make.mode {
        Mode::Refuse => plain(store, make, value, OnInterrupt::Refuse),
        Mode::Rerun => plain(store, make, value, OnInterrupt::rerun_unlimited()),
        Mode::RerunTwice => plain(store, make, value, OnInterrupt::rerun_at_most(2)),
        Mode::RecoverDone => recovering(store, make, value, Verdict::Done(value)),
        Mode::RecoverNotDone => recovering(store, make, value, Verdict::NotDone),
        Mode::RecoverUnknown => recovering(store, make, value, Verdict::Unknown),
    }));
    match answer {
        Err(_) => Answer::Panicked,
        Ok(None) => Answer::Dropped,
        Ok(Some(Ok(value))) => Answer::Value(value),
        Ok(Some(Err(Failure::Own(value, _)))) => Answer::Own(value),
        Ok(Some(Err(Failure::Ours(kind)))) => {
            let known =
                ["Mismatch", "InDoubt", "ResultGone", "Fenced"].into_iter().find(|known| *known == kind);
            Answer::Ours(known.unwrap_or_else(|| String::leak(kind)))
        }
    }
}

macro_rules! prepared {
    ($store:expr, $make:expr) => {
        call(NAME)
            .store($store)
            .key(&$make.key)
            .arg("arg", &$make.arg)
            .ttl(lifetime($make.ttl_min))
            .keep_result(lifetime($make.keep_min).min(lifetime($make.ttl_min)))
            .wait(Duration::from_secs(60))
            .on_err(Classify(judge))
    };
}

/// `None` if the future was dropped.
type Made = Option<Result<u32, Failure>>;

fn plain(store: &Store, make: Make, value: u32, mode: OnInterrupt) -> Made {
    let call = prepared!(store, make).on_interrupt(mode);
    if matches!(make.body, Body::DropBefore | Body::DropDuring) {
        return dropped(
            make.body,
            call.run_async(|| async {
                pending_once().await;
                Ok(value)
            }),
        );
    }
    Some(call.run(|| body(store, make, value)))
}

fn recovering(store: &Store, make: Make, value: u32, verdict: Verdict<u32>) -> Made {
    let call = prepared!(store, make).recover(|| verdict);
    if matches!(make.body, Body::DropBefore | Body::DropDuring) {
        return dropped(
            make.body,
            call.run_async(|| async {
                pending_once().await;
                Ok(value)
            }),
        );
    }
    Some(call.run(|| body(store, make, value)))
}

thread_local! {
    /// Whether the body of a call that is to be dropped has been polled.
    static POLLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

async fn pending_once() {
    POLLED.set(true);
    std::future::pending::<()>().await;
}

/// Polls until the body waits, or not at all.
fn dropped(body: Body, future: impl Future<Output = Result<u32, Failure>>) -> Made {
    POLLED.set(false);
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    if body == Body::DropBefore {
        // One poll sends the claim.
        return match future.as_mut().poll(&mut context) {
            Poll::Ready(made) => Some(made),
            Poll::Pending => None,
        };
    }
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(made) => return Some(made),
            Poll::Pending if POLLED.get() => return None,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn body(store: &Store, make: Make, value: u32) -> Result<u32, Failure> {
    let steal = || assert!(store.steal(NAME, &make.key).expect("stolen"));
    match make.body {
        Body::Ok | Body::DropBefore | Body::DropDuring => Ok(value),
        Body::Release => Err(Failure::Own(value, 0)),
        Body::Remember => Err(Failure::Own(value, 1)),
        Body::InDoubt => Err(Failure::Own(value, 2)),
        Body::Panic => resume_unwind(Box::new("cut off")),
        Body::Stolen => {
            steal();
            Ok(value)
        }
        Body::StolenSettledDone => {
            steal();
            assert_eq!(settled(store, make.key, Verdict::DoneWithoutResult), Ok(true));
            Ok(value)
        }
        Body::StolenSettledNotDone => {
            steal();
            assert_eq!(settled(store, make.key, Verdict::NotDone), Ok(true));
            Ok(value)
        }
        Body::StolenRunElsewhere => {
            steal();
            assert!(elsewhere(store, make, || Ok(value + 1_000_000)).is_some_and(|made| made.is_ok()));
            Ok(value)
        }
        // The newer claim is as unfinished as the stolen one: its number alone tells them apart.
        Body::StolenCutOffElsewhere => {
            steal();
            assert!(elsewhere(store, make, || resume_unwind(Box::new("cut off"))).is_none());
            Ok(value)
        }
    }
}

/// The same call on another thread; `None` if it was cut off.
fn elsewhere(store: &Store, make: Make, body: impl FnOnce() -> Result<u32, Failure> + Send) -> Made {
    std::thread::scope(|scope| {
        let call = || prepared!(store, make).on_interrupt(OnInterrupt::rerun_unlimited()).run(body);
        scope.spawn(call).join().ok()
    })
}

/// The child's side of [`Op::Crash`].
pub(super) fn die_in_a_body(path: &Path, key: &str, wall_ms: &str, boot_ms: &str) {
    let clock = Hands::at(wall_ms.parse().expect("a time"), boot_ms.parse().expect("a time"));
    let store = open(path, &clock);
    let key: u8 = key.parse().expect("a key");
    let made =
        call(NAME).store(&store).key(&key).arg("arg", &0_u8).wait(Duration::ZERO).ttl(Lifetime::FOREVER);
    let made = made
        .keep_result(Lifetime::FOREVER)
        .on_err(Classify(judge))
        .on_interrupt(OnInterrupt::rerun_unlimited());
    let _: Result<u32, Failure> = made.run(|| std::process::abort());
}
