//! A child of the campaign: tries its share of the damages, and prints a line for each class of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::calls::{self, Answers, CALLS, Known, value_of};
use super::damage::{DATABASE, Damage};
use super::peak_kb;
use super::share::{SHARES, plan};
use super::specimen::{EARLIER, KINDS, MAY_HIDE, Specimen};

/// No store of a few kilobytes takes this long to answer, whatever is wrong with it.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// The control looks at one flipped byte in so many.
const CONTROL_EVERY: usize = 16;

/// Panics of any thread: those of the store's own are caught there, and would go unnoticed here.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The damage that is being tried.
static AT: AtomicUsize = AtomicUsize::new(0);

/// `FOLDER KIND COUNT SHARE`; what [`Tally`](super::share::Tally) takes in.
pub(crate) fn child(args: &[&str]) {
    let &[folder, kind, count, share] = args else { panic!("four arguments: {args:?}") };
    let [kind, share] = [kind, share].map(|number| number.parse::<usize>().expect("a number"));
    let specimen = Specimen::load(KINDS[kind], Path::new(folder));
    let (plan, _) = plan(&specimen, count.parse().ok());
    let mut progress = File::create(Path::new(folder).join(format!("at-{share}"))).expect("a file");
    std::panic::set_hook(Box::new(|panic| PANICS.lock().expect("no poison").push(panic.to_string())));
    std::thread::spawn(abort_when_stuck);
    let mut classes: BTreeMap<&str, Answers> = BTreeMap::new();
    let mut control = 0;
    let before_kb = peak_kb();
    for (at, damage) in plan.iter().enumerate().skip(share).step_by(SHARES) {
        AT.store(at, Ordering::Relaxed);
        progress.rewind().and_then(|()| write!(progress, "{at:<10}")).expect("noted");
        let answers = attempt(&specimen, damage);
        let class = specimen.class(damage);
        if is_wrong(class, &answers) {
            println!("violation\t{class}, {damage:?}: {}", answers.text());
        }
        *classes.entry(class).or_default() += answers;
        let is_part = matches!(damage, Damage::Flip { .. } | Damage::Truncate { .. });
        if !is_part || (at / SHARES).is_multiple_of(CONTROL_EVERY) {
            control += unseen(&specimen, damage);
        }
    }
    let panics = std::mem::take(&mut *PANICS.lock().expect("no poison"));
    panics.iter().take(5).for_each(|panic| println!("violation\t{}", panic.replace('\n', " ")));
    for (class, answers) in classes {
        println!("{class}\t{}", answers.counts().map(|count| count.to_string()).join(" "));
    }
    println!("left\t{}", calls::LEFT.load(Ordering::Relaxed));
    println!("control\t{control}\ngrown\t{}", peak_kb().saturating_sub(before_kb));
}

fn is_wrong(class: &str, answers: &Answers) -> bool {
    let is_hidden = answers.ran > 0 && !MAY_HIDE.contains(&class);
    // Nothing tells an earlier time from the present; all other damage must be found on request.
    let is_unseen = answers.unverified > 0 && class != EARLIER;
    answers.wrong > 0 || answers.panics > 0 || is_hidden || is_unseen
}

fn attempt(specimen: &Specimen, damage: &Damage) -> Answers {
    let before = PANICS.lock().expect("no poison").len();
    let path = specimen.lay_out(Some(damage));
    let answers = catch_unwind(AssertUnwindSafe(|| calls::ask(specimen.kind, &path)));
    let mut answers = answers.unwrap_or(Answers { points: 1, ..Answers::default() });
    answers.panics = PANICS.lock().expect("no poison").len() - before;
    answers
}

/// A hang is a failure: the end of this process reports it to the parent.
fn abort_when_stuck() {
    loop {
        let before = AT.load(Ordering::Relaxed);
        std::thread::sleep(ANSWER_WAIT);
        if AT.load(Ordering::Relaxed) == before {
            eprintln!("no answer for {ANSWER_WAIT:?}");
            std::process::abort();
        }
    }
}

/// The control: how many results `SQLite` alone hands out changed, or not at all, with no error.
fn unseen(specimen: &Specimen, damage: &Damage) -> usize {
    let is_database = matches!(damage, Damage::Flip { file: DATABASE, .. });
    if !is_database && !matches!(damage, Damage::Older { .. } | Damage::Delete { .. }) {
        return 0;
    }
    let done = CALLS.iter().filter(|known| matches!(known, Known::Done(_))).count();
    let path = specimen.lay_out(Some(damage));
    let read = || -> rusqlite::Result<usize> {
        let conn = Connection::open(&path)?;
        let mut statement = conn.prepare("SELECT result FROM idem_record WHERE status = 3")?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let is_known = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            (0..CALLS.len()).any(|n| text.trim_end_matches('"').ends_with(&value_of(n)))
        };
        Ok(rows.iter().filter(|bytes| !is_known(bytes)).count() + done.saturating_sub(rows.len()))
    };
    read().unwrap_or(0)
}
