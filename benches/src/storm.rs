//! A storm of duplicates: a thousand callers wait for one running key.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Error, Store, call};

use crate::Outcome;
use crate::lap::median;
use crate::report::{Bound, Report};
use crate::settings::Settings;

const WAITERS: usize = 1_000;
/// The time of the body, long enough that all callers wait.
const HEAD_START: Duration = Duration::from_millis(400);

/// The time of the last answer, from the first answer and from the end of the body.
struct Storm {
    spread: Duration,
    since_body: Duration,
}

/// Measures the answers of tasks and of threads that wait for one key.
///
/// # Errors
/// If a call fails, or the body ran twice.
pub fn storms(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let store = Store::open(folder.path().join("storm.db"))?;
    eprintln!("\n== storm: {WAITERS} waiters on one running key");
    for (kind, most_ms, storm) in
        [("tasks", 3.0, tasks as fn(&Store, String) -> Outcome<Storm>), ("threads", 20.0, threads)]
    {
        let storms: Vec<_> = (0..settings.rounds.min(9))
            .map(|round| storm(&store, format!("{kind}-{round}")))
            .collect::<Outcome<_>>()?;
        let ms = |of: fn(&Storm) -> Duration| {
            median(&storms.iter().map(|storm| of(storm).as_secs_f64() * 1e3).collect::<Vec<_>>())
        };
        report.figure(
            &format!("{kind}: ms from the end of the body to the last answer"),
            ms(|storm| storm.since_body),
        );
        let spread = ms(|storm| storm.spread);
        report.goal(&format!("{kind}: ms from the first answer to the last"), Bound::AtMost(most_ms), spread);
    }
    let floors: Vec<_> = (0..settings.rounds.min(9)).map(|_| floor()).collect::<Outcome<_>>()?;
    report.figure(
        "bare threads, each woken through its own lock: ms from the first to the last",
        median(&floors),
    );
    store.close()?;
    Ok(())
}

/// The state that the callers share.
#[derive(Debug)]
struct Key {
    text: String,
    runs: AtomicU32,
}

impl Key {
    fn new(text: String) -> Arc<Key> {
        Arc::new(Key { text, runs: AtomicU32::new(0) })
    }

    fn judge(&self, answers: &[Instant], body_ended: &Receiver<Instant>) -> Outcome<Storm> {
        let (Some(first), Some(last)) = (answers.iter().min(), answers.iter().max()) else {
            return Err("no caller was answered".into());
        };
        if self.runs.load(Ordering::SeqCst) != 1 {
            return Err("the body ran more than once".into());
        }
        let body_ended = body_ended.recv()?;
        Ok(Storm { spread: *last - *first, since_body: *last - body_ended })
    }
}

fn threads(store: &Store, text: String) -> Outcome<Storm> {
    let key = Key::new(text);
    let (body_ends, body_ended) = channel();
    let ready = Barrier::new(WAITERS);
    let answers = thread::scope(|scope| {
        let callers: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (key, ready, body_ends) = (&key, &ready, body_ends.clone());
                scope.spawn(move || {
                    ready.wait();
                    let answer: Result<u32, Error> =
                        call("bench.storm").same_for_types().store(store).key(&key.text).run(|| {
                            key.runs.fetch_add(1, Ordering::SeqCst);
                            pause(HEAD_START);
                            // The receiver lives until all callers have ended.
                            let _ = body_ends.send(Instant::now());
                            Ok(1)
                        });
                    let answered = Instant::now();
                    // The end of a thread frees its stack, which takes longer than the answer and is not measured.
                    ready.wait();
                    answer.map(|_| answered)
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| Ok(caller.join().map_err(|_| "a caller panicked")??))
            .collect::<Outcome<Vec<_>>>()
    })?;
    key.judge(&answers, &body_ended)
}

/// Returns the time to wake as many threads without the store, in milliseconds.
fn floor() -> Outcome<f64> {
    let sleepers: Vec<_> = (0..WAITERS).map(|_| (Mutex::new(false), Condvar::new())).collect();
    let ready = Barrier::new(WAITERS + 1);
    let woken = thread::scope(|scope| {
        let threads: Vec<_> = sleepers
            .iter()
            .map(|(called, call)| {
                let ready = &ready;
                scope.spawn(move || {
                    let asleep = called.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(call.wait_while(asleep, |called| !*called));
                    let woken = Instant::now();
                    ready.wait();
                    woken
                })
            })
            .collect();
        pause(HEAD_START);
        for (called, call) in &sleepers {
            *called.lock().unwrap_or_else(PoisonError::into_inner) = true;
            call.notify_one();
        }
        ready.wait();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a sleeper panicked"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let (Some(first), Some(last)) = (woken.iter().min(), woken.iter().max()) else {
        return Err("no thread was woken".into());
    };
    Ok((*last - *first).as_secs_f64() * 1e3)
}

fn tasks(store: &Store, text: String) -> Outcome<Storm> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let key = Key::new(text);
    let (body_ends, body_ended) = channel();
    let answers = runtime.block_on(async {
        let callers: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (store, key, body_ends) = (store.clone(), Arc::clone(&key), body_ends.clone());
                tokio::spawn(async move {
                    let body = async || {
                        key.runs.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(HEAD_START).await;
                        let _ = body_ends.send(Instant::now());
                        Ok(1)
                    };
                    let answer: Result<u32, Error> = call("bench.storm")
                        .same_for_types()
                        .store(&store)
                        .key(&key.text)
                        .run_async(body)
                        .await;
                    answer.map(|_| Instant::now())
                })
            })
            .collect();
        let mut answers = Vec::with_capacity(WAITERS);
        for caller in callers {
            answers.push(caller.await??);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answers)
    })?;
    key.judge(&answers, &body_ended)
}

/// Sleeps for `time`.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
