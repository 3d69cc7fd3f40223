//! The store's clock: a timeline behind a lock, and the boot rows that carry it across processes.
//!
//! A store remembers 4,096 boots at most. Beyond that, an open thins out the older ones: their records live longer, never
//! shorter. If the kernel has no boot id, each process counts as a boot and leaves a row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, Row, params};

use crate::host::clock::{Clock, Reading};
use crate::protocol::record::{Mark, Record};
use crate::sqlite::timeline;
use crate::sqlite::timeline::{BootRow, Pruned, Timeline};
use crate::sync::lock;

/// How many doubts of other clocks a process remembers.
const DETECTED_MAX: usize = 4_096;

/// Stamps records and tells their age.
#[derive(Debug)]
pub(crate) struct StoreClock {
    clock: Arc<dyn Clock>,
    inner: RwLock<Inner>,
    /// The boot times at which this process first saw doubts of clocks that cannot be compared, by the marks of the
    /// doubts.
    detected: Mutex<HashMap<(i64, i64), i64>>,
}

#[derive(Debug)]
struct Inner {
    timeline: Timeline,
    /// The row of this boot, if the next batch has to write it.
    due: Option<BootRow>,
}

impl StoreClock {
    /// Reads the boots and writes the present boot, inside the caller's write transaction.
    pub(crate) fn open(conn: &Connection, clock: Arc<dyn Clock>) -> rusqlite::Result<StoreClock> {
        let mut boots = read_boots(conn)?;
        write_pruned(conn, &timeline::prune(&mut boots))?;
        let (timeline, row) = Timeline::open(boots, &clock.boot_id(), Reading::of(&*clock));
        write_boot(conn, &row)?;
        let inner = RwLock::new(Inner { timeline, due: None });
        Ok(StoreClock { clock, inner, detected: Mutex::default() })
    }

    /// Stamps a record before its write, and sets its purge time.
    pub(crate) fn stamp(&self, record: &mut Record) {
        self.observed(|timeline| timeline.stamp(record));
    }

    /// Sets the purge time of a finished record.
    pub(crate) fn with_purge_time(&self, mut record: Record) -> Record {
        self.read().timeline.set_purge_time(&mut record);
        record
    }

    /// Time since `mark`. `None` if the clocks give no lower bound. `load` reads the boots again.
    pub(crate) fn age_ms(&self, mark: Mark, load: impl FnOnce() -> Option<Vec<BootRow>>) -> Option<i64> {
        let known = self.observed(|timeline| timeline.knows(mark.clock).then(|| timeline.age_ms(mark)));
        if let Some(age_ms) = known {
            return age_ms;
        }
        let rows = load()?;
        self.write().timeline.merge(rows);
        self.observed(|timeline| timeline.age_ms(mark))
    }

    /// Time since a doubt was first detected in this boot, or by this process if boots cannot be compared.
    pub(crate) fn doubt_ms(&self, since: Mark, is_one_machine: bool) -> i64 {
        let (known, now) =
            self.observed(|timeline| (timeline.known_doubt_ms(since, is_one_machine), timeline.now()));
        known.unwrap_or_else(|| now.at_ms.saturating_sub(self.detected_at_ms(since, now)))
    }

    /// The boot time at which this process first saw a doubt of another clock.
    fn detected_at_ms(&self, since: Mark, now: Mark) -> i64 {
        let mut detected = lock(&self.detected);
        if detected.len() >= DETECTED_MAX {
            // If a doubt is forgotten here, its settle window begins again and only gets longer.
            let middle = detected.values().sum::<i64>() / i64::try_from(detected.len()).unwrap_or(i64::MAX);
            detected.retain(|_, at_ms| *at_ms > middle);
        }
        *detected.entry((since.clock, since.at_ms)).or_insert(now.at_ms)
    }

    /// The mark of this moment.
    pub(crate) fn now(&self) -> Mark {
        self.observed(Timeline::now)
    }

    /// Wall time of a mark, for display.
    pub(crate) fn wall_ms(&self, mark: Mark) -> i64 {
        self.read().timeline.wall_ms(mark)
    }

    /// The purge time up to which records may have expired.
    pub(crate) fn horizon_ms(&self) -> i64 {
        self.observed(Timeline::horizon_ms)
    }

    /// Takes the row of this boot, if the next batch has to write it.
    pub(crate) fn take_due(&self) -> Option<BootRow> {
        // A row is due about once a minute, so most batches take only the read lock.
        self.read().due.as_ref()?;
        self.write().due.take()
    }

    /// Puts a row back after a failed write, unless a newer row is due.
    pub(crate) fn put_back(&self, row: Option<BootRow>) {
        let mut inner = self.write();
        inner.due = inner.due.take().or(row);
    }

    /// Reads the clocks, then the timeline.
    fn observed<T>(&self, read: impl FnOnce(&Timeline) -> T) -> T {
        let reading = Reading::of(&*self.clock);
        // Most calls within one millisecond change nothing, so they take only the read lock.
        let seen = self.read();
        if seen.timeline.has_seen(reading) {
            return read(&seen.timeline);
        }
        drop(seen);
        let mut inner = self.write();
        if let Some(row) = inner.timeline.observe(reading) {
            inner.due = Some(row);
        }
        read(&inner.timeline)
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads all boot rows.
pub(crate) fn read_boots(conn: &Connection) -> rusqlite::Result<Vec<BootRow>> {
    let mut statement = conn.prepare_cached(
        "SELECT number, boot_id, after_ms, met_ms, low_offset_ms, high_offset_ms, last_ms FROM main.idem_boot",
    )?;
    let rows = statement.query_map([], boot)?;
    rows.collect()
}

fn boot(row: &Row<'_>) -> rusqlite::Result<BootRow> {
    Ok(BootRow {
        number: row.get(0)?,
        boot_id: row.get(1)?,
        after_ms: row.get(2)?,
        met_ms: row.get(3)?,
        low_offset_ms: row.get(4)?,
        high_offset_ms: row.get(5)?,
        last_ms: row.get(6)?,
    })
}

fn write_pruned(conn: &Connection, pruned: &Pruned) -> rusqlite::Result<()> {
    let mut delete = conn.prepare("DELETE FROM main.idem_boot WHERE number = ?1")?;
    for number in &pruned.deleted {
        delete.execute([number])?;
    }
    let mut bound =
        conn.prepare("UPDATE main.idem_boot SET after_ms = max(after_ms, ?2) WHERE number = ?1")?;
    for (number, after_ms) in &pruned.bounds {
        bound.execute([number, after_ms])?;
    }
    Ok(())
}

/// Writes a boot row. Processes share the row, so a write never undoes another one.
pub(crate) fn write_boot(conn: &Connection, row: &BootRow) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO main.idem_boot (number, boot_id, after_ms, met_ms, low_offset_ms, high_offset_ms, last_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (number) DO UPDATE SET
             low_offset_ms = min(coalesce(low_offset_ms, ?5), coalesce(?5, low_offset_ms)),
             high_offset_ms = max(high_offset_ms, ?6),
             last_ms = max(last_ms, ?7)",
    )?;
    let low = row.low_offset_ms;
    let written =
        params![row.number, row.boot_id, row.after_ms, row.met_ms, low, row.high_offset_ms, row.last_ms];
    statement.execute(written).map(drop)
}
