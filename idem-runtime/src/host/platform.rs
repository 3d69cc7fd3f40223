//! File modes and file identities: the differences between operating systems.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Options for a file that only its owner may read and write.
pub(crate) fn private_file() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A builder for folders that only their owner may enter.
pub(crate) fn private_folder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Gives a file to the owner of `like`, if this process may: root opens the store of an application once, and the
/// application must be able to open the files that root left. A failure does no harm.
pub(crate) fn give_to_owner_of(file: &File, like: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(like), Ok(own)) = (std::fs::metadata(like), file.metadata()) else { return };
        if (like.uid(), like.gid()) != (own.uid(), own.gid()) {
            let _ = std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()));
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, like);
    }
}

/// Device and inode. On a system without them all files are equal, which switches the check off.
pub(crate) fn device_and_inode(metadata: &Metadata) -> (u64, u64) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        (0, 0)
    }
}

/// The identity and the ctime of a folder. A change to its entries changes the ctime, unless the clock of the file
/// system has not advanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderState {
    identity: (u64, u64),
    /// The ctime in seconds and nanoseconds. Unlike the mtime, a program cannot set it.
    changed: (i64, i64),
}

impl FolderState {
    /// The state of a folder; `None` if the system has no ctime.
    #[cfg_attr(unix, expect(clippy::unnecessary_wraps, reason = "Windows has no such time"))]
    pub(crate) fn of(folder: &Metadata) -> Option<FolderState> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let changed = (folder.ctime(), folder.ctime_nsec());
            Some(FolderState { identity: device_and_inode(folder), changed })
        }
        #[cfg(not(unix))]
        {
            let _ = folder;
            None
        }
    }
}

/// The number of hard links of a file.
pub(crate) fn hard_links(metadata: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(metadata);
    #[cfg(not(unix))]
    {
        let _ = metadata;
        1
    }
}

/// Fills `bytes` from the start of a file; on Unix in one system call.
pub(crate) fn read_start(file: &mut File, bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0);
    #[cfg(not(unix))]
    {
        io::Seek::rewind(file)?;
        io::Read::read_exact(file, bytes)
    }
}

/// Writes `bytes` at the start of a file; on Unix in one system call.
pub(crate) fn write_start(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, 0);
    #[cfg(not(unix))]
    {
        io::Seek::rewind(file)?;
        io::Write::write_all(file, bytes)
    }
}

/// The host name of the machine, for messages only.
pub(crate) fn host_name() -> String {
    let from_kernel = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    let name =
        from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
