//! The two clocks a store lives by, and the only place where they are read.
//!
//! *Wall time* says what a person calls now; it can start in 1970, jump and run backwards. *Boot time* counts
//! the milliseconds since the machine started, sleep included; it never jumps and means nothing after a
//! restart. What the store concludes from the two is in `timeline`.

use std::fmt::Debug;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Seek};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a reading of the kernel's boot time is carried forward before it is read again.
const BOOT_TIME_CARRIED_MAX: Duration = Duration::from_secs(1);
/// How far wall time may move against the process's own clock before boot time is read again.
const WALL_DRIFT_MAX: Duration = Duration::from_millis(20);
/// The kernel's name for the initial time namespace (`PROC_TIME_INIT_INO`).
const INITIAL_TIME_SPACE: &str = "time:[4026531834]";

/// Where a store gets the time from.
///
/// A store uses [`SystemClock`] unless it is built with another; a test can give its own and let months pass.
/// The clock decides about lifetimes only: who owns a call is never decided by time.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Milliseconds since 1970 by the wall clock. It may be wrong, jump and run backwards.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since the machine started, sleep included. It must not run backwards within one boot.
    fn boot_ms(&self) -> i64;
    /// Both, wall time first, as if they were read at one moment.
    ///
    /// The machine may fall asleep between the two: then the pair would look like a jump of hours. So this looks again
    /// until it did not; a clock that knows a cheaper way can have its own.
    fn wall_and_boot_ms(&self) -> (i64, i64) {
        let mut before = self.boot_ms();
        for _ in 0..3 {
            let wall_ms = self.wall_ms();
            let after = self.boot_ms();
            if after.saturating_sub(before) <= 100 {
                return (wall_ms, after);
            }
            before = after;
        }
        (self.wall_ms(), before)
    }
    /// A text that differs for every start of the machine and is the same for all its processes.
    fn boot_id(&self) -> String;
}

/// The clocks of the machine.
///
/// On Linux boot time and boot id are the kernel's. Elsewhere, and where `/proc` is missing, every process
/// counts as a boot of its own: boot time begins with the clock and the id is a fresh one. Lifetimes then
/// follow wall time between processes and stay exact within one.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: String,
    anchor: RwLock<Anchor>,
}

/// A reading of boot time, with what is needed to carry it forward without another system call.
#[derive(Debug)]
struct Anchor {
    boot_ms: i64,
    read_at: Instant,
    wall_at: SystemTime,
    /// `None` where the kernel does not tell.
    uptime: Option<File>,
}

impl SystemClock {
    /// Looks once at what the machine offers.
    pub fn new() -> Self {
        let kernel = kernel_boot_id().zip(File::open("/proc/uptime").ok());
        let kernel = kernel.and_then(|(id, mut file)| Some((id, read_uptime_ms(&mut file)?, file)));
        let (boot_id, boot_ms, uptime) = match kernel {
            Some((id, boot_ms, file)) => (with_time_space(id), boot_ms, Some(file)),
            None => (process_boot_id(), 0, None),
        };
        let anchor = Anchor { boot_ms, read_at: Instant::now(), wall_at: system_time(), uptime };
        Self { boot_id, anchor: RwLock::new(anchor) }
    }

    fn carried(&self) -> Option<(SystemTime, i64)> {
        self.anchor.read().unwrap_or_else(PoisonError::into_inner).carried()
    }

    fn anchor(&self) -> RwLockWriteGuard<'_, Anchor> {
        // Nothing panics while it is held, and a half-updated anchor would still be a valid one.
        self.anchor.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        unix_ms(system_time())
    }

    fn boot_ms(&self) -> i64 {
        // Almost always nothing is to be read: a crowd does not queue for its clock.
        let carried = self.carried();
        carried.map_or_else(|| self.anchor().boot_ms_now(), |(_, boot_ms)| boot_ms)
    }

    /// The wall clock that shows that boot time may be carried forward is of the same moment.
    fn wall_and_boot_ms(&self) -> (i64, i64) {
        for _ in 0..3 {
            if let Some((wall, boot_ms)) = self.carried() {
                return (unix_ms(wall), boot_ms);
            }
            self.anchor().boot_ms_now();
        }
        (unix_ms(system_time()), self.boot_ms())
    }

    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }
}

impl Anchor {
    fn boot_ms_now(&mut self) -> i64 {
        if let Some((_, carried_ms)) = self.carried() {
            return carried_ms;
        }
        let carried_ms = self.boot_ms.saturating_add(millis(self.read_at.elapsed()));
        let read = self.uptime.as_mut().and_then(read_uptime_ms);
        // The kernel counts in hundredths: a fresh reading may be a little behind the carried one.
        self.boot_ms = read.unwrap_or(carried_ms).max(carried_ms);
        self.read_at = Instant::now();
        self.wall_at = system_time();
        self.boot_ms
    }

    /// What the wall clock says, and the last reading carried forward, unless it is time for another: after a while;
    /// after a sleep, which the process's own clock does not count; and after a jump of the wall clock, which looks the
    /// same.
    fn carried(&self) -> Option<(SystemTime, i64)> {
        let (elapsed, wall) = (self.read_at.elapsed(), system_time());
        let wall_elapsed = wall.duration_since(self.wall_at).ok()?;
        let holds = elapsed < BOOT_TIME_CARRIED_MAX && wall_elapsed.abs_diff(elapsed) <= WALL_DRIFT_MAX;
        holds.then(|| (wall, self.boot_ms.saturating_add(millis(elapsed))))
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) wall_ms: i64,
    pub(crate) boot_ms: i64,
}

impl Reading {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        let (wall_ms, boot_ms) = clock.wall_and_boot_ms();
        Self { wall_ms, boot_ms }
    }
}

/// The kernel's id of this boot; `None` where it has none.
pub(crate) fn kernel_boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// A container can be given a boot time of its own; it must not share a row with its host.
fn with_time_space(boot_id: String) -> String {
    match fs::read_link("/proc/self/ns/time") {
        Ok(space) if space.as_os_str() != INITIAL_TIME_SPACE => format!("{boot_id} {}", space.display()),
        _ => boot_id,
    }
}

fn process_boot_id() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_i64(unix_ms(system_time()));
    format!("process {} {:016x}", std::process::id(), hasher.finish())
}

fn read_uptime_ms(file: &mut File) -> Option<i64> {
    let mut bytes = [0; 64];
    file.rewind().ok()?;
    let length = file.read(&mut bytes).ok()?;
    parse_uptime_ms(bytes.get(..length)?)
}

/// Reads `809.28 1562.61` as 809,280.
fn parse_uptime_ms(bytes: &[u8]) -> Option<i64> {
    let first = str::from_utf8(bytes).ok()?.split_whitespace().next()?;
    let (seconds, hundredths) = first.split_once('.')?;
    let hundredths = if hundredths.len() == 2 { hundredths.parse::<i64>().ok()? } else { return None };
    seconds.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(hundredths * 10)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where the wall clock is read")]
fn system_time() -> SystemTime {
    SystemTime::now()
}

fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
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
        let looks: [fn(&SystemClock) -> i64; 2] = [SystemClock::boot_ms, |clock| clock.wall_and_boot_ms().1];
        for boot_ms in looks {
            clock.anchor().wall_at -= Duration::from_secs(3_600);
            clock.anchor().boot_ms -= 5_000;
            let behind = clock.anchor().boot_ms;
            let expected = if clock.anchor().uptime.is_some() { 5_000 } else { 0 };
            assert!(boot_ms(&clock) - behind >= expected);
        }
    }

    #[test]
    fn without_a_kernel_every_process_is_its_own_boot() {
        assert_ne!(process_boot_id(), process_boot_id());
        let mut anchor = Anchor { boot_ms: 7, read_at: Instant::now(), wall_at: system_time(), uptime: None };
        assert!((7..100).contains(&anchor.boot_ms_now()));
    }

    #[derive(Debug)]
    struct FallsAsleepOnce(AtomicI64);

    impl Clock for FallsAsleepOnce {
        fn wall_ms(&self) -> i64 {
            // The first look falls before the sleep of an hour, every later one after it.
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
    fn a_sleep_between_the_two_looks_is_not_a_jump() {
        let reading = Reading::of(&FallsAsleepOnce(AtomicI64::new(0)));
        assert_eq!(reading, Reading { wall_ms: 4_600_000, boot_ms: 3_600_500 });
    }
}
