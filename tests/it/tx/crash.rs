//! `kill -9` at every statement of a function with `tx`: the rows of the application and the records agree.
#![allow(unused_mut, reason = "rusqlite 0.39 sets hooks through a shared reference")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use idem_runtime::{Error, ErrorKind, Settled, Store, Verdict, settle, with_store};
use idem_tests::deadline;
use idem_tests::form::Form;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use crate::support::ledger::{Books, DONE, Posted, booking, not_run, open, post, postings, refused, status};
use crate::support::role;
use crate::support::strace::strace;

const COMMITS: &str = "tx::crash::the_program_that_commits_in_its_body";
const PART: &str = "tx::crash::the_program_that_is_killed";

/// How the function of the program is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// `tx`, in a transaction of its own.
    Autocommit,
    /// `tx`, in a transaction of the program's.
    Within,
    /// For comparison, without `tx`: the row on the program's connection, the record in a store on the same file.
    Apart,
}

impl Way {
    fn word(self) -> String {
        format!("{self:?}")
    }
}

/// Statements started or ended on the program's connection, until it dies.
static MOMENTS: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicU32 = AtomicU32::new(0);

fn one_more(_: TraceEvent<'_>) {
    if MOMENTS.fetch_add(1, Ordering::SeqCst) + 1 == LAST.load(Ordering::SeqCst) {
        die();
    }
}

/// SIGKILL, and not one statement more.
fn die() -> ! {
    let own = std::process::id().to_string();
    // It ends this program while that waits for it.
    let _ = Command::new("kill").args(["-KILL", &own]).status();
    role::stand_still()
}

/// Makes one transfer and dies at the given moment.
#[test]
fn the_program_that_is_killed() {
    let Some(words) = role::words() else { return };
    let [path, way, key, last] = words.try_into().unwrap();
    LAST.store(last.parse().unwrap(), Ordering::SeqCst);
    let mut conn = open(path.as_ref());
    let at_every_statement = TraceEventCodes::SQLITE_TRACE_STMT | TraceEventCodes::SQLITE_TRACE_PROFILE;
    let _ = conn.trace_v2(at_every_statement, Some(one_more as fn(TraceEvent<'_>)));
    let transfer = || {
        post(&conn, &format!("{key} from"))?;
        post(&conn, &format!("{key} to"))
    };
    match way.as_str() {
        "Autocommit" => drop(booking(&key).tx(&conn).run(transfer).unwrap()),
        "Within" => {
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(booking(&key).tx(&conn).run(transfer).is_ok());
            conn.execute_batch("COMMIT").unwrap();
        }
        _ => {
            let store = Store::builder().shared().open(&path).unwrap();
            let apart = booking(&key).store(&store);
            apart.run(|| transfer().map_err(|_| unreachable!())).map_err(|error: Error| error).unwrap();
        }
    }
    role::say(&format!("survived {}", MOMENTS.load(Ordering::SeqCst)));
}

/// Runs the program until it dies. Gives the number of moments if it survived.
fn run(books: &Books, way: Way, key: &str, last: u32) -> Option<u32> {
    let (path, last) = (books.path(), last.to_string());
    let mut command = role::command(PART, &[path.to_str().unwrap(), &way.word(), key, &last]);
    deadline::start();
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let survived = text.lines().find_map(|line| line.strip_prefix(">> survived "));
    assert_eq!(
        survived.is_some(),
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    survived.map(|moments| moments.parse().unwrap())
}

/// How many rows a call has, and whether its record says that it is done.
fn found(books: &Books, key: &str) -> (usize, bool) {
    let conn = books.open();
    let rows = postings(&conn).iter().filter(|text| text.starts_with(&format!("{key} "))).count();
    (rows, status(&conn, key) == Some(DONE))
}

// Field 3.
#[test]
fn killed_at_every_statement_rows_and_records_agree() {
    let mut cases = Vec::new();
    for journal in ["WAL", "DELETE"] {
        for way in [Way::Autocommit, Way::Within] {
            cases.push((Books::in_mode(journal), way));
        }
    }
    let runs = std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.iter().map(|(books, way)| scope.spawn(|| kill_everywhere(books, *way, 50))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(runs.iter().map(|(kills, _)| kills).sum::<u32>(), 200);
    for (_, done) in runs {
        assert!(done > 0, "no kill came after the commit: the test shows less than it should");
    }
}

/// Kills the program at one moment after the other, each time in another call. Gives the number of kills, and in how
/// many of them the call was done.
fn kill_everywhere(books: &Books, way: Way, kills: u32) -> (u32, u32) {
    // The first call of all also writes down when the machine was started.
    let moments = ["first", "whole"].map(|key| run(books, way, key, u32::MAX).unwrap())[1];
    assert!(moments > 20, "only {moments} moments");
    let mut done = 0;
    for kill in 0..kills {
        let key = format!("k{kill}");
        // From the last moment backwards, round and round.
        let last = moments - kill % moments;
        if let Some(moments) = run(books, way, &key, last) {
            panic!("the program survived moment {last} of {moments} in {way:?}");
        }
        let (rows, is_done) = found(books, &key);
        assert_eq!(rows, if is_done { 2 } else { 0 }, "killed at moment {last} of {moments} in {way:?}");
        done += u32::from(is_done);
        if kill % 10 == 0 {
            // The next attempt runs, and a third one repeats nothing.
            for _ in 0..2 {
                run(books, way, &key, u32::MAX).unwrap();
                assert_eq!(found(books, &key), (2, true));
            }
        }
    }
    (kills, done)
}

#[test]
fn without_a_common_transaction_rows_and_records_disagree() {
    let books = Books::new();
    let moments = run(&books, Way::Apart, "whole", u32::MAX).unwrap();
    let disagree = (1..=moments).filter(|last| {
        let key = format!("k{last}");
        assert!(run(&books, Way::Apart, &key, *last).is_none());
        let (rows, is_done) = found(&books, &key);
        rows != if is_done { 2 } else { 0 }
    });
    assert!(disagree.count() > 0, "these kills would not find out anything");
}

/// The program under `strace`, killed at its nth write to the disk: in the middle of a commit.
#[test]
fn killed_in_the_middle_of_a_commit_rows_and_records_agree() {
    for journal in ["WAL", "DELETE"] {
        let books = Books::in_mode(journal);
        let mut killed = 0;
        for nth in 1..40 {
            let key = format!("k{nth}");
            let path = books.path();
            let part = role::command(PART, &[path.to_str().unwrap(), "Autocommit", &key, "0"]);
            let calls = "pwrite64,fdatasync,fsync,ftruncate,unlink";
            let (trace, inject) =
                (format!("trace={calls}"), format!("inject={calls}:signal=SIGKILL:when={nth}"));
            let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
            let Some(output) = strace(&options, &part) else { return };
            let (rows, is_done) = found(&books, &key);
            assert_eq!(rows, if is_done { 2 } else { 0 }, "killed at write {nth} in {journal}");
            if output.status.success() {
                assert!(is_done);
                break;
            }
            killed += 1;
        }
        assert!(killed >= 3, "only {killed} writes were met in {journal}");
    }
}

/// Commits in its body, which is forbidden, and is killed before that is detected.
#[test]
fn the_program_that_commits_in_its_body() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    let conn = open(path.as_ref());
    let posted: Posted = booking("a").tx(&conn).run(|| {
        post(&conn, "a")?;
        conn.execute_batch("COMMIT")?;
        role::say("committed");
        role::stand_still()
    });
    unreachable!("{posted:?}");
}

#[test]
fn killed_after_a_commit_of_its_own_a_call_is_in_doubt() {
    for form in Form::ALL {
        let books = Books::new();
        let mut program = role::Program::start(COMMITS, &[books.path().to_str().unwrap()]);
        program.hear("committed");
        program.kill();
        let conn = books.open();
        assert_eq!(postings(&conn), ["a"], "the committed row is there");
        let error = refused(booking("a").tx(&conn).run(not_run), ErrorKind::InDoubt);
        assert!(error.to_string().contains("ended the transaction it was given"), "{error}");
        let store = books.shared();
        let again = form.make(booking("a").store(&store), || -> Result<i64, Error> {
            unreachable!("the body ran again")
        });
        assert_eq!(again.unwrap_err().kind(), ErrorKind::InDoubt);
        let settled =
            with_store(&store, || settle(Verdict::Done(1_i64), || booking("a").tx(&conn).run(not_run)));
        assert_eq!(settled.unwrap(), Settled::Done);
        assert_eq!(booking("a").tx(&conn).run(not_run).unwrap(), 1);
    }
}
