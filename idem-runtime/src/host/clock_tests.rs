use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

#[test]
fn uptime_is_read_in_milliseconds() {
    assert_eq!(parse_uptime_ms(b"809.28 1562.61\n"), Some(809_280));
    assert_eq!(parse_uptime_ms(b"0.01 0.00\n"), Some(10));
    for junk in ["", "809", "809.2 1", "x.28 1", "-.-- 1", "99999999999999999999.00 1"] {
        assert_eq!(parse_uptime_ms(junk.as_bytes()), None, "{junk:?}");
    }
}

#[test]
fn boot_time_never_runs_backwards_and_keeps_pace() {
    let clock = SystemClock::new();
    let begun = Instant::now();
    let first = clock.boot_ms();
    let mut previous = first;
    while begun.elapsed() < Duration::from_millis(1_200) {
        let least = millis(begun.elapsed());
        let now = clock.boot_ms();
        assert!(now >= previous);
        // The kernel counts in hundredths of a second.
        assert!((least - 15..=millis(begun.elapsed()) + 15).contains(&(now - first)));
        previous = now;
    }
}

#[test]
fn both_clocks_read_at_once_are_the_clocks_read_one_by_one() {
    let clock = SystemClock::new();
    for carried_max in [Duration::ZERO, BOOT_TIME_CARRIED_MAX] {
        clock.anchor().read_at -= carried_max;
        let (wall_before, boot_before) = (clock.wall_ms(), clock.anchor().boot_ms);
        let (wall, boot) = clock.wall_and_boot_ms();
        assert!((wall_before..=clock.wall_ms()).contains(&wall));
        assert!((boot_before..=clock.boot_ms()).contains(&boot));
    }
}

#[test]
fn a_reading_behind_the_carried_one_does_not_set_boot_time_back() {
    let clock = SystemClock::new();
    let ahead = clock.boot_ms() + 60_000;
    clock.anchor().boot_ms = ahead;
    clock.anchor().read_at -= BOOT_TIME_CARRIED_MAX;
    assert!(clock.boot_ms() >= ahead);
}

#[test]
fn two_clocks_of_one_machine_agree() {
    let (a, b) = (SystemClock::new(), SystemClock::new());
    let per_process = a.boot_id().starts_with("process ");
    assert_eq!(a.boot_id() == b.boot_id(), !per_process);
    assert!(per_process || (a.boot_ms() - b.boot_ms()).abs() <= 30);
}

#[test]
fn a_sleep_is_noticed_at_once_by_the_wall_clock() {
    let clock = SystemClock::new();
    let readings: [fn(&SystemClock) -> i64; 2] = [SystemClock::boot_ms, |clock| clock.wall_and_boot_ms().1];
    for boot_ms in readings {
        clock.anchor().wall_at -= Duration::from_secs(3_600);
        clock.anchor().boot_ms -= 5_000;
        let behind = clock.anchor().boot_ms;
        let expected = if clock.anchor().uptime.is_some() { 5_000 } else { 0 };
        assert!(boot_ms(&clock) - behind >= expected);
    }
}

#[test]
fn without_a_kernel_every_process_is_its_own_boot() {
    assert_ne!(boot::process_id(1), boot::process_id(1));
    let mut anchor = Anchor { boot_ms: 7, read_at: Instant::now(), wall_at: system_time(), uptime: None };
    assert!((7..100).contains(&anchor.boot_ms_now()));
}

#[derive(Debug)]
struct FallsAsleepOnce(AtomicI64);

impl Clock for FallsAsleepOnce {
    fn wall_ms(&self) -> i64 {
        // The first reading is before the sleep of an hour, every later one after it.
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 { 1_000_000 } else { 4_600_000 }
    }
    fn boot_ms(&self) -> i64 {
        if self.0.load(Ordering::Relaxed) == 0 { 500 } else { 3_600_500 }
    }
    fn boot_id(&self) -> String {
        "test".to_owned()
    }
}

#[test]
fn a_sleep_between_the_two_readings_is_not_a_jump() {
    let reading = Reading::of(&FallsAsleepOnce(AtomicI64::new(0)));
    assert_eq!(reading, Reading { wall_ms: 4_600_000, boot_ms: 3_600_500 });
}
