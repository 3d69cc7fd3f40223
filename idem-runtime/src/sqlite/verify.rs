//! Checks a whole store: the file, the counts, and every record.

use rusqlite::Connection;

use crate::backend::Selection;
use crate::sqlite::records::ReadError;
use crate::sqlite::{counters, records, schema};

/// How many records are read at a time.
const PAGE: u32 = 1_000;

/// Everything that is wrong with a store, in words.
pub(crate) fn flaws(conn: &Connection) -> Result<Vec<String>, ReadError> {
    let mut flaws: Vec<String> = schema::integrity_problem(conn)?.into_iter().collect();
    if let Some((found, expected)) = counters::lost_records(conn)? {
        flaws.push(format!("there are {found} records and should be {expected}"));
    }
    let mut selection = Selection { after: 0, name: None, key_prefix: None, unfinished: false, limit: PAGE };
    loop {
        let page = match records::select(conn, &selection) {
            Err(ReadError::Damaged(flaw)) => {
                flaws.push(format!("a record after {}: {flaw}", selection.after));
                return Ok(flaws);
            }
            page => page?,
        };
        let Some((last, _)) = page.last() else { return Ok(flaws) };
        selection.after = *last;
        for (number, record) in page {
            if let Err(ReadError::Damaged(flaw)) = record {
                flaws.push(format!("record {number}: {flaw}"));
            }
        }
    }
}
