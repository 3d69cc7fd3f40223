//! The age of records under clocks that disagree. If in doubt, a record lives longer, never shorter.
//!
//! # Ages
//! The stamp of a record is a boot and the boot time in that boot, without a wall time. Within one boot, the age is a
//! difference of boot times. Across boots, the age is a difference of wall times.
//!
//! A boot has two offsets (wall time minus boot time). The **highest** offset ever seen in its boot gives the wall time of
//! a stamp. The **lowest plausible** offset of the present boot gives the present wall time. If a clock starts in 1970 and
//! is set later, the stamps of its boot get their right wall time. If a clock jumps ahead, the stamps look younger.
//!
//! # Plausible wall times
//! A wall time is plausible if it is not before 2026 and not before the `after_ms` of the boot. `after_ms` is the
//! newest wall time that the store had seen when the store first met the boot. Without a plausible wall time, nothing
//! from another boot expires. If a boot never had one, its stamps count from the moment at which the store first met
//! the next plausible boot.
//!
//! # Limits
//! Two errors stay unnoticed. A clock may be ahead when it first becomes plausible in a boot. A plausible clock may be
//! behind for a whole boot. A store belongs to one machine at a time. On another machine the store meets a new boot.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::host::boot;
use crate::host::boot::BootComparison;
use crate::host::clock::Reading;
use crate::protocol::record::{Mark, Record, Status};

/// 2026-01-01. A clock before this time is wrong: the library did not exist.
const PLAUSIBLE_FROM_MS: i64 = 1_767_225_600_000;
/// How often the row of a boot is written while no offset moves.
const WRITE_EVERY_MS: i64 = 60_000;
/// A larger move of an offset writes the row at once.
const WRITE_ON_MOVE_MS: i64 = 1_000;

/// How many boots a store remembers.
pub(crate) const BOOTS_MAX: usize = 4_096;
/// How many of the newest boots are never pruned.
const BOOTS_EXACT: usize = 2_048;
/// To how many the older boots are thinned out.
const BOOTS_THINNED: usize = 1_024;

/// If a boot time is further behind the last one of its boot, the uptime was restarted.
const UPTIME_BEHIND_MAX_MS: i64 = 10_000;
/// Two readings of one uptime give start times (wall time) that differ by less.
const UPTIME_START_DRIFT_MS: i64 = 60_000;

/// The row of one boot of the machine.
///
/// Processes share the row, so a write must never undo another one. The larger `high_offset_ms` and `last_ms` and the
/// smaller `low_offset_ms` stay. The other columns never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootRow {
    pub(crate) number: i64,
    pub(crate) boot_id: String,
    /// The newest wall time that the store had seen when it first met this boot. 0 if none.
    pub(crate) after_ms: i64,
    /// The boot time when the store first met this boot.
    pub(crate) met_ms: i64,
    /// The smallest plausible offset seen.
    pub(crate) low_offset_ms: Option<i64>,
    /// The largest offset seen.
    pub(crate) high_offset_ms: i64,
    /// The newest boot time seen.
    pub(crate) last_ms: i64,
}

/// The boots of one store, as far as this process knows them. Pure: the caller passes every reading.
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

    /// Whether the reading is of this boot and of its uptime.
    ///
    /// A container can have a restarted uptime under the boot id of its host. A restarted uptime has a row of its own,
    /// because the boot times of two uptimes cannot be compared.
    fn continues(&self, boot_id: &str, reading: Reading) -> bool {
        let is_behind = reading.boot_ms.saturating_add(UPTIME_BEHIND_MAX_MS) < self.last_ms;
        let start_ms = reading.wall_ms.saturating_sub(reading.boot_ms);
        let has_same_start = start_ms.abs_diff(self.high_offset_ms) < UPTIME_START_DRIFT_MS.unsigned_abs();
        let is_boot =
            self.boot_id == boot_id || has_same_start && boot::is_restarted_uptime(&self.boot_id, boot_id);
        is_boot && !is_behind
    }

    fn observe(&mut self, reading: Reading) {
        let offset_ms = reading.wall_ms.saturating_sub(reading.boot_ms);
        self.include(self.is_plausible(reading).then_some(offset_ms), offset_ms, reading.boot_ms);
    }

    fn is_plausible(&self, reading: Reading) -> bool {
        reading.wall_ms >= self.after_ms.max(PLAUSIBLE_FROM_MS)
    }

    /// Whether the reading would change nothing in this row.
    fn has_seen(&self, reading: Reading) -> bool {
        let offset_ms = reading.wall_ms.saturating_sub(reading.boot_ms);
        let low = !self.is_plausible(reading) || self.low_offset_ms.is_some_and(|low| low <= offset_ms);
        low && offset_ms <= self.high_offset_ms && reading.boot_ms <= self.last_ms
    }

    /// Extends the offsets and the last boot time. The order of calls does not matter, so processes may write in any order.
    fn include(&mut self, low_offset_ms: Option<i64>, high_offset_ms: i64, last_ms: i64) {
        self.low_offset_ms = self.low_offset_ms.into_iter().chain(low_offset_ms).min();
        self.high_offset_ms = self.high_offset_ms.max(high_offset_ms);
        self.last_ms = self.last_ms.max(last_ms);
    }

    /// Whether the clock of this boot was ever plausible.
    fn is_placed(&self) -> bool {
        self.low_offset_ms.is_some()
    }

    fn wall_ms(&self, boot_ms: i64) -> i64 {
        self.high_offset_ms.saturating_add(boot_ms)
    }

    /// The newest wall time that the store has seen up to this boot, also in boots without a row.
    fn newest_ms(&self) -> i64 {
        self.wall_ms(self.last_ms).max(self.after_ms)
    }

    /// Whether the row has changed by so much that it must be written again.
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

/// What a prune of the boots changes in their table.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// The numbers of the rows to delete.
    pub(crate) deleted: Vec<i64>,
    /// Rows with a later `after_ms`, which bounds the stamps of the deleted boots before them.
    pub(crate) bounds: Vec<(i64, i64)>,
}

/// Thins out the older boots if there are too many rows.
///
/// A stamp of a deleted boot was made at the latest at the `after_ms` of the next row. So the records of the deleted boots
/// live longer, never shorter.
pub(crate) fn prune(rows: &mut Vec<BootRow>) -> Pruned {
    rows.sort_by_key(|row| row.number);
    let mut pruned = Pruned::default();
    if rows.len() <= BOOTS_MAX {
        return pruned;
    }
    let newest_ms = rows.iter().map(BootRow::newest_ms).max().unwrap_or(0);
    let older = rows.len().saturating_sub(BOOTS_EXACT);
    let group = older.div_ceil(BOOTS_THINNED).max(1);
    let mut bound_ms = 0;
    for (at, row) in rows.iter_mut().enumerate() {
        if at < older && (at + 1) % group != 0 {
            // A process of the boot may still live: its next stamps are at most as old as its next write of the row.
            let ends_ms = row.newest_ms().saturating_add(WRITE_EVERY_MS);
            bound_ms = bound_ms.max(if row.is_placed() { ends_ms } else { newest_ms });
            pruned.deleted.push(row.number);
        } else if bound_ms > row.after_ms {
            row.after_ms = bound_ms;
            pruned.bounds.push((row.number, bound_ms));
            bound_ms = 0;
        } else {
            bound_ms = 0;
        }
    }
    rows.retain(|row| pruned.deleted.binary_search(&row.number).is_err());
    pruned
}

impl Timeline {
    /// Finds the present boot among `rows`, or adds it. Returns its row, which the caller must write.
    ///
    /// One transaction must read the rows and write the new row. Otherwise two boots could get the same number.
    pub(crate) fn open(rows: Vec<BootRow>, boot_id: &str, reading: Reading) -> (Self, BootRow) {
        let boots: BTreeMap<_, _> = rows.into_iter().map(|row| (row.number, row)).collect();
        let known = boots.values().rev().find(|row| row.continues(boot_id, reading)).cloned();
        let mut row = known.unwrap_or_else(|| {
            let number = boots.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
            let after_ms = boots.values().map(BootRow::newest_ms).max().unwrap_or(0).max(0);
            let is_taken = boots.values().any(|row| row.boot_id == boot_id);
            let id = if is_taken { boot::restarted_uptime(boot_id, number) } else { boot_id.to_owned() };
            BootRow::met(number, &id, after_ms, reading)
        });
        row.observe(reading);
        let now_ms = reading.boot_ms.max(row.met_ms);
        let mut timeline = Self { current: row.number, boots, now_ms, written: row.clone() };
        timeline.boots.insert(row.number, row.clone());
        (timeline, row)
    }

    /// Whether [`observe`](Timeline::observe) of this reading would change nothing.
    pub(crate) fn has_seen(&self, reading: Reading) -> bool {
        let reading_now = Reading { boot_ms: self.now_ms, ..reading };
        reading.boot_ms <= self.now_ms
            && self.boots.get(&self.current).is_none_or(|row| row.has_seen(reading_now))
    }

    /// Records a reading of the clocks. Returns the row of this boot if it must be written.
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

    /// Merges the rows that other processes have written.
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

    /// Whether the boot is known or was pruned. If not, the caller must read the rows again: newer boots have higher numbers.
    pub(crate) fn knows(&self, boot: i64) -> bool {
        self.boots.last_key_value().is_some_and(|(last, _)| *last >= boot)
    }

    /// Whether the mark and the present time are boot times of one uptime.
    fn is_of_this_uptime(&self, mark: Mark) -> bool {
        mark.clock == self.current
    }

    /// Compares the boot of a mark with the present boot.
    fn compare(&self, mark: Mark) -> BootComparison {
        self.compare_boots(mark.clock, self.current)
    }

    fn compare_boots(&self, one: i64, other: i64) -> BootComparison {
        let id = |number| self.boots.get(&number).map(|row| row.boot_id.as_str());
        BootComparison::of(id(one), id(other))
    }

    /// Time since a doubt was first detected in this boot. `None` if the boots cannot be compared.
    ///
    /// A doubt of an earlier boot counts as detected when the store met this boot.
    pub(crate) fn known_doubt_ms(&self, since: Mark, is_one_machine: bool) -> Option<i64> {
        if self.is_of_this_uptime(since) {
            return Some(self.now_ms.saturating_sub(since.at_ms).max(0));
        }
        let met_ms = self.boots.get(&self.current)?.met_ms;
        let is_earlier = is_one_machine && self.compare(since) == BootComparison::Other;
        is_earlier.then(|| self.now_ms.saturating_sub(met_ms).max(0))
    }

    /// Stamps a record before its write, and sets its purge time.
    ///
    /// A call of an earlier boot ended with that boot at the latest. So its doubt counts from its last mark. A call of
    /// any other clock may have been running until now.
    pub(crate) fn stamp(&self, record: &mut Record) {
        let now = self.now();
        let first_seen = if self.compare(record.at) == BootComparison::Other { record.at } else { now };
        record.at = now;
        if record.status == Status::InDoubt {
            record.doubt_since.get_or_insert(first_seen);
        }
        self.set_purge_time(record);
    }

    /// Sets the purge time: the estimated end of the record's next lifetime.
    pub(crate) fn set_purge_time(&self, record: &mut Record) {
        let lifetime_ms = record.next_lifetime().to_ms();
        record.purge_ms = lifetime_ms.map(|lifetime_ms| self.expires_wall_ms(record.at, lifetime_ms));
    }

    /// Returns the least time since a mark. `None` if the clocks give no lower bound; then nothing expires.
    pub(crate) fn age_ms(&self, mark: Mark) -> Option<i64> {
        if self.is_of_this_uptime(mark) {
            return Some(self.now_ms.saturating_sub(mark.at_ms).max(0));
        }
        let low_offset_ms = self.boots.get(&self.current)?.low_offset_ms?;
        let now_ms = low_offset_ms.saturating_add(self.now_ms);
        Some(now_ms.saturating_sub(self.latest_wall_ms(mark)?).max(0))
    }

    /// Whether the lifetime is certainly over.
    #[cfg(test)]
    pub(crate) fn is_expired(&self, mark: Mark, lifetime_ms: i64) -> bool {
        self.age_ms(mark).is_some_and(|age_ms| age_ms >= lifetime_ms)
    }

    /// Wall time of a mark, for display.
    pub(crate) fn wall_ms(&self, mark: Mark) -> i64 {
        let Some(row) = self.boots.get(&mark.clock) else { return self.pruned_wall_ms(mark).unwrap_or(0) };
        if row.is_placed() {
            return row.wall_ms(mark.at_ms);
        }
        // The clock was never plausible. The store met this boot later than any wall time that it had seen.
        let earliest_ms = row.after_ms.saturating_add(mark.at_ms).saturating_sub(row.met_ms);
        self.indexed_wall_ms(mark).max(earliest_ms)
    }

    /// Estimated end of a lifetime, for the index of candidates. The true end can be later, never earlier.
    pub(crate) fn expires_wall_ms(&self, mark: Mark, lifetime_ms: i64) -> i64 {
        self.indexed_wall_ms(mark).saturating_add(lifetime_ms)
    }

    fn indexed_wall_ms(&self, mark: Mark) -> i64 {
        let by_its_clock_ms = self.boots.get(&mark.clock).map_or(0, |row| row.wall_ms(mark.at_ms));
        self.latest_wall_ms(mark).unwrap_or(by_its_clock_ms)
    }

    /// Upper bound of `expires_wall_ms` of every expired record. A record below the bound may still live.
    pub(crate) fn horizon_ms(&self) -> i64 {
        self.boots.get(&self.current).map_or(i64::MAX, |row| row.wall_ms(self.now_ms))
    }

    /// The latest wall time of a stamp whose boot was pruned.
    fn pruned_wall_ms(&self, mark: Mark) -> Option<i64> {
        let (_, next) = self.boots.range(mark.clock.saturating_add(1)..).next()?;
        Some(next.after_ms).filter(|after_ms| *after_ms > 0)
    }

    /// The latest wall time at which the stamp can have been made. `None` if there is no bound.
    fn latest_wall_ms(&self, mark: Mark) -> Option<i64> {
        let Some(row) = self.boots.get(&mark.clock) else { return self.pruned_wall_ms(mark) };
        let by_its_clock_ms = row.wall_ms(mark.at_ms);
        if row.is_placed() || self.is_of_this_uptime(mark) {
            return Some(by_its_clock_ms);
        }
        // The clock of the boot was never plausible. The boot was over when the store first met the next plausible boot.
        let mut later = self.boots.range(mark.clock.saturating_add(1)..).map(|(_, row)| row);
        let is_later_boot =
            |row: &BootRow| self.compare_boots(mark.clock, row.number) == BootComparison::Other;
        let next_placed = later.find(|row| row.is_placed() && is_later_boot(row))?;
        let before_its_end_ms = row.last_ms.saturating_sub(mark.at_ms).max(0);
        let by_next_placed_ms = next_placed.wall_ms(next_placed.met_ms).saturating_sub(before_its_end_ms);
        Some(by_its_clock_ms.max(by_next_placed_ms))
    }
}

/// Converts milliseconds since 1970 to a wall time. Negative values count as 0.
pub(crate) fn wall_time(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "timeline_boots_tests.rs"]
mod boots_tests;
