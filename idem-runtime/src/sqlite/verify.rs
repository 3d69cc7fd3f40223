//! A check of a whole store: the file, the counters, and every record.

use rusqlite::Connection;

use crate::backend::Selection;
use crate::sqlite::records::ReadError;
use crate::sqlite::{counters, records, schema};

/// Records per page.
const PAGE: u32 = 1_000;

/// Describes every problem of a store in words.
pub(crate) fn problems(conn: &Connection) -> Result<Vec<String>, ReadError> {
    let mut problems: Vec<String> = schema::integrity_problem(conn)?.into_iter().collect();
    if let Some((found, expected)) = counters::lost_records(conn)? {
        problems.push(format!("there are {found} records and should be {expected}"));
    }
    let mut selection = Selection { after: 0, name: None, key_prefix: None, unfinished: false, limit: PAGE };
    loop {
        let page = match records::select(conn, &selection) {
            Err(ReadError::Damaged(problem)) => {
                problems.push(format!("a record after {}: {problem}", selection.after));
                return Ok(problems);
            }
            page => page?,
        };
        let Some((last, _)) = page.last() else { return Ok(problems) };
        selection.after = *last;
        for (number, record) in page {
            if let Err(ReadError::Damaged(problem)) = record {
                problems.push(format!("record {number}: {problem}"));
            }
        }
    }
}
