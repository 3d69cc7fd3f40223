//! What a store remembers of its own history: an accepted loss of records, and the machine that opened it last.

use rusqlite::Connection;

use crate::error::Error;
use crate::event;
use crate::host::machine;
use crate::protocol::record::Mark;
use crate::sqlite::failure::opening;
use crate::sqlite::schema;

/// The note of the last accepted loss: clock and boot time.
const LOSS: &str = "lost_records";
/// The note of the machine that opened the store last.
const MACHINE: &str = "machine";

/// Notes that records from before `now` are lost, and that this was accepted.
pub(super) fn note_loss(conn: &Connection, now: Mark) -> Result<(), Error> {
    schema::write_note(conn, LOSS, &format!("{} {}", now.clock, now.at_ms)).map_err(opening)
}

/// The time up to which records are lost. `None` if the store never lost any.
pub(super) fn loss(conn: &Connection) -> Result<Option<Mark>, Error> {
    let note = schema::note(conn, LOSS).map_err(opening)?;
    Ok(note.map(|note| parse(&note).unwrap_or_default()))
}

/// A note that cannot be read is that of a loss at an unknown time.
fn parse(note: &str) -> Option<Mark> {
    let (clock, at_ms) = note.split_once(' ')?;
    Some(Mark { clock: clock.parse().ok()?, at_ms: at_ms.parse().ok()? })
}

/// Notes this machine, and tells if another one opened the store last.
pub(super) fn note_machine(conn: &Connection) -> Result<(), Error> {
    let Some(here) = machine::id() else { return Ok(()) };
    let before = schema::note(conn, MACHINE).map_err(opening)?;
    if before.as_deref() == Some(here.as_str()) {
        return Ok(());
    }
    if before.is_some() {
        event::other_machine();
    }
    schema::write_note(conn, MACHINE, &here).map_err(opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_at_an_unreadable_time_is_a_loss() {
        assert_eq!(parse("3 1500"), Some(Mark { clock: 3, at_ms: 1_500 }));
        for note in ["", "3", "3 x", "x 3"] {
            assert_eq!(parse(note), None, "{note}");
        }
    }
}
