//! The kind of file system of a path, on Linux.
//!
//! `SQLite` in WAL mode needs shared memory and working locks. Network mounts and mounts of virtual machines have
//! neither: two machines can hold the same lock at once.

use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of mounts that more than one machine can reach, or that lose locks.
const REMOTE_KINDS: [&str; 18] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.virtiofs",
    "gfs2",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// The kind of the remote mount of a canonical path; `None` if the mount is local or unknown.
pub(crate) fn remote_kind(canonical: &Path) -> Option<String> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    let kind = kind_of(&String::from_utf8_lossy(&table), canonical)?;
    REMOTE_KINDS.contains(&kind.as_str()).then_some(kind)
}

/// The kind of the mount with the longest mount point above the path. Of two on one point, the later hides the earlier.
fn kind_of(table: &str, canonical: &Path) -> Option<String> {
    let mounts = table.lines().filter_map(parse_line);
    let above = mounts.filter(|(point, _)| canonical.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}

/// `36 35 98:0 /root /mnt/point rw,noatime shared:1 - ext4 /dev/sda1 rw`: the fifth field and the one after `-`.
fn parse_line(line: &str) -> Option<(PathBuf, &str)> {
    let (mount, device) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(point)), device.split(' ').next()?))
}

/// Decodes the octal escapes that the kernel writes for blanks, tabs, line ends and backslashes.
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /srv/net rw shared:7 master:2 - nfs4 box:/export rw,vers=4.2
41 40 0:41 / /srv/net/local rw - xfs /dev/sdb rw
42 27 0:42 / /mnt/my\\040share rw - cifs //box/share rw
43 27 0:43 / /over rw - nfs box:/a rw
44 43 0:44 / /over rw - tmpfs tmpfs rw
broken line
45 27 0:45 / /vm rw - fuse.virtiofs mount0 rw
";

    #[test]
    fn the_longest_mount_point_decides() {
        let cases = [
            ("/home/me/idem.db", "ext4"),
            ("/srv/network.db", "ext4"),
            ("/srv/net/idem.db", "nfs4"),
            ("/srv/net/local/idem.db", "xfs"),
            ("/mnt/my share/idem.db", "cifs"),
            ("/over/idem.db", "tmpfs"),
            ("/vm/idem.db", "fuse.virtiofs"),
        ];
        for (path, kind) in cases {
            assert_eq!(kind_of(TABLE, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert_eq!(kind_of("", Path::new("/idem.db")), None);
    }

    #[test]
    fn a_temporary_folder_is_local() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remote_kind(&folder.path().canonicalize().unwrap()), None);
    }
}
