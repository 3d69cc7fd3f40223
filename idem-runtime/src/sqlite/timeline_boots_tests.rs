//! Boots that are pruned, that cannot be compared, or whose uptime starts anew.

use super::tests::*;
use super::*;

/// Rows of processes on a system without a boot id.
fn of_processes(count: i64) -> Vec<BootRow> {
    let row = |n| BootRow {
        number: n,
        boot_id: format!("process {n} x"),
        after_ms: 0,
        met_ms: 0,
        low_offset_ms: Some(BEGIN + n * HOUR),
        high_offset_ms: BEGIN + n * HOUR,
        last_ms: SECOND,
    };
    (1..=count).map(row).collect()
}

#[test]
fn pruned_boots_make_their_records_live_longer_and_never_shorter() {
    let count = 10_000;
    let mut rows = of_processes(count);
    let pruned = prune(&mut rows);
    assert!(rows.len() <= BOOTS_MAX && rows.len() + pruned.deleted.len() == 10_000);
    let true_ms = BEGIN + (count + 1) * HOUR;
    let (timeline, _) = Timeline::open(rows, "process now", Reading { wall_ms: true_ms, boot_ms: 0 });
    for number in 1..=count {
        let age_ms = timeline.age_ms(Mark { clock: number, at_ms: 0 }).unwrap();
        let true_age_ms = (count + 1 - number) * HOUR;
        // A group of eight boots has the time of its last one.
        assert!((true_age_ms - 9 * HOUR..=true_age_ms).contains(&age_ms), "boot {number}: {age_ms}");
        assert!(timeline.knows(number));
    }
    assert!(!timeline.knows(count + 2));
}

#[test]
fn a_few_boots_are_not_pruned() {
    let mut rows = of_processes(i64::try_from(BOOTS_MAX).unwrap());
    assert!(prune(&mut rows).deleted.is_empty());
    assert_eq!(rows.len(), BOOTS_MAX);
}

/// The other process may still run when this one begins: its clock proves no age.
#[test]
fn the_clock_of_another_process_is_no_end_of_an_implausible_one() {
    let mut rows = of_processes(1);
    rows[0].low_offset_ms = None;
    let reading = Reading { wall_ms: BEGIN + DAY, boot_ms: 0 };
    let (timeline, _) = Timeline::open(rows.clone(), "process now", reading);
    assert_eq!(timeline.age_ms(Mark { clock: 1, at_ms: 0 }), None);
    // A kernel's boot was over when the next one began.
    rows[0].boot_id = "boot 0".to_owned();
    let (timeline, _) = Timeline::open(rows, "boot 1", reading);
    assert!(timeline.age_ms(Mark { clock: 1, at_ms: 0 }).is_some());
}

#[test]
fn an_uptime_that_starts_anew_has_a_row_of_its_own() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.pass(DAY);
    machine.booted_ms = machine.true_ms;
    machine.restart_process();
    assert_eq!(machine.rows.len(), 2);
    assert!(!machine.timeline.is_of_this_uptime(stamp));
    assert_eq!(machine.timeline.known_doubt_ms(stamp, true), None, "the machine did not restart");
    assert_eq!(machine.age(stamp), Some(DAY));
    // Processes of one container share its row, and those of the host share theirs.
    machine.pass(HOUR);
    machine.restart_process();
    assert_eq!(machine.rows.len(), 2);
    machine.booted_ms = BEGIN;
    machine.restart_process();
    assert_eq!((machine.rows.len(), machine.age(stamp)), (2, Some(DAY + HOUR)));
}
