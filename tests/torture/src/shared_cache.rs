//! SQLite's shared cache, which a program can switch on for all of its connections.

use rusqlite::ffi;

/// Switches the shared cache on, for every connection that this process opens from now on without a wish of its own.
#[allow(unsafe_code, reason = "rusqlite has no safe function for it")]
pub fn enable_shared_cache() {
    // SAFETY: the function sets one global flag under SQLite's own mutex.
    let answer = unsafe { ffi::sqlite3_enable_shared_cache(1) };
    assert_eq!(answer, ffi::SQLITE_OK);
}
