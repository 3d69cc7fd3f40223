//! The process that holds SQLite's write lock on a database, on Linux.
//!
//! A lock that a process asks for itself does not tell of locks that the same process holds. The table of the kernel lists
//! the locks of all processes.

use std::fs;
use std::path::Path;

/// The holder of a write lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockHolder {
    /// Another connection of this process.
    ThisProcess,
    Process(u32),
}

/// The byte of the `-shm` file that a writer locks in WAL mode.
const WAL_WRITE_LOCK: u64 = 120;
/// The byte of the database that a writer locks in the other journal modes.
const RESERVED_LOCK: u64 = 0x4000_0001;

/// The holder of the write lock. `None` if no process holds the lock, or if the system does not tell.
pub(crate) fn of_write_lock(database: &Path) -> Option<LockHolder> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    let mut shm = database.as_os_str().to_owned();
    shm.push("-shm");
    let of = |file: &Path, byte| holder(&table, &identity(file)?, byte);
    let pid = of(Path::new(&shm), WAL_WRITE_LOCK).or_else(|| of(database, RESERVED_LOCK))?;
    Some(if pid == std::process::id() { LockHolder::ThisProcess } else { LockHolder::Process(pid) })
}

/// The device and the inode of a file, as the table of the kernel writes them.
#[cfg(target_os = "linux")]
fn identity(file: &Path) -> Option<String> {
    use std::os::linux::fs::MetadataExt;

    let metadata = fs::metadata(file).ok()?;
    let device = metadata.st_dev();
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    Some(format!("{major:02x}:{minor:02x}:{}", metadata.st_ino()))
}

#[cfg(not(target_os = "linux"))]
fn identity(_: &Path) -> Option<String> {
    None
}

/// The process with a lock that writes and covers the byte, in lines such as
/// `1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 120 120`.
fn holder(table: &str, identity: &str, byte: u64) -> Option<u32> {
    table.lines().find_map(|line| {
        let [_, "POSIX", _, "WRITE", pid, file, first, last] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let covers = first.parse::<u64>().ok()? <= byte && last.parse().unwrap_or(u64::MAX) >= byte;
        // A process of another namespace has the number 0 or -1.
        pid.parse().ok().filter(|pid| file == identity && covers && *pid > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        1: POSIX  ADVISORY  READ  9 fe:01:7 120 120\n\
        2: POSIX  ADVISORY  WRITE 0 fe:01:8 120 120\n\
        3: FLOCK  ADVISORY  WRITE 5 fe:01:7 0 EOF\n\
        4: -> POSIX  ADVISORY  WRITE 6 fe:01:7 120 120\n\
        5: POSIX  ADVISORY  WRITE 4711 fe:01:7 120 120\n\
        6: POSIX  ADVISORY  WRITE 4712 fe:01:9 0 EOF\n";

    #[test]
    fn the_holder_is_the_process_with_a_write_lock_on_the_byte() {
        assert_eq!(holder(TABLE, "fe:01:7", 120), Some(4711));
        assert_eq!(holder(TABLE, "fe:01:7", 121), None);
        assert_eq!(holder(TABLE, "fe:01:8", 120), None, "a process of another namespace");
        assert_eq!(holder(TABLE, "fe:01:9", 120), Some(4712));
        assert_eq!(holder(TABLE, "fe:01:1", 120), None);
    }
}
