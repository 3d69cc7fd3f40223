//! The two clocks of a store, and the only place where they are read.
//!
//! *Wall time* is the time of day. Wall time can start in 1970, jump and run backwards. *Boot time* counts the
//! milliseconds since the machine started, sleep included. Boot time never jumps, and means nothing after a restart.
//! The module `timeline` combines the two.

use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::host::boot;

/// The kernel's boot time is read again after this time. Until then the last reading is carried forward.
const BOOT_TIME_CARRIED_MAX: Duration = Duration::from_secs(1);
/// If wall time and the process's own clock drift apart further than this, boot time is read again.
const WALL_DRIFT_MAX: Duration = Duration::from_millis(20);
/// The source of time of a store.
///
/// A store uses [`SystemClock`] by default. A test can pass its own clock and let months pass. The clock decides about
/// lifetimes only: the ownership of a call never depends on time.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Wall time in milliseconds since 1970. Wall time may be wrong, jump and run backwards.
    fn wall_ms(&self) -> i64;
    /// Boot time in milliseconds, sleep included. Boot time must not run backwards within one boot.
    fn boot_ms(&self) -> i64;
    /// Wall time and boot time, read as if at one moment.
    ///
    /// If the machine sleeps between the two readings, the pair looks like a jump of hours. Therefore the default
    /// implementation reads again. Override the method if a clock has a cheaper way.
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
    /// An id that changes with every start of the machine and is the same for all its processes.
    fn boot_id(&self) -> String;
}

/// The clocks of the machine.
///
/// On Linux, boot time and boot id are the kernel's. On other systems, and without `/proc`, every process counts as a
/// boot of its own. Boot time then begins with the clock, and the id is new. Lifetimes then follow wall time between
/// processes and stay exact within one process.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: String,
    anchor: RwLock<Anchor>,
}

/// A reading of boot time, and the times from which it is carried forward without a system call.
#[derive(Debug)]
struct Anchor {
    boot_ms: i64,
    read_at: Instant,
    wall_at: SystemTime,
    /// `None` if the kernel reports no uptime.
    uptime: Option<File>,
}

impl SystemClock {
    /// A clock that uses the kernel's boot time and boot id, if the machine has them.
    pub fn new() -> Self {
        let kernel = boot::kernel_id().zip(File::open("/proc/uptime").ok());
        let kernel = kernel.and_then(|(id, mut file)| Some((id, read_uptime_ms(&mut file)?, file)));
        let (boot_id, boot_ms, uptime) = match kernel {
            Some((id, boot_ms, file)) => (boot::with_time_namespace(id), boot_ms, Some(file)),
            None => (boot::process_id(unix_ms(system_time())), 0, None),
        };
        let anchor = Anchor { boot_ms, read_at: Instant::now(), wall_at: system_time(), uptime };
        Self { boot_id, anchor: RwLock::new(anchor) }
    }

    fn carried(&self) -> Option<(SystemTime, i64)> {
        self.anchor.read().unwrap_or_else(PoisonError::into_inner).carried()
    }

    fn anchor(&self) -> RwLockWriteGuard<'_, Anchor> {
        // No code panics while the lock is held, and a half-updated anchor is still valid.
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
        // Mostly no reading is due: concurrent callers share the read lock.
        let carried = self.carried();
        carried.map_or_else(|| self.anchor().boot_ms_now(), |(_, boot_ms)| boot_ms)
    }

    /// Both times are of one moment: the carried boot time comes with the wall time that was checked against it.
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
        // The kernel counts in hundredths of a second: a new reading may be behind the carried one.
        self.boot_ms = read.unwrap_or(carried_ms).max(carried_ms);
        self.read_at = Instant::now();
        self.wall_at = system_time();
        self.boot_ms
    }

    /// Wall time and the carried boot time; `None` if a reading is due. A reading is due after
    /// [`BOOT_TIME_CARRIED_MAX`] and after a sleep, which the process's own clock does not count. A jump of the wall
    /// clock looks like a sleep.
    fn carried(&self) -> Option<(SystemTime, i64)> {
        let (elapsed, wall) = (self.read_at.elapsed(), system_time());
        let wall_elapsed = wall.duration_since(self.wall_at).ok()?;
        let holds = elapsed < BOOT_TIME_CARRIED_MAX && wall_elapsed.abs_diff(elapsed) <= WALL_DRIFT_MAX;
        holds.then(|| (wall, self.boot_ms.saturating_add(millis(elapsed))))
    }
}

/// Both clocks at one moment.
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
#[path = "clock_tests.rs"]
mod tests;
