//! Replays and first calls beside the handwritten alternative, for `cargo bench -p idem-benches`.
//!
//! Contenders do not take turns here, so a shared disk can distort the comparison. `idem-benches` interleaves them.
#![expect(clippy::expect_used, reason = "a benchmark that cannot run must fail")]

use std::cell::Cell;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use idem_benches::contender::Contender;
use idem_benches::contender::embedded::embedded;
use idem_benches::key;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const CASES: [&str; 6] =
    ["ours, disk", "ours-async, disk", "by-hand, disk", "ours, tmpfs", "ours-async, tmpfs", "by-hand, tmpfs"];

/// Opens one contender in its own folder.
fn contender(case: &str) -> (TempDir, Box<dyn Contender>) {
    let (name, place) = case.split_once(", ").expect("a name and a place");
    let parent = if place == "disk" { "." } else { "/dev/shm" };
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let contender = embedded(name, folder.path()).expect("a contender");
    (folder, contender)
}

#[divan::bench(args = CASES)]
fn replay(bencher: Bencher<'_, '_>, case: &str) {
    let (_folder, contender) = contender(case);
    let mut caller = contender.caller().expect("a caller");
    caller.first(&key(0)).expect("a first call");
    bencher.bench_local(|| caller.again(&key(0)).expect("a replay"));
}

#[divan::bench(args = CASES)]
fn first_call(bencher: Bencher<'_, '_>, case: &str) {
    let (_folder, contender) = contender(case);
    let mut caller = contender.caller().expect("a caller");
    let next = Cell::new(0);
    let fresh = || key(next.replace(next.get() + 1));
    bencher.with_inputs(fresh).bench_local_refs(|key| caller.first(key).expect("a first call"));
}

/// Makes a thousand calls from 64 callers; the time includes the start of the callers.
#[divan::bench(args = CASES, sample_count = 20)]
fn first_calls_of_64(bencher: Bencher<'_, '_>, case: &str) {
    const CALLS: u64 = 1_024;
    let (_folder, contender) = contender(case);
    let next = Cell::new(0);
    let fresh = || next.replace(next.get() + CALLS);
    let bencher = bencher.counter(ItemsCount::new(CALLS)).with_inputs(fresh);
    bencher.bench_local_values(|first| contender.first_calls(64, first..first + CALLS).expect("first calls"));
}
