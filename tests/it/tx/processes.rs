//! `tx` between several processes, and the fsyncs of a batch.

use std::fmt::Write;

use idem_runtime::ErrorKind;
use rusqlite::{Connection, TransactionBehavior};

use crate::support::ledger::{
    Books, Failure, Posted, booking, not_run, open, post, postings, refused, status,
};
use crate::support::role::{self, Program};
use crate::support::strace::strace;
use idem_tests::halt::pause;

const STORM: &str = "tx::processes::the_program_with_a_connection_of_its_own";
const BATCH: &str = "tx::processes::the_program_with_a_batch";

fn transfer(conn: &Connection, key: &str, cents: u32) -> Posted {
    booking(key).arg("cents", &cents).tx(conn).run(|| post(conn, key))
}

#[test]
fn the_program_with_a_connection_of_its_own() {
    let Some(words) = role::words() else { return };
    let [path, keys] = words.try_into().unwrap();
    let mut conn = open(path.as_ref());
    role::say("ready");
    assert_eq!(role::listen().unwrap(), "go");
    let mut answers = String::new();
    for n in 0..keys.parse::<u32>().unwrap() {
        let key = format!("k{n}");
        let posted = if n % 2 == 0 {
            transfer(&conn, &key, n).unwrap()
        } else {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            let posted = transfer(&transaction, &key, n).unwrap();
            transaction.commit().unwrap();
            posted
        };
        write!(answers, "{posted} ").unwrap();
    }
    role::say(&format!("answers {answers}"));
    if !answers.is_empty() {
        return;
    }
    // Without keys, one that stays in its body.
    let _: Posted = booking("held").tx(&conn).run(|| {
        post(&conn, "held")?;
        role::say("stands");
        role::listen();
        Err(Failure::Own("told to"))
    });
    role::say("over");
}

// Rule 1. Field 18.
#[test]
fn four_processes_have_one_row_per_key_and_the_same_answers() {
    let books = Books::new();
    let path = books.path();
    let mut programs: Vec<_> =
        (0..4).map(|_| Program::start(STORM, &[path.to_str().unwrap(), "40"])).collect();
    for program in &mut programs {
        program.hear("ready");
    }
    for program in &mut programs {
        program.tell("go");
    }
    let mut answers: Vec<_> = programs.iter_mut().map(|program| program.hear("answers")).collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "the processes got different answers: {answers:?}");
    let conn = books.open();
    let mut rows = postings(&conn);
    assert_eq!(rows.len(), 40);
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 40, "a row is there twice");
    refused(transfer(&conn, "k7", 8), ErrorKind::Mismatch);
    assert!(transfer(&conn, "k7", 7).is_ok());
}

// Rule 3: a killed process leaves no record, so its death need not be proven.
#[test]
fn a_process_that_is_killed_in_its_body_leaves_no_row_and_no_waiter() {
    let books = Books::new();
    let path = books.path();
    let mut program = Program::start(STORM, &[path.to_str().unwrap(), "0"]);
    program.hear("ready");
    program.tell("go");
    program.hear("stands");
    let conn = books.open();
    assert_eq!(
        (postings(&conn).len(), status(&conn, "held")),
        (0, None),
        "the row is visible before its commit"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let conn = books.open();
            booking("held").tx(&conn).run(|| post(&conn, "held by another"))
        });
        pause();
        assert!(!waiting.is_finished(), "two bodies ran side by side");
        program.kill();
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    assert_eq!(booking("held").tx(&conn).run(not_run).unwrap(), 1);
    assert_eq!(postings(&conn), ["held by another"]);
}

#[test]
fn the_program_with_a_batch() {
    let Some(words) = role::words() else { return };
    let [path, batches] = words.try_into().unwrap();
    let mut conn = open(path.as_ref());
    let messages: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    match batches.parse::<usize>().unwrap() {
        // For comparison: one row and no record.
        0 => assert_eq!(post(&conn, "alone").unwrap(), 1),
        batches => {
            for batch in messages.chunks(messages.len() / batches) {
                let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                for message in batch {
                    assert!(transfer(&transaction, message, 1).is_ok());
                }
                transaction.commit().unwrap();
            }
        }
    }
    role::say("done");
    // An orderly end would add a checkpoint.
    std::process::abort();
}

/// The number of fsyncs of the program that commits 200 messages in so many batches. `None` if that cannot be counted
/// here.
fn syncs(batches: usize) -> Option<usize> {
    let books = Books::new();
    let path = books.path();
    let log = path.with_extension("strace");
    let part = role::command(BATCH, &[path.to_str().unwrap(), &batches.to_string()]);
    let output = strace(&["-e", "trace=fsync,fdatasync", "-o", log.to_str()?], &part)?;
    assert!(String::from_utf8_lossy(&output.stdout).contains(">> done"), "{output:?}");
    assert_eq!(postings(&books.open()).len(), if batches == 0 { 1 } else { 200 });
    let log = std::fs::read_to_string(log).unwrap();
    Some(log.lines().filter(|line| line.contains("sync(")).count())
}

#[test]
fn a_batch_of_200_messages_has_as_many_fsyncs_as_a_single_row() {
    let (Some(row), Some(one), Some(many)) = (syncs(0), syncs(1), syncs(200)) else { return };
    assert_eq!(one, row, "{many} in 200 transactions");
    assert!(many >= row + 199, "{many} syncs for 200 commits: they are not counted");
}
