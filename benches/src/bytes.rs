//! The size of a store on disk.

use crate::contender::embedded::embedded;
use crate::lap::count;
use crate::report::{Bound, Report};
use crate::settings::Settings;
use crate::{Outcome, RESULT_BYTES, key};

const RECORDS: u64 = 100_000;
const CALLERS: usize = 64;

/// Measures the bytes of a finished record on disk, without its result and its key.
///
/// Many callers make the calls at once, so rows and index are laid out as in a store in use.
///
/// # Errors
/// The first error of a call.
pub fn bytes(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&settings.memory)?;
    report.heading("bytes on disk");
    let store = embedded("ours-async", folder.path())?;
    store.first_calls(CALLERS, 0..RECORDS)?;
    // The last handle closes the store.
    drop(store);
    let size = usize::try_from(std::fs::metadata(folder.path().join("ours-async.db"))?.len())?;
    let each = count(size) / count(usize::try_from(RECORDS)?);
    report.figure("bytes of a finished record in total", each);
    let beyond = each - count(RESULT_BYTES) - count(key(0).len());
    report.goal("bytes of a finished record beyond result and key", Bound::AtMost(140.0), beyond);
    Ok(())
}
