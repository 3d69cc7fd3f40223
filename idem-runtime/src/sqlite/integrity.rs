//! Whether a store is whole: the pages of its tables and the number of its records. A large store is checked by a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io, thread};

use rusqlite::{Connection, InterruptHandle};

use crate::backend::Poison;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::sqlite::failure::opening;
use crate::sqlite::{counters, schema};

/// Compares the tables with their indexes, page by page.
pub(crate) fn check_pages(conn: &Connection) -> Result<(), Error> {
    let Some(problem) = schema::integrity_problem(conn).map_err(opening)? else { return Ok(()) };
    let message = format!("the store is damaged ({problem})");
    Err(Error::new(ErrorKind::Damaged, Ran::No, message).advise(Advice::RestoreDamaged))
}

/// Compares the number of records with the counter.
pub(crate) fn check_count(conn: &Connection) -> Result<(), Error> {
    let Some((found, expected)) = counters::lost_records(conn).map_err(opening)? else { return Ok(()) };
    let message = format!("the store has lost records: {found} records found, {expected} expected");
    Err(Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreNewest))
}

/// A check that runs beside the calls. Damage ends the store: every later call gets the error.
pub(crate) struct LateCheck {
    thread: JoinHandle<()>,
    statement: InterruptHandle,
    is_stopped: Arc<AtomicBool>,
}

/// What the thread works with.
struct Checked {
    conn: Connection,
    poison: Arc<Poison>,
    is_stopped: Arc<AtomicBool>,
}

impl fmt::Debug for LateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateCheck").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl LateCheck {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(conn: Connection, poison: Arc<Poison>) -> io::Result<LateCheck> {
        let statement = conn.get_interrupt_handle();
        let is_stopped = Arc::<AtomicBool>::default();
        let checked = Checked { conn, poison, is_stopped: Arc::clone(&is_stopped) };
        let thread = thread::Builder::new().name("idem-check".into()).spawn(move || checked.run())?;
        Ok(LateCheck { thread, statement, is_stopped })
    }

    /// Ends the check and waits for its thread.
    pub(crate) fn stop(self) {
        self.is_stopped.store(true, Ordering::Release);
        while !self.thread.is_finished() {
            // The statement may begin after an interrupt.
            self.statement.interrupt();
            thread::park_timeout(Duration::from_millis(1));
        }
        let _ = self.thread.join();
    }
}

impl Checked {
    fn run(self) {
        let Err(error) = check_pages(&self.conn) else { return };
        if self.is_stopped.load(Ordering::Acquire) {
            return;
        }
        event::store_error(&error.with_causes());
        if error.kind() == ErrorKind::Damaged {
            self.poison.set(error);
        }
    }
}
