//! Short forms of the proof campaign: kills, power cuts, races, full disks. The long forms are
//! `cargo run --release -p idem-torture -- --all`.

use crate::torture_checks::part;

// Rule 1, 3, 4, 7, 8.
#[test]
fn killed_or_failing_at_a_syscall_nothing_is_lost_and_nothing_happens_twice() {
    part("syscalls");
}

// Rule 8: what was acknowledged has been forced to disk.
#[test]
fn after_a_power_cut_everything_acknowledged_is_there() {
    part("power");
}

// Rule 1, 3.
#[test]
fn processes_that_race_die_and_stop_run_each_call_once() {
    part("races");
}

// Rule 7, 8.
#[test]
fn on_a_full_or_failing_disk_claims_fail_closed_and_outcomes_are_written_later() {
    part("disk");
}
