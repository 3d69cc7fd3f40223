//! How old a record is when clocks disagree: it lives longer, never shorter.
//!
//! A record is stamped with a boot and the boot time in it, and with no wall time at all. Within one boot age
//! is a difference of boot times. Across boots it is a difference of wall clock, and here a boot keeps two
//! offsets (wall time minus boot time): a stamp is placed by the **highest** one ever seen in its boot, and
//! now by the **lowest plausible** one of the present boot. A clock that starts in 1970 and is set later puts
//! the boot's stamps where they belong; one that jumps ahead makes them look younger.
//!
//! Plausible is a wall time that is not before 2026 and not before the newest time the store had seen when it
//! first met the boot. Without one nothing from another boot expires, and the stamps of a boot that never had
//! one count from the moment the next plausible boot was first met.
//!
//! What no rule can see: a clock that is ahead when it is first believed in a boot, and one that is believed
//! and behind for a whole boot. A store belongs to one machine at a time; moved to another it meets a boot.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::host::clock::Reading;
use crate::protocol::record::{Mark, Record, Status};

/// 2026-01-01: this program did not exist before, so no right clock says less.
const PLAUSIBLE_FROM_MS: i64 = 1_767_225_600_000;
/// How often a boot's row is written while nothing jumps.
const WRITE_EVERY_MS: i64 = 60_000;
/// By how much an offset moves before the row is written at once.
const WRITE_ON_MOVE_MS: i64 = 1_000;

/// What a store remembers of one start of the machine.
///
/// Processes share it, so a write must never take anything back: the larger `high_offset_ms` and `last_ms`
/// and the smaller `low_offset_ms` stay; the other columns never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootRow {
    pub(crate) number: i64,
    pub(crate) boot_id: String,
    /// The newest wall time the store had seen when it first met this boot; 0 if none.
    pub(crate) after_ms: i64,
    /// The boot time of that moment.
    pub(crate) met_ms: i64,
    /// The smallest plausible offset seen.
    pub(crate) low_offset_ms: Option<i64>,
    /// The largest offset seen.
    pub(crate) high_offset_ms: i64,
    /// The newest boot time seen.
    pub(crate) last_ms: i64,
}

/// The boots of one store as this process knows them. Pure: every reading is handed in.
#[derive(Debug)]
pub(crate) struct Timeline {
    current: i64,
    boots: BTreeMap<i64, BootRow>,
    now_ms: i64,
    written: BootRow,
}

impl BootRow {
    fn met(number: i64, boot_id: &str, after_ms: i64, reading: Reading) -> Self {
        Self {
            number,
            boot_id: boot_id.to_owned(),
            after_ms,
            met_ms: reading.boot_ms,
            low_offset_ms: None,
            high_offset_ms: reading.wall_ms.saturating_sub(reading.boot_ms),
            last_ms: reading.boot_ms,
        }
    }

    fn observe(&mut self, reading: Reading) {
        let offset_ms = reading.wall_ms.saturating_sub(reading.boot_ms);
        self.include(self.is_plausible(reading).then_some(offset_ms), offset_ms, reading.boot_ms);
    }

    fn is_plausible(&self, reading: Reading) -> bool {
        reading.wall_ms >= self.after_ms.max(PLAUSIBLE_FROM_MS)
    }

    /// True of a reading that changes nothing here.
    fn has_seen(&self, reading: Reading) -> bool {
        let offset_ms = reading.wall_ms.saturating_sub(reading.boot_ms);
        let low = !self.is_plausible(reading) || self.low_offset_ms.is_some_and(|low| low <= offset_ms);
        low && offset_ms <= self.high_offset_ms && reading.boot_ms <= self.last_ms
    }

    /// The one way a row changes. It keeps no trace of order, so processes may meet in any.
    fn include(&mut self, low_offset_ms: Option<i64>, high_offset_ms: i64, last_ms: i64) {
        self.low_offset_ms = self.low_offset_ms.into_iter().chain(low_offset_ms).min();
        self.high_offset_ms = self.high_offset_ms.max(high_offset_ms);
        self.last_ms = self.last_ms.max(last_ms);
    }

    /// True if the clock of this boot was ever believable.
    fn is_placed(&self) -> bool {
        self.low_offset_ms.is_some()
    }

    fn wall_ms(&self, boot_ms: i64) -> i64 {
        self.high_offset_ms.saturating_add(boot_ms)
    }

    /// The newest wall time the store has seen up to here, also in boots whose rows are gone.
    fn newest_ms(&self) -> i64 {
        self.wall_ms(self.last_ms).max(self.after_ms)
    }

    /// True if so much has changed that the row is to be written again.
    pub(crate) fn must_replace(&self, written: &Self) -> bool {
        let moved_ms = match (self.low_offset_ms, written.low_offset_ms) {
            (Some(low), Some(known)) => known.saturating_sub(low),
            (None, None) => 0,
            _ => i64::MAX,
        };
        moved_ms > WRITE_ON_MOVE_MS
            || self.high_offset_ms.saturating_sub(written.high_offset_ms) > WRITE_ON_MOVE_MS
            || self.last_ms.saturating_sub(written.last_ms) >= WRITE_EVERY_MS
    }
}

impl Timeline {
    /// Finds the present boot among the store's rows, or begins its row, which is returned to be written.
    ///
    /// Reading the rows and writing the new one must be one transaction, or two boots could share a number.
    pub(crate) fn open(rows: Vec<BootRow>, boot_id: &str, reading: Reading) -> (Self, BootRow) {
        let boots: BTreeMap<_, _> = rows.into_iter().map(|row| (row.number, row)).collect();
        let known = boots.values().rev().find(|row| row.boot_id == boot_id).cloned();
        let mut row = known.unwrap_or_else(|| {
            let number = boots.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
            let after_ms = boots.values().map(BootRow::newest_ms).max().unwrap_or(0).max(0);
            BootRow::met(number, boot_id, after_ms, reading)
        });
        row.observe(reading);
        let now_ms = reading.boot_ms.max(row.met_ms);
        let mut timeline = Self { current: row.number, boots, now_ms, written: row.clone() };
        timeline.boots.insert(row.number, row.clone());
        (timeline, row)
    }

    /// True of a reading that [`observe`](Timeline::observe) would learn nothing from.
    pub(crate) fn has_seen(&self, reading: Reading) -> bool {
        let reading_now = Reading { boot_ms: self.now_ms, ..reading };
        reading.boot_ms <= self.now_ms
            && self.boots.get(&self.current).is_none_or(|row| row.has_seen(reading_now))
    }

    /// Takes in what the clocks say now. A returned row is due to be written.
    pub(crate) fn observe(&mut self, reading: Reading) -> Option<BootRow> {
        self.now_ms = self.now_ms.max(reading.boot_ms);
        let row = self.boots.get_mut(&self.current)?;
        row.observe(Reading { boot_ms: self.now_ms, ..reading });
        if !row.must_replace(&self.written) {
            return None;
        }
        self.written = row.clone();
        Some(row.clone())
    }

    /// Takes in what other processes have written meanwhile.
    pub(crate) fn merge(&mut self, rows: impl IntoIterator<Item = BootRow>) {
        for row in rows {
            let known = self.boots.entry(row.number).or_insert_with(|| row.clone());
            known.include(row.low_offset_ms, row.high_offset_ms, row.last_ms);
        }
    }

    /// The stamp of the last reading.
    pub(crate) fn now(&self) -> Mark {
        Mark { clock: self.current, at_ms: self.now_ms }
    }

    /// False for a boot that was met after the rows were last read: read them again.
    pub(crate) fn knows(&self, boot: i64) -> bool {
        self.boots.contains_key(&boot)
    }

    /// True if the stamp is from the present boot.
    pub(crate) fn same_boot(&self, mark: Mark) -> bool {
        mark.clock == self.current
    }

    /// Marks a record that is written now, and sets when it is to be purged.
    ///
    /// A call of an earlier boot ended with that boot at the latest, so its doubt is as old as its claim.
    pub(crate) fn stamp(&self, record: &mut Record) {
        let now = self.now();
        let first_seen = if record.at.clock == now.clock { now } else { record.at };
        record.at = now;
        if record.status == Status::InDoubt {
            record.doubt_since.get_or_insert(first_seen);
        }
        self.set_purge_time(record);
    }

    /// Sets when the next lifetime of a record ends, as far as is known now.
    pub(crate) fn set_purge_time(&self, record: &mut Record) {
        let lifetime_ms = record.next_lifetime().to_ms();
        record.purge_ms = lifetime_ms.map(|lifetime_ms| self.expires_wall_ms(record.at, lifetime_ms));
    }

    /// How much time has passed for certain; `None` if that cannot be told, and then nothing expires.
    pub(crate) fn age_ms(&self, mark: Mark) -> Option<i64> {
        if self.same_boot(mark) {
            return Some(self.now_ms.saturating_sub(mark.at_ms).max(0));
        }
        let low_offset_ms = self.boots.get(&self.current)?.low_offset_ms?;
        let now_ms = low_offset_ms.saturating_add(self.now_ms);
        Some(now_ms.saturating_sub(self.latest_wall_ms(mark)?).max(0))
    }

    /// True if the lifetime has passed for certain.
    #[cfg(test)]
    pub(crate) fn is_expired(&self, mark: Mark, lifetime_ms: i64) -> bool {
        self.age_ms(mark).is_some_and(|age_ms| age_ms >= lifetime_ms)
    }

    /// The wall time of a mark, for people.
    pub(crate) fn wall_ms(&self, mark: Mark) -> i64 {
        let Some(row) = self.boots.get(&mark.clock) else { return 0 };
        if row.is_placed() {
            return row.wall_ms(mark.at_ms);
        }
        // Its clock proves nothing, but it was met after everything the store had seen.
        let earliest_ms = row.after_ms.saturating_add(mark.at_ms).saturating_sub(row.met_ms);
        self.indexed_wall_ms(mark).max(earliest_ms)
    }

    /// When the lifetime ends, as far as is known now: an index to find candidates by, not a decision. It can
    /// turn out later than this, never earlier.
    pub(crate) fn expires_wall_ms(&self, mark: Mark, lifetime_ms: i64) -> i64 {
        self.indexed_wall_ms(mark).saturating_add(lifetime_ms)
    }

    fn indexed_wall_ms(&self, mark: Mark) -> i64 {
        let by_its_clock_ms = self.boots.get(&mark.clock).map_or(0, |row| row.wall_ms(mark.at_ms));
        self.latest_wall_ms(mark).unwrap_or(by_its_clock_ms)
    }

    /// Everything that has expired has `expires_wall_ms` at or before this; not everything before it has.
    pub(crate) fn horizon_ms(&self) -> i64 {
        self.boots.get(&self.current).map_or(i64::MAX, |row| row.wall_ms(self.now_ms))
    }

    /// The latest wall time at which the stamp can have been made; `None` if there is no bound.
    fn latest_wall_ms(&self, mark: Mark) -> Option<i64> {
        let row = self.boots.get(&mark.clock)?;
        let by_its_clock_ms = row.wall_ms(mark.at_ms);
        if row.is_placed() || self.same_boot(mark) {
            return Some(by_its_clock_ms);
        }
        // Its own clock proves nothing. It was over when the next boot with a good clock was first met.
        let mut later = self.boots.range(mark.clock.saturating_add(1)..).map(|(_, row)| row);
        let witness = later.find(|row| row.is_placed())?;
        let before_its_end_ms = row.last_ms.saturating_sub(mark.at_ms).max(0);
        let by_the_witness_ms = witness.wall_ms(witness.met_ms).saturating_sub(before_its_end_ms);
        Some(by_its_clock_ms.max(by_the_witness_ms))
    }
}

/// A wall time for people.
pub(crate) fn wall_time(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
