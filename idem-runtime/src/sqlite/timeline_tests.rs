//! Ages on a simulated machine with wrong clocks, compared with its true time.

use super::*;

pub(super) const SECOND: i64 = 1_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// True time at the begin of every test: 200 days after 2026-01-01.
pub(super) const BEGIN: i64 = PLAUSIBLE_FROM_MS + 200 * DAY;

/// A machine, its store's rows, and the process that has the store open.
pub(super) struct Machine {
    pub(super) true_ms: i64,
    pub(super) booted_ms: i64,
    pub(super) boots: i64,
    /// Wall time minus true time.
    pub(super) error_ms: i64,
    pub(super) rows: Vec<BootRow>,
    pub(super) timeline: Timeline,
}

impl Machine {
    pub(super) fn started(error_ms: i64) -> Self {
        let reading = Reading { wall_ms: BEGIN + error_ms, boot_ms: 0 };
        let (timeline, row) = Timeline::open(Vec::new(), "boot 0", reading);
        Self { true_ms: BEGIN, booted_ms: BEGIN, boots: 0, error_ms, rows: vec![row], timeline }
    }

    pub(super) fn reading(&self) -> Reading {
        Reading { wall_ms: self.true_ms + self.error_ms, boot_ms: self.true_ms - self.booted_ms }
    }

    pub(super) fn write(&mut self, row: BootRow) {
        match self.rows.iter_mut().find(|known| known.number == row.number) {
            Some(known) => known.include(row.low_offset_ms, row.high_offset_ms, row.last_ms),
            None => self.rows.push(row),
        }
    }

    /// Lets time pass, awake or asleep: boot time counts both.
    pub(super) fn pass(&mut self, duration_ms: i64) {
        self.true_ms += duration_ms;
        if let Some(row) = self.timeline.observe(self.reading()) {
            self.write(row);
        }
    }

    pub(super) fn set_clock(&mut self, error_ms: i64) {
        self.error_ms = error_ms;
        self.pass(1);
    }

    pub(super) fn reboot(&mut self, off_ms: i64, error_ms: i64) {
        self.true_ms += off_ms;
        (self.booted_ms, self.error_ms, self.boots) = (self.true_ms, error_ms, self.boots + 1);
        self.true_ms += 10 * SECOND;
        self.restart_process();
    }

    pub(super) fn restart_process(&mut self) {
        let boot_id = format!("boot {}", self.boots);
        let (timeline, row) = Timeline::open(self.rows.clone(), &boot_id, self.reading());
        self.timeline = timeline;
        self.write(row);
    }

    /// The clock error that makes the wall clock start in 1970.
    pub(super) fn in_1970(&self) -> i64 {
        -self.true_ms
    }

    pub(super) fn is_placed(&self) -> bool {
        self.timeline.boots[&self.timeline.current].is_placed()
    }

    pub(super) fn age(&self, stamp: Mark) -> Option<i64> {
        self.timeline.age_ms(stamp)
    }
}

#[test]
fn with_a_right_clock_the_age_is_the_true_age() {
    let mut machine = Machine::started(0);
    let first = machine.timeline.now();
    machine.pass(HOUR);
    assert_eq!(machine.age(first), Some(HOUR));
    machine.reboot(5 * HOUR, 0);
    assert_eq!(machine.age(first), Some(6 * HOUR + 10 * SECOND));
    machine.reboot(DAY, 0);
    assert_eq!(machine.age(first), Some(DAY + 6 * HOUR + 20 * SECOND));
    assert_eq!(machine.timeline.wall_ms(first), BEGIN);
}

#[test]
fn a_lifetime_ends_to_the_millisecond() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.reboot(HOUR, 0);
    machine.pass(DAY - HOUR - 10 * SECOND - 1);
    assert!(!machine.timeline.is_expired(stamp, DAY));
    machine.pass(1);
    assert!(machine.timeline.is_expired(stamp, DAY));
    assert!(!machine.timeline.is_expired(stamp, i64::MAX));
}

#[test]
fn a_jump_of_the_wall_clock_changes_no_age_within_its_boot() {
    for jump in [-60 * YEAR, -YEAR, -HOUR, HOUR, YEAR, 300 * YEAR] {
        let mut machine = Machine::started(0);
        let stamp = machine.timeline.now();
        machine.set_clock(jump);
        machine.pass(HOUR - 1);
        assert_eq!(machine.age(stamp), Some(HOUR), "{jump}");
        machine.restart_process();
        assert_eq!(machine.age(stamp), Some(HOUR), "{jump}");
    }
}

#[test]
fn stamps_of_a_clock_that_starts_in_1970_are_right_once_it_is_set() {
    let mut machine = Machine::started(-BEGIN);
    let stamp = machine.timeline.now();
    machine.pass(HOUR);
    assert_eq!(machine.timeline.wall_ms(stamp), 0, "the wall time of the clock");
    machine.set_clock(0);
    assert_eq!(machine.age(stamp), Some(HOUR + 1));
    assert_eq!(machine.timeline.wall_ms(stamp), BEGIN, "the true wall time");
    machine.reboot(HOUR, 0);
    assert_eq!(machine.age(stamp), Some(2 * HOUR + 1 + 10 * SECOND));
}

#[test]
fn a_boot_in_1970_ends_when_a_plausible_boot_is_first_met() {
    let mut machine = Machine::started(-BEGIN);
    let stamp = machine.timeline.now();
    machine.pass(HOUR);
    machine.reboot(30 * DAY, 0);
    // The age is not 56 years, and no clock tells how long the machine was off.
    assert_eq!(machine.age(stamp), Some(HOUR));
    machine.pass(DAY);
    assert_eq!(machine.age(stamp), Some(DAY + HOUR));
    machine.reboot(DAY, 0);
    assert_eq!(machine.age(stamp), Some(2 * DAY + HOUR + 10 * SECOND));
}

#[test]
fn a_month_without_power_does_not_age_the_stamps_of_a_boot_in_1970() {
    let mut machine = Machine::started(0);
    let old = machine.timeline.now();
    machine.pass(HOUR);
    machine.reboot(30 * DAY, 0);
    machine.error_ms = machine.in_1970();
    machine.reboot(30 * DAY, machine.in_1970());
    let stamp = machine.timeline.now();
    assert_eq!(machine.age(old), None, "no plausible wall time");
    assert!(machine.timeline.wall_ms(stamp) > machine.timeline.wall_ms(old), "the order of boots");
    machine.pass(HOUR);
    machine.reboot(DAY, 0);
    // The month does not count, although the store last saw a plausible clock a month before.
    assert_eq!(machine.age(stamp), Some(HOUR));
    assert_eq!(machine.age(old), Some(machine.true_ms - BEGIN));
}

#[test]
fn two_boots_in_1970_keep_their_order() {
    let mut machine = Machine::started(-BEGIN);
    let first = machine.timeline.now();
    machine.pass(HOUR);
    machine.reboot(DAY, machine.in_1970() - DAY);
    let second = machine.timeline.now();
    machine.pass(HOUR);
    assert!(machine.timeline.wall_ms(first) < machine.timeline.wall_ms(second));
    assert_eq!(machine.age(first), None);
    machine.reboot(DAY, 0);
    assert_eq!((machine.age(first), machine.age(second)), (Some(HOUR), Some(HOUR)));
}

#[test]
fn a_clock_that_is_behind_after_a_reboot_expires_nothing_until_it_is_plausible() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.pass(10 * DAY);
    machine.reboot(HOUR, -DAY);
    assert_eq!(machine.age(stamp), None);
    machine.pass(12 * HOUR);
    assert_eq!(machine.age(stamp), None);
    machine.pass(12 * HOUR);
    assert_eq!(machine.age(stamp), Some(10 * DAY + HOUR + 10 * SECOND), "a day younger than it is");
}

#[test]
fn a_clock_that_is_set_back_makes_records_younger() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.reboot(10 * DAY, 0);
    machine.pass(3 * DAY);
    machine.set_clock(-2 * DAY);
    assert_eq!(machine.age(stamp), Some(machine.true_ms - BEGIN - 2 * DAY));
    // A time before the begin of the boot is not plausible.
    machine.set_clock(-YEAR);
    assert_eq!(machine.age(stamp), Some(machine.true_ms - BEGIN - 2 * DAY));
}

#[test]
fn a_jump_of_a_year_ahead_delays_expiry_by_a_year_at_most() {
    let mut machine = Machine::started(0);
    let before = machine.timeline.now();
    machine.reboot(HOUR, 0);
    let during = machine.timeline.now();
    machine.set_clock(YEAR);
    assert!(machine.age(before).is_some_and(|age| age < 2 * HOUR), "a jump ages nothing");
    machine.set_clock(0);
    machine.reboot(HOUR, 0);
    assert_eq!(machine.age(before), None);
    machine.pass(YEAR - 2 * HOUR);
    assert_eq!(machine.age(during), None);
    machine.pass(2 * HOUR);
    assert!(!machine.timeline.is_expired(during, DAY));
    machine.pass(DAY);
    assert!(machine.timeline.is_expired(during, DAY) && machine.timeline.is_expired(before, DAY));
}

#[test]
fn stamps_of_an_implausible_boot_count_from_the_next_plausible_boot() {
    let mut machine = Machine::started(0);
    machine.set_clock(YEAR);
    machine.reboot(HOUR, 0);
    let stamp = machine.timeline.now();
    // The clock was right, and the clock that was a year ahead could have been right as well.
    machine.reboot(2 * YEAR, 0);
    assert_eq!(machine.age(stamp), Some(0));
}

#[test]
fn sleep_is_counted() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.pass(3 * DAY);
    assert!(machine.timeline.is_expired(stamp, 3 * DAY));
    assert_eq!(machine.timeline.horizon_ms(), machine.true_ms);
}

#[test]
fn a_store_that_moves_between_running_machines_keeps_its_ages() {
    let mut machine = Machine::started(0);
    let stamp = machine.timeline.now();
    machine.pass(HOUR);
    // The other machine has run for 100 days.
    (machine.booted_ms, machine.boots) = (machine.true_ms - 100 * DAY, 1);
    machine.restart_process();
    assert_eq!(machine.age(stamp), Some(HOUR));
    let there = machine.timeline.now();
    assert_eq!(machine.timeline.wall_ms(there), machine.true_ms);
    machine.pass(HOUR);
    // Back on the first machine.
    (machine.booted_ms, machine.boots) = (BEGIN, 0);
    machine.restart_process();
    assert_eq!((machine.age(stamp), machine.age(there)), (Some(2 * HOUR), Some(HOUR)));
}

#[test]
fn a_row_must_be_written_after_a_minute_and_after_a_jump() {
    let mut machine = Machine::started(-BEGIN);
    let mut observe = |after_ms: i64, error_ms: i64| {
        (machine.true_ms, machine.error_ms) = (machine.true_ms + after_ms, error_ms);
        machine.timeline.observe(machine.reading())
    };
    assert_eq!(observe(59 * SECOND, -BEGIN), None);
    assert_eq!(observe(SECOND, -BEGIN).unwrap().last_ms, 60 * SECOND);
    assert_eq!(observe(SECOND, -BEGIN), None);
    let placed = observe(1, 0).unwrap();
    assert_eq!((placed.low_offset_ms, placed.high_offset_ms), (Some(BEGIN), BEGIN));
    assert_eq!(observe(1, SECOND), None, "a move of a second is not written");
    assert_eq!(observe(1, SECOND + 1).unwrap().high_offset_ms, BEGIN + SECOND + 1);
    assert_eq!(observe(1, -SECOND - 1).unwrap().low_offset_ms, Some(BEGIN - SECOND - 1));
}

#[test]
fn a_boot_time_that_runs_backwards_changes_nothing() {
    let mut machine = Machine::started(0);
    machine.pass(HOUR);
    let horizon_ms = machine.timeline.horizon_ms();
    let _ = machine.timeline.observe(Reading { wall_ms: machine.true_ms, boot_ms: 0 });
    assert_eq!(machine.timeline.now(), Mark { clock: 1, at_ms: HOUR });
    assert_eq!(machine.timeline.horizon_ms(), horizon_ms);
}

#[test]
fn rows_of_other_processes_merge_in_any_order() {
    let row = |low, high, last| BootRow {
        number: 1,
        boot_id: "boot 0".to_owned(),
        after_ms: 0,
        met_ms: 0,
        low_offset_ms: low,
        high_offset_ms: high,
        last_ms: last,
    };
    let rows = [row(None, 5, 50), row(Some(BEGIN), BEGIN, 10), row(Some(BEGIN + 9), BEGIN + 9, 20)];
    let expected = row(Some(BEGIN), BEGIN + 9, 50);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut machine = Machine::started(-BEGIN);
        machine.timeline.merge(order.map(|index| rows[index].clone()));
        assert_eq!(machine.timeline.boots[&1], expected, "{order:?}");
    }
}

#[test]
fn the_newest_time_survives_the_deletion_of_old_rows() {
    let mut machine = Machine::started(0);
    machine.pass(10 * DAY);
    machine.reboot(HOUR, -DAY);
    machine.rows.retain(|row| row.number == 2);
    machine.reboot(0, -DAY);
    assert_eq!(machine.rows[1].after_ms, BEGIN + 10 * DAY);
    assert!(!machine.is_placed());
}

#[test]
fn an_unknown_boot_is_not_expired() {
    let machine = Machine::started(0);
    let stamp = Mark { clock: 9, at_ms: -YEAR };
    assert!(!machine.timeline.knows(9) && machine.timeline.knows(1));
    assert!(!machine.timeline.is_expired(stamp, 0));
    assert_eq!(machine.timeline.wall_ms(stamp), 0);
    assert!(!machine.timeline.is_of_this_uptime(stamp));
}

#[test]
fn extreme_rows_do_not_overflow() {
    for extreme in [i64::MIN, -1, 0, 1, i64::MAX] {
        let row = BootRow {
            number: extreme,
            boot_id: "extreme".to_owned(),
            after_ms: extreme,
            met_ms: extreme,
            low_offset_ms: Some(extreme),
            high_offset_ms: extreme,
            last_ms: extreme,
        };
        for boot_id in ["extreme", "other"] {
            let reading = Reading { wall_ms: extreme, boot_ms: extreme };
            let (mut timeline, _) = Timeline::open(vec![row.clone()], boot_id, reading);
            let _ = timeline.observe(Reading { wall_ms: BEGIN, boot_ms: 5 });
            for at_ms in [i64::MIN, 0, i64::MAX] {
                let stamp = Mark { clock: extreme, at_ms };
                assert!(timeline.age_ms(stamp).is_none_or(|age_ms| age_ms >= 0));
                let _ = (timeline.expires_wall_ms(stamp, i64::MAX), timeline.horizon_ms());
            }
        }
    }
}

/// A random number generator with the same sequence on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A stamp with its true time and its estimated expiry.
struct Made {
    stamp: Mark,
    true_ms: i64,
    indexed_ms: i64,
}

const LIFETIME: i64 = 3 * DAY;

fn check_stamps(machine: &Machine, made: &[Made], longest_ms: i64) {
    for Made { stamp, true_ms, indexed_ms } in made {
        let true_age_ms = machine.true_ms - true_ms;
        let expired = machine.timeline.is_expired(*stamp, LIFETIME);
        assert!(!expired || true_age_ms >= LIFETIME, "expired {} ms too early", LIFETIME - true_age_ms);
        assert!(
            !expired || *indexed_ms <= machine.timeline.horizon_ms(),
            "the purge does not find the record"
        );
        assert!(expired || true_age_ms <= longest_ms, "kept for {true_age_ms} ms");
    }
}

fn stamp(machine: &Machine) -> Made {
    let stamp = machine.timeline.now();
    let indexed_ms = machine.timeline.expires_wall_ms(stamp, LIFETIME);
    Made { stamp, true_ms: machine.true_ms, indexed_ms }
}

/// A clock starts right, behind or in 1970. A clock that starts behind is set before its boot ends, a clock in 1970
/// perhaps. A plausible clock may be set ahead or back. No clock is ahead when it first becomes plausible: no rule can
/// notice this error.
#[test]
fn nothing_expires_before_its_lifetime_in_true_time() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut machine = Machine::started(0);
        let mut made = Vec::new();
        for _ in 0..6 {
            for _ in 0..4 {
                made.push(stamp(&machine));
                machine.pass(random.below(2 * DAY));
                match random.below(6) {
                    0 if machine.is_placed() => machine.set_clock(random.below(YEAR)),
                    1 => machine.set_clock(-random.below(YEAR)),
                    2 => machine.set_clock(0),
                    3 => machine.restart_process(),
                    _ => {}
                }
                check_stamps(&machine, &made, i64::MAX);
            }
            let stays_in_1970 =
                machine.true_ms + machine.error_ms < PLAUSIBLE_FROM_MS && random.below(2) == 0;
            if !stays_in_1970 {
                machine.set_clock(0);
            }
            let off_ms = random.below(10 * DAY);
            let in_1970 = -(machine.true_ms + off_ms);
            let error_ms = [0, -random.below(YEAR), in_1970][usize::try_from(random.below(3)).unwrap()];
            machine.reboot(off_ms, error_ms);
            check_stamps(&machine, &made, i64::MAX);
        }
    }
}

/// The clock jumps ahead once and is corrected in the same boot.
#[test]
fn a_jump_ahead_extends_lifetimes_by_at_most_the_jump() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let jump_ms = random.below(30 * DAY);
        let jumps_in = random.below(5);
        let mut machine = Machine::started(0);
        let mut made = Vec::new();
        for boot in 0..60 {
            made.push(stamp(&machine));
            machine.pass(random.below(DAY));
            if boot == jumps_in {
                machine.set_clock(jump_ms);
                made.push(stamp(&machine));
                machine.set_clock(0);
            }
            made.push(stamp(&machine));
            let off_ms = random.below(HOUR);
            machine.reboot(off_ms, 0);
            // The stamps of an implausible boot count from the next plausible boot: up to one boot more.
            check_stamps(&machine, &made, LIFETIME + jump_ms + 2 * DAY);
        }
    }
}

#[test]
fn a_reading_is_seen_if_and_only_if_it_changes_nothing() {
    let known = |timeline: &Timeline| (timeline.now_ms, timeline.boots.clone());
    for error_ms in [0, DAY, -DAY, -BEGIN] {
        let mut machine = Machine::started(error_ms);
        for step in 0..2_000 {
            machine.true_ms += step % 3;
            machine.error_ms += step % 7 - 3;
            let (reading, before) = (machine.reading(), known(&machine.timeline));
            let seen = machine.timeline.has_seen(reading);
            machine.timeline.observe(reading);
            assert_eq!(seen, known(&machine.timeline) == before);
        }
    }
}
